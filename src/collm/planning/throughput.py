"""How fast jobs go: as measured in an earlier run of the same job, as given, or by a default that is named.

Defaults. On a GPU, the paper's own runs: generated tokens per hour of training of its appendix D.2 (CoopHE, teams of
3 and 4 billion parameters, the released code, one H200), slower in proportion to the parameters of an agent. No run of
this project on a GPU was measured. On a CPU core, runs of this project: scratch models, and SmolLM2 (`docs/memory.md`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collm.config.job import Job
from collm.methods.registry import METHODS, WARM_STARTS
from collm.planning.counts import Workload, fitted
from collm.planning.data_estimate import Prospect

PAPER = {None: 157.0, "local": 57.4, "joint": 70.1}  # tokens per second of training, by kind of critic
PAPER_SIZE = 3.55e9  # mean parameters of the agents of those runs
CORE = {None: 900.0, "local": 400.0, "joint": 400.0}  # the same of scratch models on one core
CORE_SIZE = 1e6  # parameters up to which those rates hold
CORE_FALL = 0.8  # rates fall with this power of the parameters: SmolLM2 has 135 times as many and is 50 times slower
GENERATION = 1.5  # tokens per second without updates, relative to Monte Carlo training
FIT = 15.0  # prompt and response tokens per second of a warm start, relative to the same
START = {"cpu": 8.0, "cuda": 60.0}  # seconds of a process before it does anything: imports, loading
TOGETHER = 1.5  # the same per row where one process evaluates all rows of a benchmark (models made from scratch)
PRETRAINING = 10_000.0  # tokens per second of making a scratch model, one core


@dataclass(frozen=True)
class Seconds:
    """Seconds of the stages of one seed, and what they rest on: measured, given or default rate."""

    stages: Mapping[str, float]
    basis: str


@dataclass(frozen=True)
class Rates:
    """Where rates come from: the folder of earlier runs, or a number that holds for everything."""

    results: Path | None = None
    given: float | None = None
    _read: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False)

    def response(self, job: Job) -> float | None:
        """Mean tokens of a response in an earlier run of the job; None if there was none."""
        run = self._runs(job).get("run", {})
        counts = run.get("counts", {})
        if not counts.get("samples") or "tokens" not in counts:
            return None
        return counts["tokens"] / counts["samples"] / job.team.num_agents

    def seconds(self, job: Job, work: Workload, seen: Prospect, device: str, size: float) -> Seconds:
        """Seconds per stage; `size` is the mean number of parameters of an agent."""
        critics = METHODS[job.method].critics if job.method in METHODS else None
        base = self.given or _default(critics, device, size)
        alone = self.given or GENERATION * _default(None, device, size)
        measured = self._runs(job)
        stages: dict[str, float] = {}
        bases = set()
        if job.method in METHODS:
            stages["train"] = START[device] + work.tokens / base + work.watched / alone
            share = _share(measured.get("run"), ("counts", "samples"), work.samples)
        elif job.method in WARM_STARTS:
            tokens = fitted(job, seen.train, seen.lengths)
            stages["warm_start"] = START[device] + tokens / (FIT * alone) + work.watched / alone
            share = 1.0 if "run" in measured else None
        else:
            share = None
        for stage in list(stages):
            if share is not None:
                stages[stage] = START[device] + measured["run"]["wall_seconds"] * share
            bases.add("measured" if share is not None else self._basis(device))
        share = _share(measured.get("evaluation"), ("summary", "episodes"), work.episodes)
        whole = measured["evaluation"]["wall_seconds"] * share if share is not None else work.evaluated / alone
        scratch = all(spec["source"] == "scratch" for spec in job.models.values())
        stages["evaluate"] = (TOGETHER if scratch else START[device]) + whole
        bases.add("measured" if share is not None else self._basis(device))
        return Seconds(stages, " and ".join(sorted(bases)))

    def model_seconds(self, tokens: int) -> float:
        """Seconds of making a scratch model from so many tokens of pre-training."""
        return START["cpu"] + tokens / PRETRAINING

    def _basis(self, device: str) -> str:
        if self.given:
            return "given rate"
        return "default rate" if device == "cpu" else "the paper's rate"

    def _runs(self, job: Job) -> dict[str, Any]:
        """run.json and evaluation.json of the job's first seed that has them, if its settings were these."""
        key = (job.domain, job.method)
        if key not in self._read:
            found: dict[str, Any] = {}
            place = self.results / job.domain / job.method if self.results else None
            for name in ("run", "evaluation") if place else ():
                for file in sorted(place.glob(f"seed*/{name}.json")):
                    record = json.loads(file.read_text(encoding="utf-8"))
                    if record["config"]["team"] == job.raw["team"]:
                        found.setdefault(name, record)
            self._read[key] = found
        return self._read[key]


def _share(record: Mapping[str, Any] | None, keys: tuple[str, str], planned: int) -> float | None:
    """Planned over recorded counts; None without a record."""
    if record is None:
        return None
    recorded = record.get(keys[0], {}).get(keys[1], 0)
    return planned / recorded if recorded else None


def _default(critics: str | None, device: str, size: float) -> float:
    """Generated tokens per second of training for agents of `size` parameters."""
    if device == "cuda":
        return PAPER[critics] * PAPER_SIZE / size
    return CORE[critics] / max(1.0, size / CORE_SIZE) ** CORE_FALL
