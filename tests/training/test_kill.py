"""Stage scripts as processes: killed, terminated and interrupted, they end as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import yaml
from support.places import ROOT

pytestmark = pytest.mark.workflow

TIMING = ("seconds", "tokens_per_second", "reward_seconds")
SMALL = {"vocabulary": 400, "pretrain": {"steps": 0}}
OVERLAY = {
    "semantics": "released",
    "models": {
        "scratch": {"layers": 1, "hidden": 32, "heads": 2, "context": 512, **SMALL, "per_domain": {"str_build": SMALL}}
    },
    "defaults": {"team": {"max_prompt_tokens": 160, "lora": {"rank": 4}}},
    "domain": {
        "str_build": {
            "options": {"generated": 8},
            "data": {"train": "paper[0:8]+generated[0:8]", "test": "paper[8:10]"},
            "rollout": {"turns": 2, "max_new_tokens": 24, "early_stop": None},
            "warm_start": {"per_task": 2, "epochs": 9, "batch_size": 2, "max_tasks": 6},
            "training": {"epochs": 4, "max_updates": None, "tasks_per_rollout": 4, "checkpoint_every": 3},
            "evaluation": {"samples": 1, "every": 6, "tasks_during": 1},
            "methods": {"collm_cc": {"warm_start": {"enabled": False}, "training": {"minibatch_size": 3}}},
        }
    },
}


def command(script, folder, *arguments):
    files = [ROOT / "config" / "config.yaml", folder / "overlay.yaml"]
    return [sys.executable, ROOT / "src" / script, "--config", *files, "--domain", "str_build", *arguments]


def start(script, folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(script, folder, *arguments),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(script, folder, *arguments):
    process = start(script, folder, *arguments)
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 0, messages


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Data and model of a small StrBuild, made by their own stages."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
    finish("prepare_data.py", folder)
    finish("make_model.py", folder, "--model", "scratch")
    return folder


def clone(prepared, folder):
    for name in ("overlay.yaml", "data", "resources"):
        (folder / name).symlink_to(prepared / name)
    return folder


ARGUMENTS = {
    "train.py": ("--method", "collm_cc", "--seed", "3"),
    "warm_start.py": ("--seed", "3"),
}
RUNS = {"train.py": "str_build/collm_cc/seed3", "warm_start.py": "str_build/warm_start/seed3"}


@pytest.fixture(scope="module")
def unbroken(prepared, tmp_path_factory):
    """Folders of uninterrupted runs, made when first asked for."""
    made = {}

    def run(script):
        if script not in made:
            made[script] = clone(prepared, tmp_path_factory.mktemp("unbroken"))
            finish(script, made[script], *ARGUMENTS[script])
        return outcome(script, made[script])

    return run


def outcome(script, folder):
    run = folder / "results" / RUNS[script]
    files = sorted(path for path in (run / "adapters").rglob("*") if path.suffix == ".safetensors")
    hashes = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(hashes) >= 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return hashes, [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


def lines(script, folder):
    path = folder / "checkpoints" / RUNS[script] / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def hit(script, folder, number, at_line, delay=0.0):
    """Start the stage, send signal `number` once its journal holds `at_line` lines, return status and stderr."""
    process = start(script, folder, *ARGUMENTS[script])
    try:
        while lines(script, folder) < at_line:
            assert process.poll() is None, f"ended before line {at_line}: {process.stderr.read()}"
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(number)
        _, messages = process.communicate(timeout=600)
    finally:
        process.kill()
    return process.returncode, messages


def test_kill_nine_at_random_moments(prepared, unbroken, tmp_path):
    expected = unbroken("train.py")
    folder = clone(prepared, tmp_path)
    draw = random.Random(os.urandom(8))
    total = len(expected[1])
    moments = sorted(draw.sample(range(1, total - 5), 3))
    print("killed after lines", moments)
    for moment in moments:
        status, _ = hit("train.py", folder, signal.SIGKILL, moment, delay=draw.random() * 0.1)
        assert status == -signal.SIGKILL
        assert not (folder / "results").exists()
    finish("train.py", folder, *ARGUMENTS["train.py"])
    assert outcome("train.py", folder) == expected


def test_a_second_trainer_in_the_folder_is_refused(prepared, unbroken, tmp_path):
    expected = unbroken("train.py")
    folder = clone(prepared, tmp_path)
    first = start("train.py", folder, *ARGUMENTS["train.py"])
    try:
        while lines("train.py", folder) < 3:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # however slow the second is, the first is there
        second = start("train.py", folder, *ARGUMENTS["train.py"])
        _, messages = second.communicate(timeout=600)
        first.send_signal(signal.SIGCONT)
        assert second.returncode == 2
        assert f"seed3 is being written by process {first.pid} on " in messages.splitlines()[-1]
        _, messages = first.communicate(timeout=600)
    finally:
        first.kill()
    assert first.returncode == 0, messages
    assert "device cpu: no CUDA device found" in messages or "device cuda" in messages
    assert outcome("train.py", folder) == expected


def test_sigterm_ctrl_c_and_other_settings(prepared, unbroken, tmp_path):
    expected = unbroken("train.py")
    folder = clone(prepared, tmp_path)
    for number, line, name in ((signal.SIGTERM, 5, 15), (signal.SIGINT, 40, 2)):
        status, messages = hit("train.py", folder, number, line)
        assert status == 128 + number
        assert messages.splitlines()[-1] == f"stopped by signal {name}; saved, run the same command again to go on"
        assert "Traceback" not in messages
        assert not (folder / "results").exists()
        saved = list((folder / "checkpoints" / RUNS["train.py"]).glob("step_*"))
        assert 1 <= len(saved) <= 2
    overlay = folder / "overlay.yaml"
    overlay.unlink()
    overlay.write_text(yaml.safe_dump({**OVERLAY, "semantics": "paper"}))
    process = start("train.py", folder, *ARGUMENTS["train.py"])
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "semantics was 'released' and is now 'paper'" in messages.splitlines()[-1]
    overlay.write_text(yaml.safe_dump(OVERLAY))
    finish("train.py", folder, *ARGUMENTS["train.py"])
    assert outcome("train.py", folder) == expected


def test_warm_start_stopped_and_killed(prepared, unbroken, tmp_path):
    expected = unbroken("warm_start.py")
    folder = clone(prepared, tmp_path)
    status, messages = hit("warm_start.py", folder, signal.SIGTERM, 20)
    assert status == 143 and "saved, run the same command again" in messages
    status, _ = hit("warm_start.py", folder, signal.SIGKILL, 40)
    assert status == -signal.SIGKILL
    finish("warm_start.py", folder, *ARGUMENTS["warm_start.py"])
    assert outcome("warm_start.py", folder) == expected
