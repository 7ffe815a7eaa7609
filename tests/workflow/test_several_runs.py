"""Several runs in one process are what each is alone: bytes, logs, stops, failures; and no stage loads torch early."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.places import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]

METHODS = ("collm_dc", "magrpo", "collm_cc")
TIMING = ("seconds", "tokens_per_second", "reward_seconds")
CONFIG = ("--config", str(ROOT / "config/config.yaml"), str(ROOT / "tests/workflow/tiny.yaml"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(folder: Path, stage: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, ROOT / "src" / stage, *CONFIG, "--domain", "tldr", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(folder: Path, stage: str, *arguments: str, status: int = 0) -> str:
    process = start(folder, stage, *arguments)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == status, output
    return output


def together(folder: Path) -> list[str]:
    """Arguments that train all three in one process, each with a log of its own."""
    return ["--method", *METHODS, "--threads", "1", "--logs", *(f"logs/{name}.log" for name in METHODS)]


def outcome(folder: Path, method: str) -> tuple[dict[str, str], list[dict]]:
    """Hashes of a run's adapters and value heads, and its metrics without what a clock says."""
    run = folder / "results/tldr" / method / "seed0"
    files = sorted(path for path in (run / "adapters").rglob("*") if path.suffix in (".safetensors", ".pt"))
    hashes = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(hashes) >= 2 and len(rows) >= 4
    return hashes, [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Data, model and warm start of a tiny TLDR."""
    folder = tmp_path_factory.mktemp("prepared")
    finish(folder, "prepare_data.py")
    finish(folder, "make_model.py", "--model", "scratch")
    finish(folder, "warm_start.py", "--threads", "1")
    return folder


def clone(prepared: Path, folder: Path) -> Path:
    for name in ("data", "resources", "results/tldr/warm_start"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(prepared / name)
    return folder


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory) -> Path:
    """The three runs, each by a process of its own."""
    folder = clone(prepared, tmp_path_factory.mktemp("alone"))
    for method in METHODS:
        finish(folder, "train.py", "--method", method, "--threads", "1")
    return folder


def test_runs_of_one_process_are_those_of_three(prepared, alone, tmp_path):
    clone(prepared, tmp_path)
    assert finish(tmp_path, "train.py", *together(tmp_path)) == "", "what a run says stands in its own log"
    for method in METHODS:
        assert outcome(tmp_path, method) == outcome(alone, method)
        log = (tmp_path / f"logs/{method}.log").read_text(encoding="utf-8")
        assert log.startswith("device cpu") and f"tldr/{method} seed 0" in log
        assert not [other for other in METHODS if other != method and f"tldr/{other} seed" in log]
        run, single = (
            json.loads((folder / f"results/tldr/{method}/seed0/run.json").read_text(encoding="utf-8"))
            for folder in (tmp_path, alone)
        )
        same = ("method", "seed", "config", "counts", "code", "threads_of_attempts", "code_of_attempts", "versions")
        assert {key: run[key] for key in same} == {key: single[key] for key in same}
    assert not list((tmp_path / "checkpoints").rglob("*.lock")), "every run has given its folder back"


def test_a_stop_in_the_second_run_leaves_the_first_finished(prepared, alone, tmp_path):
    clone(prepared, tmp_path)
    first, second, third = (tmp_path / "results/tldr" / name / "seed0" for name in METHODS)
    process = start(tmp_path, "train.py", *together(tmp_path))
    while not (tmp_path / "checkpoints/tldr" / METHODS[1] / "seed0/metrics.jsonl").is_file():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM and f"{METHODS[1]} failed" in output
    assert "stopped by signal 15" in (tmp_path / f"logs/{METHODS[1]}.log").read_text(encoding="utf-8")
    assert (first / "run.json").is_file() and not second.exists() and not third.exists()
    finish(tmp_path, "train.py", *together(tmp_path))
    log = (tmp_path / f"logs/{METHODS[0]}.log").read_text(encoding="utf-8")
    assert (log.count("memory: "), log.count(" 2/2 ")) == (2, 1), (
        "it is exported from its checkpoint, not trained again"
    )
    assert [outcome(tmp_path, method) for method in METHODS] == [outcome(alone, method) for method in METHODS]


def test_a_run_that_fails_does_not_stop_the_others(prepared, alone, tmp_path):
    clone(prepared, tmp_path)
    (tmp_path / "checkpoints/tldr").mkdir(parents=True)
    (tmp_path / "checkpoints/tldr" / METHODS[0]).write_text("no folder\n", encoding="utf-8")
    output = finish(tmp_path, "train.py", *together(tmp_path), status=2)
    assert output == f"tldr seed 0: {METHODS[0]} failed; the logs say why\n"
    log = (tmp_path / f"logs/{METHODS[0]}.log").read_text(encoding="utf-8")
    assert log.splitlines()[-1].startswith("error: cannot read or write checkpoints/tldr")
    assert [outcome(tmp_path, method) for method in METHODS[1:]] == [outcome(alone, method) for method in METHODS[1:]]


LATE = """
import contextlib, importlib, sys
for stage in ("prepare_data", "make_model", "warm_start", "train", "evaluate", "score"):
    for arguments in (["--help"], {wrong}.get(stage, ["--nonsense"])):
        with contextlib.suppress(SystemExit, Exception):
            importlib.import_module(stage).main(arguments)
        print(stage, arguments, "torch" in sys.modules or "transformers" in sys.modules)
"""


def test_help_and_wrong_arguments_load_no_torch(tmp_path):
    """Data and models are not there either: what is missing is told before anything is loaded."""
    common = [*CONFIG, "--domain", "tldr"]
    wrong = {
        "make_model": [*common, "--model", "scratch"],
        "warm_start": common,
        "train": [*common, "--method", "magrpo"],
        "evaluate": [*common, "--method", "parallel"],
    }
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(wrong=wrong)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.endswith(("True", "False"))]
    assert len(lines) == 12 and all(line.endswith("False") for line in lines), done.stdout + done.stderr
