"""Training runs without evaluation, checkpoints and files: a job of the configuration, rollout by rollout."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workmeter import Work

from collm.common.files import write_json
from collm.config.job import Job, build_domain
from collm.config.numbers import whole_numbers
from collm.config.read_files import read_files
from collm.config.resolve import merge, resolve_job
from collm.data import prepare
from collm.domains.base import Task
from collm.llm.bases import Bases
from collm.planning import memory
from collm.runs.folders import RunFolders
from collm.runs.signals import Signals
from collm.training.rollout import Node
from collm.training.setup import RunSetup, accelerator
from collm.training.together import Turns
from collm.training.trainer import Trainer
from on_gpu.common import Context

ROOT = Path(__file__).resolve().parents[2]
KEPT_OUT = ("save", "write_outputs")  # of what a run does


def job_of(files: Sequence[str], domain: str, method: str, overlay: Mapping[str, Any]) -> Job:
    """A job of configuration files in config/, with an overlay for this domain and method that wins over all.

    The files are those of the repository, which its tests hold against the schema; here nothing is checked but what
    settings imply for each other, as the package that checks schemas need not be there.
    """
    block = {"domain": {domain: {"methods": {method: overlay}}}}
    return resolve_job(whole_numbers(merge(configuration(files), block)), domain, method)


def configuration(files: Sequence[str]) -> dict[str, Any]:
    """Files in config/, merged."""
    config: dict[str, Any] = {}
    for content in read_files([ROOT / "config" / name for name in files]):
        config = merge(config, content)
    return config


def tasks_of(job: Job, data: Path | None = None) -> list[Task]:
    """Training tasks from rows that ship with the project, or from the folder of this domain below `data`."""
    domain = build_domain(job)
    settings = {**job.data, "source": "embedded"}
    if job.data["source"] != "embedded":  # slices of a hub set
        settings |= {"train": None, "test": None}
    if data is not None and (data / job.domain).is_dir():
        settings |= {"source": "path", "path": str(data), "train": None, "test": None}
    return prepare.tasks(domain, settings, 0)["train"]


@dataclass
class Measured:
    """Seconds and counts of the rollouts after the first, and of the first alone."""

    play: float = 0.0
    learn: float = 0.0
    first: float = 0.0
    tokens: int = 0
    samples: int = 0
    rollouts: int = 0
    operations: float = 0.0
    rewards: list[float] = field(default_factory=list)  # by rollout, the first one's too


class Run:
    """One run, step by step."""

    def __init__(
        self,
        context: Context,
        job: Job,
        folders: Mapping[str, Path],
        tasks: Sequence[Task],
        seed: int = 0,
        bases: Bases | None = None,
    ):
        """Load the team; `folders`: of the job's models, `bases`: those of runs beside this one."""
        self.context, self.job = context, job
        self._scratch = tempfile.TemporaryDirectory()
        scratch = Path(self._scratch.name)
        write_json(scratch / "manifest.json", {})
        made = accelerator(job, scratch, context.device_name)
        tasks = list(tasks)
        places = RunFolders(scratch, scratch, scratch / "results", scratch / "checkpoints")
        self.setup = RunSetup(job, seed, places, made, build_domain(job), tasks, tasks[:2], dict(folders))
        context.fresh_peak()
        self.trainer = Trainer(self.setup, None, bases)
        for name in KEPT_OUT:
            if not hasattr(self.trainer.resumable, name):
                raise AttributeError(f"ResumableRun.{name} is gone; the benchmark would time it: name the new one here")
            setattr(self.trainer.resumable, name, lambda *given, **named: None)
        self.work = Work(self.trainer)
        self.measured = Measured()

    @property
    def planned_gb(self) -> float:
        """What the plan's estimate says."""
        return round(memory.peak(self.setup.memory, self.context.device.type) / 1e9, 3)

    def rollout(self) -> None:
        """Play, learn, count."""
        trainer, counts, done = self.trainer, self.trainer.counters, self.measured
        tokens, samples, operations, played = counts.tokens, counts.samples, self.work.update, []
        play = self.context.seconds(lambda: played.append(trainer._play()))
        learn = self.context.seconds(lambda: done.rewards.append(trainer._learn(trainer._together(played[0]))))
        if done.first == 0.0:  # kernels are chosen, steps captured, memory taken
            done.first = play + learn
            return
        done.play, done.learn, done.rollouts = done.play + play, done.learn + learn, done.rollouts + 1
        done.tokens, done.samples = done.tokens + counts.tokens - tokens, done.samples + counts.samples - samples
        done.operations += self.work.update - operations

    @property
    def over(self) -> bool:
        """Whether its tasks are used up."""
        return bool(self.trainer._done())

    def nodes(self) -> list[Node]:
        """Nodes of a rollout that nothing is learnt from."""
        return self.trainer._together(self.trainer._play()).nodes()

    def close(self) -> None:
        """Let go of memory and files."""
        self.trainer.resumable._give_lock_back()
        self.context.sync()
        del self.trainer, self.setup, self.work
        self._scratch.cleanup()
        self.context.fresh_peak()


def seconds_side_by_side(
    context: Context, job: Job, folders: Mapping[str, Path], tasks: Sequence[Task], seeds: int, rollouts: int
) -> float:
    """Seconds in which so many seeds do so many rollouts each after their first, in turns and decoded together."""
    bases, runs, begun, ended = Bases(), [], [], []

    def work(turns: Turns, seed: int) -> None:
        run = Run(context, job, folders, tasks, seed, bases)
        runs.append(run)
        run.trainer.team.neighbours = turns
        run.rollout()
        begun.append(time.perf_counter())
        for _ in range(rollouts):
            run.rollout()
        ended.append(time.perf_counter())

    with Signals() as signals:
        turns = Turns(signals)
        for seed in range(seeds):
            turns.add(functools.partial(work, turns, seed), contextlib.nullcontext)
        turns.play()
    for run in runs:
        run.close()
    return max(ended) - max(begun)
