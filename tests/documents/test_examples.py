"""Examples of the guides: each is run by a test, or a comment above it says that it is not, and why.

    <!-- run by tests/api/test_new_domain.py -->
    <!-- not run by a test: it needs SLURM -->

Of commands, run or not, subcommands, options, targets of make and files have to be there.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from support.places import ROOT

from collm.command import main
from collm.config.load import load_config
from collm.stages import evaluate, make_model, plan, prepare_data, score, train, warm_start

GUIDES = ["README.md", "CONTRIBUTING.md", "AGENTS.md", "config/README.md"]
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
EXAMPLES = ("", "bash", "console", "python", "sh", "shell", "toml", "yaml")  # "": commands; output is `text`
BLOCK = re.compile(r"^(?P<fence>```+)(?P<kind>\w*)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.M)
RUN, NOT_RUN = re.compile(r"<!-- run by (\S+) -->\s*$"), re.compile(r"<!-- not run by a test: \S.* -->\s*$")
STAGES = {
    "evaluate": evaluate,
    "make_model": make_model,
    "plan": plan,
    "prepare_data": prepare_data,
    "score": score,
    "train": train,
    "warm_start": warm_start,
}
OURS = re.compile(r"(?:benchmarks|config|containers|docs|notebooks|slurm|src|studies|tests|workflow)/[\w./-]+")


class Block(NamedTuple):
    """A fenced block; `above` is what stands before it in its file."""

    file: str
    line: int
    kind: str
    text: str
    above: str


def blocks() -> Iterator[Block]:
    """All of the guides that are examples."""
    for file in (*GUIDES, *PAGES):
        text = (ROOT / file).read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found["kind"] in EXAMPLES:
                above = text[: found.start()]
                yield Block(file, above.count("\n") + 1, found["kind"], found["text"], above)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Commands of all blocks of commands, as (place, words)."""
    for block in blocks():
        if block.kind not in ("python", "toml", "yaml"):
            for line in block.text.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&", line):
                    words = shlex.split(command, comments=True)
                    if words:
                        yield f"{block.file}, line {block.line}", words


def test_every_example_is_run_or_marked():
    unmarked = [
        f"{block.file}, line {block.line}: {block.text.splitlines()[0]}"
        for block in blocks()
        if not RUN.search(block.above) and not NOT_RUN.search(block.above)
    ]
    assert unmarked == [], "write <!-- run by FILE --> or <!-- not run by a test: WHY --> above; output is ```text"


def test_a_test_that_runs_an_example_reads_its_page():
    named = [(block, RUN.search(block.above)) for block in blocks()]
    wrong = [
        f"{block.file}, line {block.line}"
        for block, mark in named
        if mark and block.file.rpartition("/")[2] not in (ROOT / mark[1]).read_text(encoding="utf-8")
    ]
    assert wrong == []


def test_commands_name_what_is_there(capsys, monkeypatch):
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    wrong = []
    for place, words in commands():
        wrong += [f"{place}: no file {word}" for word in words if OURS.fullmatch(word) and not (ROOT / word).exists()]
        if words[0] == "make":
            wrong += [f"{place}: no target {word}" for word in words[1:] if "=" not in word and word not in targets]
        called = stage_of(words)
        if called is not None:
            known = options(called, capsys, monkeypatch)
            asked = {word.partition("=")[0] for word in words if word.startswith("--")}
            wrong += [f"{place}: {' '.join(called)} has no {option}" for option in sorted(asked - known)]
    assert wrong == []


def stage_of(words: list[str]) -> tuple[str, ...] | None:
    """The stage or subcommand that is called, if it is one of ours."""
    if words[0] == "collm":
        return ("collm", words[1])
    script = next((re.fullmatch(r"src/(\w+)\.py", word) for word in words if word.startswith("src/")), None)
    return ("src", script[1]) if words[0] == "python" and script and script[1] in STAGES else None


def options(called: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Options that the help of a stage or subcommand names."""
    monkeypatch.setattr(sys, "argv", [*called])
    with pytest.raises(SystemExit):
        main.dispatch([called[1], "--help"]) if called[0] == "collm" else STAGES[called[1]].main(["--help"])
    return set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_the_overlay_for_vllm(tmp_path):
    page = (ROOT / "docs/vllm.md").read_text(encoding="utf-8")
    (text,) = (found["text"] for found in BLOCK.finditer(page) if found["kind"] == "yaml")
    (tmp_path / "vllm.yaml").write_text(text)
    merged = load_config([ROOT / "config/config.yaml", ROOT / "config/paper.yaml", tmp_path / "vllm.yaml"])
    assert merged["defaults"]["rollout"]["backend"] == "vllm"
