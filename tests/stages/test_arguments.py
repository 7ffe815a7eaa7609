"""Every stage script with wrong arguments: one line on stderr, no traceback, status 2, before anything is loaded."""

from __future__ import annotations

import importlib

import pytest
from support.places import ROOT

from collm.common import cli

CONFIG = str(ROOT / "config" / "config.yaml")
# What a stage needs besides the argument that is wrong.
VALID = {
    "prepare_data": ["--domain", "tldr"],
    "make_model": ["--domain", "tldr", "--model", "scratch"],
    "warm_start": ["--domain", "tldr"],
    "train": ["--domain", "tldr", "--method", "collm_cc"],
    "evaluate": ["--domain", "tldr", "--method", "parallel"],
    "make_tables": [],
    "make_figures": [],
    "episodes": [],
    "make_report": [],
    "plan": [],
    "claims": [],
    "score": ["--domain", "tldr", "cases.jsonl"],
}
SHOWING = ("make_tables", "make_figures", "episodes", "make_report")
SEEDED, THREADED = ("warm_start", "train", "evaluate"), ("warm_start", "train", "evaluate")
WRONG = [
    *[(stage, ["--nonsense"], "--nonsense") for stage in VALID],
    *[
        (stage, [option, "nothing.yaml"], "nothing.yaml is not there")
        for stage, option in [
            *((stage, "--config") for stage in VALID if stage not in ("plan", "score", "claims")),
            ("plan", "--configfile"),
        ]
    ],
    *[(stage, ["--config", "."], "is not there") for stage in VALID if stage not in ("plan", "score", "claims")],
    *[
        (stage, ["--domain", "tdlr"], "did you mean 'tldr'?")
        for stage in ("prepare_data", "make_model", "warm_start", "train", "evaluate")
    ],
    ("score", ["--domain", "tdlr"], "tldr"),
    *[
        (stage, ["--seed", seed], f"--seed: {seed!r} is refused")
        for stage in SEEDED
        for seed in ("-1", "1.5", "one", "4294967296", "nan")
    ],
    *[
        (stage, ["--threads", number], f"--threads: {number!r} is refused")
        for stage in THREADED
        for number in ("0", "-2", "x")
    ],
    *[
        (stage, ["--processes", number], f"--processes: {number!r} is refused")
        for stage in ("train", "evaluate")
        for number in ("0", "-2", "inf")
    ],
    *[
        ("train", ["--method", row], f"--method {row} is no method of this stage")
        for row in ("parallel", "warm_start", "raw", "discussion")
    ],
    ("train", ["--method", "colm_cc"], "did you mean 'collm_cc'?"),
    ("train", ["--method", ""], "unknown method ''"),
    ("train", ["--seed", "1", "1"], "--seed names 1 twice"),
    ("train", ["--seed", "0", "1", "--processes", "2"], "--processes 2 share one --seed, and 2 were given"),
    ("train", ["--seed", "0", "1", "--logs", "a", "b", "c"], "--logs names 3 files for 2 runs; name one for each"),
    ("train", ["--start", "nowhere"], "--start nowhere is no folder"),
    ("train", [], "data/tldr"),
    ("warm_start", ["--method", "collm_cc"], "--method collm_cc is no warm start"),
    ("warm_start", ["--method", "nothing"], "--method nothing is no warm start"),
    ("warm_start", [], "data/tldr"),
    ("evaluate", ["--method", "parallel", "colm_cc"], "did you mean 'collm_cc'?"),
    ("evaluate", ["--method", "raw", "raw"], "--method names raw twice"),
    ("evaluate", ["--method"], "--method"),
    ("evaluate", ["--adapters", "nowhere"], "--method parallel is untrained"),
    ("evaluate", ["--method", "collm_cc", "--adapters", "nowhere"], "--adapters nowhere is no folder"),
    ("evaluate", ["--method", "collm_cc", "collm_dc", "--adapters", "."], "2 were given"),
    ("evaluate", [], "data/tldr"),
    ("make_model", ["--model", "smol"], "unknown model 'smol'"),
    ("make_model", ["--data", "nowhere"], "nowhere"),
    ("prepare_data", ["--out", "file/below"], "file"),
    *[(stage, ["--domains", "tdlr"], "did you mean 'tldr'?") for stage in SHOWING],
    *[(stage, ["--domains", "tldr", "tldr"], "--domains names tldr twice") for stage in SHOWING],
    *[(stage, ["--domains"], "--domains") for stage in SHOWING],
    *[(stage, ["--results", "nowhere"], "nowhere") for stage in SHOWING],
    ("make_figures", ["--kinds", "pies"], "pies"),
    ("make_figures", ["--kinds"], "--kinds"),
    ("plan", ["--seeds", "0", "0"], "--seeds names 0 twice"),
    ("plan", ["--seeds", "-1"], "'-1' is refused"),
    ("plan", ["--seeds"], "--seeds"),
    ("plan", ["--price", "nan"], "--price: 'nan' is refused"),
    ("plan", ["--price", "-2"], "--price: '-2' is refused"),
    ("plan", ["--cores", "0"], "--cores: '0' is refused"),
    ("plan", ["--device-memory", "0"], "--device-memory: '0' is refused"),
    ("plan", ["--tokens-per-second", "0"], "--tokens-per-second: '0' is refused"),
    ("plan", ["--device", "tpu"], "tpu"),
    ("claims", ["--claims", "nothing.yaml"], "nothing.yaml is not there"),
    ("claims", ["--claims", CONFIG, "--study", "."], "the key level is missing"),
    ("claims", ["--claims", str(ROOT / "config" / "claims.yaml"), "--study", "nowhere"], "nowhere is no folder"),
    ("score", ["--profile", "peer"], "'peer' is unknown"),
    ("score", ["--sandbox", "none"], "'none' is unknown"),
    ("score", [], "cases.jsonl cannot be read"),
]


@pytest.mark.parametrize(
    ("stage", "wrong", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_wrong_argument_is_one_line(stage, wrong, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder\n")
    arguments = [*VALID[stage], *wrong]
    if stage not in ("plan", "score", "claims") and "--config" not in wrong:
        arguments += ["--config", CONFIG]
    try:
        status = cli.run(importlib.import_module(stage).main, arguments)
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n"), error
    assert words in error


@pytest.mark.parametrize("stage", VALID)
def test_a_stage_without_what_it_needs_is_one_line(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(stage).main(["--seed", "--config", "--out"])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
