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
from collm.planning.counts import Workload, fine_tuning_tokens
from collm.planning.data_estimate import DataEstimate

PAPER_RATES = {None: 157.0, "local": 57.4, "joint": 70.1}  # tokens per second of training, by kind of critic
PAPER_PARAMETERS = 3.55e9  # mean parameters of the agents of those runs
CORE_RATES = {None: 4000.0, "local": 2800.0, "joint": 2800.0}  # the same of scratch models on one core
CORE_PARAMETERS = 1e6  # parameters up to which those rates hold
CORE_FALL = 1.1  # rates fall with this power of the parameters: SmolLM2 has 135 times as many and is 220 times slower
GENERATION_SPEED = 1.5  # tokens per second without updates, relative to Monte Carlo training
# Prompt and response tokens per second of a warm start: on one core with its own power, on a GPU relative to training.
CORE_FINE_TUNING, CORE_FINE_TUNING_FALL = 12_000.0, 0.7
FINE_TUNING_SPEED = 15.0
START_SECONDS = {"cpu": 5.0, "cuda": 60.0}  # seconds of a process before it does anything: imports, loading
START_SECONDS_TOGETHER = 1.5  # the same per row where one process evaluates all rows (models made from scratch)
PRETRAINING_RATE = 20_000.0  # tokens per second of making a scratch model, one core


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of the stages of one seed, and what they rest on: measured, given or default rate."""

    stages: Mapping[str, float]
    basis: str


@dataclass(frozen=True)
class Rates:
    """Where rates come from: the folder of earlier runs, or a number that holds for everything."""

    results: Path | None = None
    given: float | None = None
    _read: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False)

    def mean_response(self, job: Job) -> float | None:
        """Mean tokens of a response in an earlier run of the job; None if there was none."""
        run = self._records(job).get("run", {})
        counts = run.get("counts", {})
        if not counts.get("samples") or "tokens" not in counts:
            return None
        return counts["tokens"] / counts["samples"] / job.team.num_agents

    def seconds(self, job: Job, work: Workload, data: DataEstimate, device: str, size: float) -> StageSeconds:
        """Seconds per stage of one seed; `size` is the mean number of parameters of an agent."""
        records, start = self._records(job), START_SECONDS[device]
        run, evaluation = records.get("run"), records.get("evaluation")
        playing_rate = self.given or GENERATION_SPEED * _default_rate(None, device, size)
        stages: dict[str, tuple[float | None, float]] = {}  # measured in an earlier run, estimated
        if job.method in METHODS:
            training_rate = self.given or _default_rate(METHODS[job.method].critics, device, size)
            estimate = start + work.training_tokens / training_rate + work.interim_tokens / playing_rate
            stages["train"] = _measured(run, _share(run, ("counts", "samples"), work.samples), start), estimate
        elif job.method in WARM_STARTS:
            tokens = fine_tuning_tokens(job, data.train, data.lengths)
            tuning_rate = FINE_TUNING_SPEED * self.given if self.given else _fine_tuning_rate(device, size)
            estimate = start + tokens / tuning_rate + work.interim_tokens / playing_rate
            stages["warm_start"] = _measured(run, 1.0, start), estimate
        scratch = all(spec["source"] == "scratch" for spec in job.models.values())
        start = START_SECONDS_TOGETHER if scratch else start
        share = _share(evaluation, ("summary", "episodes"), work.episodes)
        stages["evaluate"] = _measured(evaluation, share, start), start + work.final_tokens / playing_rate
        bases = {self._basis(device) if measured is None else "measured" for measured, _ in stages.values()}
        seconds = {name: estimate if measured is None else measured for name, (measured, estimate) in stages.items()}
        return StageSeconds(seconds, " and ".join(sorted(bases)))

    def model_seconds(self, tokens: int) -> float:
        """Seconds of making a scratch model from so many tokens of pre-training."""
        return START_SECONDS["cpu"] + tokens / PRETRAINING_RATE

    def _basis(self, device: str) -> str:
        if self.given:
            return "given rate"
        return "default rate" if device == "cpu" else "the paper's rate"

    def _records(self, job: Job) -> dict[str, Any]:
        """run.json and evaluation.json of the job's first seed that has them, if its team was this one."""
        key = (job.domain, job.method)
        if key not in self._read:
            records: dict[str, Any] = {}
            folder = self.results / job.domain / job.method if self.results else None
            for name in ("run", "evaluation"):
                for file in sorted(folder.glob(f"seed*/{name}.json")) if folder else ():
                    record = json.loads(file.read_text(encoding="utf-8"))
                    if record["config"]["team"] == job.raw["team"]:
                        records.setdefault(name, record)
            self._read[key] = records
        return self._read[key]


def _share(record: Mapping[str, Any] | None, keys: tuple[str, str], planned: int) -> float | None:
    """Planned over recorded counts; None without a record."""
    if record is None:
        return None
    recorded = record.get(keys[0], {}).get(keys[1], 0)
    return planned / recorded if recorded else None


def _measured(record: Mapping[str, Any] | None, share: float | None, start: float) -> float | None:
    """Recorded seconds scaled to the planned counts, after those of starting; None without a record."""
    return None if record is None or share is None else start + record["wall_seconds"] * share


def _default_rate(critics: str | None, device: str, size: float) -> float:
    """Generated tokens per second of training for agents of `size` parameters."""
    if device == "cuda":
        return PAPER_RATES[critics] * PAPER_PARAMETERS / size
    return CORE_RATES[critics] / max(1.0, size / CORE_PARAMETERS) ** CORE_FALL


def _fine_tuning_rate(device: str, size: float) -> float:
    """Tokens per second of a warm start, prompts and responses, for agents of `size` parameters."""
    if device == "cuda":
        return FINE_TUNING_SPEED * GENERATION_SPEED * _default_rate(None, device, size)
    return CORE_FINE_TUNING / max(1.0, size / CORE_PARAMETERS) ** CORE_FINE_TUNING_FALL
