"""kill -9 at 20 random moments of a run, in every phase: the next attempt ends with the bytes of an unbroken run.

The runs are of teams of two different bases, under CoLLM-CC and CoLLM-DC. A moment is a line of code: the n-th one that
is executed in a phase, n drawn at random. The process kills itself there with SIGKILL, which nothing can catch or tidy
up after. Attempts are forked from a server that has paid for the imports; test_kill.py kills whole stages from outside,
by the clock.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import torch.serialization
from support.runs import TIMING, session
from support.toy import team_settings

import collm
from collm.runs.journal import Journal
from collm.runs.resumable import ResumableRun
from collm.training.trainer import Trainer

RUNS = {
    "paper": {"method": "collm_cc", "training": {"checkpoint_every": 1}},
    "released": {"method": "collm_dc", "semantics": "released", "training": {"checkpoint_every": 2, "epochs": 1}},
}
TEAM = {"agents": ("tiny", "other"), "critic": "other"}  # two bases
ONE_BASE = {"agents": ("tiny", "tiny"), "critic": "tiny"}  # released critics read the tokens of the agents
PHASES = {
    "rollout": [(Trainer, "_play")],
    "update": [(Trainer, "_learn")],
    "evaluation": [(Trainer, "_evaluate")],
    "writing": [(ResumableRun, "_save"), (ResumableRun, "_write_outputs"), (Journal, "write")],
}
MOMENTS = 5  # per phase
WATCHED = tuple(
    str(Path(place).resolve())
    for place in (
        Path(collm.__file__).parent,
        torch.serialization.__file__,
        safetensors.torch.__file__,
        shutil.__file__,
        tempfile.__file__,
    )
)
BY_THE_CLOCK = str(Path(collm.__file__).parent / "common" / "progress.py")


# in the server and its children


class Lines:
    """Counts the lines that are executed in each phase; kills this process at one of them if asked to."""

    def __init__(self, kill: tuple[str, int] | None):
        self.kill, self.counts, self.phases = kill, Counter(), []
        for phase, methods in PHASES.items():
            for owner, name in methods:
                setattr(owner, name, counted(self, phase, getattr(owner, name)))

    def call(self, frame, event, argument):
        name = frame.f_code.co_filename
        return self.line if name.startswith(WATCHED) and name != BY_THE_CLOCK else None

    def line(self, frame, event, argument):
        if event == "line":
            self.counts[self.phases[-1]] += 1
            if self.kill == (self.phases[-1], self.counts[self.phases[-1]]):
                os.kill(os.getpid(), signal.SIGKILL)
        return self.line


def counted(lines, phase, real):
    """`real` with its lines counted for a phase; a phase within another one counts for itself."""

    def method(*arguments, **named):
        lines.phases.append(phase)
        sys.settrace(lines.call)
        try:
            return real(*arguments, **named)
        finally:
            lines.phases.pop()
            sys.settrace(lines.call if lines.phases else None)

    return method


def attempt(models, root, run, seed=0, count=False, kill=None):
    """One attempt at a run in this process; `count` leaves the number of lines per phase in lines.json."""
    lines = Lines(kill) if count or kill else None
    made = session(models, root, **RUNS[run])
    made.seed = seed
    team = ONE_BASE if run == "released" else TEAM
    made.job = dataclasses.replace(made.job, team=team_settings(**team))
    made.model_folders = {name: models / name for name in set(team["agents"])}
    Trainer(made, None).run()
    if count:
        (root / "lines.json").write_text(json.dumps(lines.counts))


def serve(pipe):
    """Fork an attempt per request and send its exit status. No gradient is ever computed here: forks could not."""
    while (request := pipe.recv()) is not None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                attempt(**request)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


# in the tests


@pytest.fixture(scope="module")
def start(models_folder):
    """Starts an attempt in a fork and returns its exit status."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()

    def start(root, run, **request):
        root.mkdir(exist_ok=True)
        pipe.send({"models": models_folder, "root": root, "run": run, **request})
        return pipe.recv()

    yield start
    pipe.send(None)
    server.join()


def outcome(root):
    """Digests of all files of the adapters, and the metrics without what a clock says."""
    folder = root / "results" / "adapters"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    rows = [json.loads(line) for line in (root / "results" / "metrics.jsonl").read_text().splitlines()]
    return digests, [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


@pytest.fixture(scope="module", params=list(RUNS))
def unbroken(request, start, tmp_path_factory):
    """Name, outcome and lines per phase of an uninterrupted run."""
    root = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(root, request.param, count=True) == 0
    return request.param, outcome(root), json.loads((root / "lines.json").read_text())


def test_same_configuration_same_bytes_and_another_seed_others(unbroken, start, tmp_path):
    run, (digests, rows), _ = unbroken
    assert start(tmp_path / "again", run) == 0
    assert outcome(tmp_path / "again") == (digests, rows)
    assert start(tmp_path / "other", run, seed=1) == 0
    others, other_rows = outcome(tmp_path / "other")
    numbers = [name for name in digests if name.endswith((".safetensors", ".pt"))]
    assert len(numbers) >= 4 and set(others) == set(digests)
    assert all(digests[name] != others[name] for name in numbers)
    assert rows[1] != other_rows[1]


@pytest.mark.parametrize("phase", list(PHASES))
def test_kill_nine_at_a_random_line(unbroken, start, tmp_path, phase):
    run, expected, lines = unbroken
    draw = random.Random(f"{run} {phase}")
    mine = range(list(RUNS).index(run), MOMENTS, len(RUNS))  # the moments of a phase are dealt out to the runs
    for moment in [draw.randint(1, lines[phase]) for _ in mine]:
        root = tmp_path / str(moment)
        status = start(root, run, kill=(phase, moment))
        print(f"{run}: killed at line {moment} of {lines[phase]} in {phase}")
        assert status == -signal.SIGKILL
        assert not (root / "results" / "run.json").exists()
        assert start(root, run) == 0
        assert outcome(root) == expected


def test_twenty_moments():
    assert MOMENTS * len(PHASES) == 20
