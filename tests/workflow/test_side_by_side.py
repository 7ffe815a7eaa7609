"""Snakemake trains seeds and methods in one process (`training.together`); killed as a whole, all runs go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter

import pytest
import yaml
from support.workflow import DEFAULT, ENVIRONMENT, NOTHING, TINY, copy_of_repository, planned, snakemake

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]

METHODS, SEEDS = ("magrpo", "collm_cc"), (0, 1)
UPDATES = 5
RUNS = [f"tldr/{method}/seed{seed}" for method in METHODS for seed in SEEDS]
TRAINING = {"epochs": 20, "max_updates": UPDATES, "together": "all", "minibatch_size": 4, "checkpoint_every": 1}
OVERLAY = {
    "domains": ["tldr"],
    "methods": list(METHODS),
    "baselines": [],
    "seeds": list(SEEDS),
    "defaults": {"warm_start": {"enabled": False}},
    "domain": {
        "tldr": {"training": TRAINING, "methods": {"magrpo": {"training": {"max_updates": UPDATES, "epochs": 20}}}}
    },
}


def test_all_runs_of_a_killed_job_go_on(tmp_path):
    copy = copy_of_repository(tmp_path)
    (copy / "mine.yaml").write_text(yaml.safe_dump(OVERLAY), encoding="utf-8")
    files = (TINY, "mine.yaml")
    command = ["snakemake", "--cores", "1", "all_train", "--configfile", DEFAULT, *files]
    running = subprocess.Popen(
        command, cwd=copy, env=ENVIRONMENT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: all((copy / "checkpoints" / run / "step_00000002").is_dir() for run in RUNS), running)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    assert not [run for run in RUNS if (copy / "results" / run / "run.json").exists()], "too late to show anything"
    begun = {run: (copy / "checkpoints" / run / "metrics.jsonl").read_text().splitlines()[:3] for run in RUNS}
    snakemake(copy, "--unlock", overlays=files)
    output = snakemake(copy, "-n", "all_train", "--rerun-incomplete", overlays=files)
    assert Counter(rule for rule, _ in planned(output))["train_together_all"] == 1
    snakemake(copy, "--cores", "1", "all_train", "--rerun-incomplete", overlays=files)
    for run in RUNS:
        lines = (copy / "results" / run / "metrics.jsonl").read_text().splitlines()
        assert lines[:3] == begun[run], "its seconds say that it went on, and did not begin again"
        rows = [json.loads(line) for line in lines]
        assert [row["update"] for row in rows if row["event"] == "update"] == [*range(1, UPDATES + 1)], run
        assert [row["iteration"] for row in rows if row["event"] == "evaluation"][0] == 0
        record = json.loads((copy / "results" / run / "run.json").read_text())
        assert (record["seed"], record["counts"]["update"]) == (int(run[-1]), UPDATES)
        assert (copy / "results" / run / "adapters/agent_1/adapter_model.safetensors").is_file()
        assert f"after {UPDATES} updates" in (copy / "logs/train" / f"{run}.log").read_text()
    assert NOTHING in snakemake(copy, "-n", "all_train", overlays=files)


def wait_until(done, process, seconds=900):
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0].decode()[-4000:]
        time.sleep(0.05)
