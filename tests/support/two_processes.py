"""One of the processes that test_distributed.py starts: runs on the toy domain, as single process or as one of two.

Called as `python tests/support/two_processes.py MODELS ROOT` with the variables of a launcher (RANK, WORLD_SIZE, ...).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

from collm.common.errors import Interrupted, NonFiniteReward, OtherProcessFailed
from collm.common.files import write_json
from collm.runs.distributed import Processes
from collm.runs.folders import RunFolders
from collm.training.rollout import Rollout
from collm.training.setup import RunSetup, accelerator
from collm.training.trainer import Trainer
from support.runs import job
from support.toy import Toy, tasks, team_settings

# Each with two turns, three rollouts of 3, 3 and 2 tasks, and the options that need the most care.
CASES = {
    "cc": {"method": "collm_cc", "training": {"update_epochs": 2, "gradient_clip": 0.5}},
    "dc": {"method": "collm_dc", "training": {"minibatch_size": 6, "critic_type": "q"}},
    "shared": {"method": "collm_dc", "training": {"shared_backbone": True, "value_clip": 0.2, "update_epochs": 2}},
    "magrpo": {
        "method": "magrpo",
        "rollout": {"generations": 2},
        "training": {"minibatch_size": 8, "kl_coefficient": 0.1},
    },
    "options": {
        "method": "collm_cc",
        "training": {
            "update_epochs": 3,
            "loss_per": "token",
            "importance_ratio": "geometric",
            "negative_weight": 0.5,
            "divergence_limit": 1e-3,
            "lambda_follows_critic": True,
            "critic_steps": 2,
            "critic_warm_up": 1,
            "value_clip": 0.2,
            "rate_warm_up": 2,
            "rate_decay": "cosine",
            "agent_learning_rate": 1e-2,
            "entropy_floor": 0.5,
            "entropy_ceiling": 3.0,
        },
    },
    "cc_released": {"method": "collm_cc", "semantics": "released"},
    "magrpo_released": {"method": "magrpo", "semantics": "released", "rollout": {"generations": 2}},
}


def setup(models: Path, root: Path, case: str) -> RunSetup:
    """A setup in float64, so that rounding is far below what an update moves."""
    changes = CASES[case]
    training = {"epochs": 1, "checkpoint_every": 100, **changes.get("training", {})}
    made = job(**{**changes, "training": training})
    made = dataclasses.replace(made, team=team_settings(dtype="float64"))
    folders = RunFolders(root / "data", models, root / "results", root / "checkpoints")
    write_json(folders.data / "manifest.json", {"rows": 8})
    device = accelerator(made, folders.trackers)
    return RunSetup(made, 0, folders, device, Toy({}), tasks(8), tasks(2), {"tiny": models / "tiny"})


def train(models: Path, root: Path, case: str) -> None:
    """A whole run, or what is left of it."""
    with mock.patch("collm.training.setup.memory_check", mock.Mock()):  # its estimate knows no float64
        Trainer(setup(models, root / case, case), None).run()


@contextlib.contextmanager
def double() -> Iterator[None]:
    """New tensors in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def counting(seen: list[int]) -> contextlib.AbstractContextManager:
    """Note how many tasks every `play` gets."""
    real = Rollout.play

    def play(self, chosen, *arguments, **options):
        seen.append(len(chosen))
        return real(self, chosen, *arguments, **options)

    return mock.patch.object(Rollout, "play", play)


def signal_in(method: str, of: type, place: int, index: int) -> contextlib.AbstractContextManager:
    """SIGTERM to process `index` alone, in call number `place` of a method."""
    real, seen = getattr(of, method), []

    def call(self, *arguments, **options):
        seen.append(1)
        if len(seen) == place and int(os.environ["RANK"]) == index:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments, **options)

    return mock.patch.object(of, method, call)


def stopped(models: Path, root: Path, case: str, patched: contextlib.AbstractContextManager) -> str:
    """What a run that is disturbed by `patched` ends with."""
    try:
        with patched:
            train(models, root, case)
    except (Interrupted, OtherProcessFailed, NonFiniteReward) as error:
        Processes(int(os.environ["RANK"]), 2).gather([])  # the main process has saved
        kept = sorted(path.name for path in (root / case / "checkpoints").glob("step_*"))
        return f"{type(error).__name__} {','.join(kept)}"
    return "nothing"


def failing(index: int) -> contextlib.AbstractContextManager:
    """A reward of process `index` is not finite from the second rollout on."""
    real, seen = Rollout._score, []

    def score(self, nodes):
        seen.append(1)
        if len(seen) > 5 and int(os.environ["RANK"]) == index:
            raise NonFiniteReward("the reward is nan")
        return real(self, nodes)

    return mock.patch.object(Rollout, "_score", score)


def main(models: Path, root: Path) -> None:
    """All runs, one after another; what this process saw goes to a file of its own."""
    index = int(os.environ["RANK"])
    seen: list[int] = []
    with double():
        with counting(seen):
            for case in CASES:
                train(models, root / "whole", case)
        endings = {
            "update": stopped(models, root / "update", "cc", signal_in("_learn", Trainer, 2, 1)),
            "play": stopped(models, root / "play", "cc", signal_in("play", Rollout, 3, 0)),
            "failure": stopped(models, root / "failure", "cc", failing(1)),
        }
        for place in endings:
            train(models, root / place, "cc")
    gathered = Processes(index, 2).gather([f"from {index}"])
    facts = {"plays": seen, "endings": endings, "gathered": gathered}
    (root / f"process{index}.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
