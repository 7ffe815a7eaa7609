"""Two processes end with the numbers of one: updates, logs, checkpoints, stopping and going on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from support.places import ROOT
from support.two_processes import CASES, double, train

from collm.common.errors import ConfigError
from collm.runs import distributed
from collm.runs.distributed import Processes

TIMING = ("seconds", "tokens_per_second", "reward_seconds")
CLOSE = {"rtol": 1e-7, "atol": 1e-9}


@pytest.fixture(scope="module")
def alone(models_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("alone")
    with double():
        for case in CASES:
            train(models_folder, root, case)
    return root


@pytest.fixture(scope="module")
def together(models_folder, tmp_path_factory):
    """All runs of two_processes.py in two processes; what every process saw stands in process<index>.json."""
    root = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = ROOT / "tests"
    command = [sys.executable, str(here / "support" / "two_processes.py"), str(models_folder), str(root)]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    common["PYTHONPATH"] = os.pathsep.join([str(here.parent / "src"), str(here)])
    running = []
    for index in ("0", "1"):
        environment = {**os.environ, **common, "RANK": index, "LOCAL_RANK": index, "LOCAL_WORLD_SIZE": "2"}
        log = (root / f"log{index}").open("w")
        running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        codes = [process.wait(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    assert codes == [0, 0], "\n".join((root / f"log{index}").read_text()[-3000:] for index in (0, 1))
    return root


def parameters(folder):
    """Trained numbers of a run by file and name."""
    parameters = {}
    for path in sorted((folder / "results" / "adapters").rglob("*")):
        if path.suffix in (".safetensors", ".pt"):
            parts = load_file(path) if path.suffix == ".safetensors" else torch.load(path)
            parameters |= {f"{path.relative_to(folder)} {name}": part for name, part in parts.items()}
    return parameters


def rows(folder):
    lines = (folder / "results" / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMING} for line in lines]


def check_same(folder, expected):
    own, other = parameters(folder), parameters(expected)
    assert own.keys() == other.keys() != set()
    assert any("value_head" in name for name in other) == ("magrpo" not in expected.name)
    for name, part in other.items():
        torch.testing.assert_close(own[name], part, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
    assert len(rows(folder)) == len(rows(expected))
    for one, other in zip(rows(folder), rows(expected), strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            assert one[key] == (pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value), key


@pytest.mark.parametrize("case", CASES)
def test_same_numbers_and_logs(alone, together, case):
    check_same(together / "whole" / case, alone / case)
    assert json.loads((together / "whole" / case / "results" / "run.json").read_text())["processes"] == 2


def test_each_plays_its_share(together):
    seen = [json.loads((together / f"process{index}.json").read_text()) for index in (0, 1)]
    # 2 tasks of an evaluation, 3 and 3 to learn from, 2 of an evaluation, 2 to learn from, 2 of an evaluation
    assert seen[0]["plays"] == [1, 1, 1, 1, 1, 1] * len(CASES)
    assert seen[1]["plays"] == [1, 2, 2, 1, 1, 1] * len(CASES)
    assert seen[0]["gathered"] == seen[1]["gathered"] == ["from 0", "from 1"]


@pytest.mark.parametrize(
    ("place", "endings"),
    [
        ("update", ["Interrupted step_00000002"] * 2),
        ("play", ["Interrupted step_00000001"] * 2),
        ("failure", ["OtherProcessFailed step_00000001", "NonFiniteReward step_00000001"]),
    ],
)
def test_all_stop_together_and_go_on(alone, together, place, endings):
    seen = [json.loads((together / f"process{index}.json").read_text())["endings"][place] for index in (0, 1)]
    assert seen == endings
    check_same(together / place / "cc", alone / "cc")


def test_main_process_alone_writes(together):
    logs = [(together / f"log{index}").read_text() for index in (0, 1)]
    assert "toy/collm_cc seed 0 3/3" in logs[0] and "seed 0" not in logs[1]


# without a second process


@pytest.mark.parametrize(("costs", "count"), [([], 2), ([5], 2), ([1] * 7, 3), ([9, 1, 1, 1], 2), ([1, 1, 30], 4)])
def test_shares_are_everything_once_in_order(costs, count):
    shares = [Processes(index, count).share(costs) for index in range(count)]
    assert [index for share in shares for index in share] == list(range(len(costs)))


def test_shares_cost_about_the_same():
    costs = [100, 30, 30, 40, 90, 10]
    assert [sum(costs[i] for i in Processes(index, 2).share(costs)) for index in (0, 1)] == [160, 140]


def test_one_process_sends_nothing():
    one, part = Processes(), torch.ones(2)
    one.add(part)
    assert part.tolist() == [1.0, 1.0] and one.gather([1, 2]) == [1, 2] and one.largest(3) == 3
    assert one.from_main(lambda: "asked") == "asked" and one.share([1, 1]) == [0, 1]


def test_large_gradients_travel_in_buckets(monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET", 5)
    buckets = distributed._buckets([torch.zeros(size) for size in (2, 3, 1, 9, 4)])
    assert [[part.numel() for part in bucket] for bucket in buckets] == [[2, 3], [1], [9], [4]]


def launched(monkeypatch, count, threads=None, **environment):
    commands = []
    for name in ("RANK", "ACCELERATE_USE_CPU", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(distributed.os, "execv", lambda program, command: commands.append(command))
    distributed.launch("collm.stages.train", ["--seed", "3"], count, threads)
    return [command[1:] for command in commands]


def test_launching(monkeypatch):
    assert launched(monkeypatch, 1) == [] and launched(monkeypatch, 4, RANK="2") == []
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=4"]
    run += ["--module", "collm.stages.train", "--seed", "3"]
    assert launched(monkeypatch, 4) == [run]
    assert launched(monkeypatch, 4, threads=8) == [[*run, "--threads", "2"]]
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT / "src"), "elsewhere"])  # a clone is not installed


def test_a_launcher_that_starts_one_process_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="--processes"):
        launched(monkeypatch, 1, ACCELERATE_USE_CPU="True", MASTER_PORT="29500")
