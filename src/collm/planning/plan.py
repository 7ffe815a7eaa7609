"""What a configuration will need before anything runs: memory by part, hours and disk of every job, and the price.

Works without models, data or torch: shapes of models come from prepared folders, specifications or published cards
(`model_shapes`), numbers of tasks and lengths of prompts from prepared data, embedded rows or slice bounds
(`data_estimate`). Hours follow from tokens and a rate: measured in an earlier run of the same job, given, or the
default named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.config.job import Job
from collm.config.resolve import resolve_job, rows
from collm.methods.registry import METHODS, WARM_STARTS
from collm.pipeline.provenance import data_settings
from collm.pipeline.targets import needed_warm_starts
from collm.planning import counts, memory, prepared
from collm.planning.data_estimate import DataEstimate, estimate_data
from collm.planning.model_shapes import Shape, shape_of_folder, shape_of_spec
from collm.planning.throughput import Rates

GB = 1e9
SAMPLE_BYTES = 5  # of a generated token in samples.jsonl, JSON included


@dataclass(frozen=True)
class Line:
    """One row of the tables: a method or baseline in one domain, `seeds` times."""

    domain: str
    method: str
    seeds: int
    device: str  # cpu | cuda
    memory: Mapping[str, Mapping[str, float]]  # bytes by stage and part
    peaks: Mapping[str, float]  # bytes by stage
    seconds: Mapping[str, float]  # by stage, one seed
    tokens: int  # generated, all stages, one seed
    disk: float  # bytes, one seed
    basis: str  # where the rate comes from

    @property
    def peak(self) -> float:
        """Bytes of the stage that needs most."""
        return max(self.peaks.values())

    @property
    def hours(self) -> float:
        """Hours of all seeds, on one GPU or one core."""
        return self.seeds * sum(self.seconds.values()) / 3600


@dataclass(frozen=True)
class Plan:
    """All lines, and what is shared by them."""

    lines: Sequence[Line]
    models: Mapping[str, float]  # bytes on disk by "domain/name" or name
    notes: Sequence[str] = ()  # prepared data of other settings that were not used, a line each

    def hours(self, device: str) -> float:
        """Hours of all lines on one GPU (cuda) or one core (cpu)."""
        return sum(line.hours for line in self.lines if line.device == device)

    def disk(self) -> float:
        """Bytes on disk."""
        return sum(self.models.values()) + sum(line.seeds * line.disk for line in self.lines)


def make_plan(settings: Mapping[str, Any], rates: Rates, root: Path = Path("."), device: str | None = None) -> Plan:
    """Plan all jobs of a merged configuration.

    Args:
        rates: how fast jobs go.
        root: where data and models lie, if they do.
        device: cpu or cuda; None takes CUDA for the hub's models and the CPU for all others.
    Raises:
        ModelError: a model's size is not known before it is there.
    """
    lines: list[Line] = []
    stored: dict[str, float] = {}
    notes: dict[str, None] = {}
    for domain in settings["domains"]:
        estimates: dict[tuple[Any, ...], DataEstimate] = {}
        made_with = data_settings(settings, domain)
        for method in planned_rows(settings, domain):
            job = resolve_job(settings, domain, method)
            shapes = {name: _shape(root, job, name) for name in job.models}
            stored |= {_model_key(job, name): _stored(job, name, shape) for name, shape in shapes.items()}
            key = (job.team.num_agents, job.rollout.turns, job.rollout.max_new_tokens, job.team.agents)
            if key not in estimates:
                estimates[key] = estimate_data(job, made_with, root)
            lines.append(_line(job, shapes, estimates[key], rates, len(settings["seeds"]), device))
        lines += _models_lines(resolve_job(settings, domain), rates)
        notes |= {estimate.note: None for estimate in estimates.values() if estimate.note}
    return Plan(lines, stored, tuple(notes))


def planned_rows(settings: Mapping[str, Any], domain: str) -> list[str]:
    """Rows of a domain, and the warm starts that they need, in the order in which they run."""
    others = [row for row in rows(settings, domain) if row not in WARM_STARTS]
    return [*needed_warm_starts(settings, domain), *others]


def _line(
    job: Job, shapes: Mapping[str, Shape], data: DataEstimate, rates: Rates, seeds: int, asked: str | None
) -> Line:
    device = asked or ("cuda" if any(spec["source"] == "hub" for spec in job.models.values()) else "cpu")
    work = counts.workload(job, data.train, data.test, rates.mean_response(job))
    stages = dict(_memory_of_stages(job, shapes, data, device))
    peaks = {stage: memory.peak(parts, device) for stage, parts in stages.items()}
    size = sum(shapes[name].parameters for name in job.team.agents) / len(job.team.agents)
    seconds = rates.seconds(job, work, data, device, size)
    return Line(
        job.domain,
        job.method,
        seeds,
        device,
        stages,
        peaks,
        seconds.stages,
        work.training_tokens + work.interim_tokens + work.final_tokens,
        _disk(job, shapes, work),
        seconds.basis,
    )


def _memory_of_stages(
    job: Job, shapes: Mapping[str, Shape], data: DataEstimate, device: str
) -> Iterator[tuple[str, dict[str, float]]]:
    """Bytes by part of every stage of a row."""
    if job.method in METHODS or job.method in WARM_STARTS:
        stage, critics = "train" if job.method in METHODS else "warm_start", memory.critics_of(job)
        largest = memory.training_batches(job, data.lengths, critics, data.test)
        yield stage, memory.bytes_by_part(job, shapes, critics, largest, device)
    agents = {name: shapes[name] for name in job.team.agents}
    largest = memory.evaluation_batches(job, data.lengths, data.test)
    yield "evaluate", memory.bytes_by_part(job, agents, None, largest, device, trained=False)


def _disk(job: Job, shapes: Mapping[str, Shape], work: counts.Workload) -> float:
    """Bytes of adapters, checkpoints and samples of one seed."""
    samples = SAMPLE_BYTES * (work.final_tokens + work.episodes * 200)
    if job.method not in METHODS and job.method not in WARM_STARTS:
        return samples
    names = memory.trained_models(job, memory.critics_of(job))
    full, rank = job.team.adapter == "full", job.team.lora["rank"]
    trained = sum(shapes[name].parameters if full else shapes[name].lora(rank) for name in names)
    number = memory.gradient_bytes(job)
    return samples + trained * (number + (number + memory.state_bytes(job)) * job.training.keep_checkpoints)


def _shape(root: Path, job: Job, name: str) -> Shape:
    """Of the prepared model if it is there, made from this specification, else of the specification."""
    if prepared.has_model(root, job, name):
        return shape_of_folder(prepared.model_folder(root, job, name))
    return shape_of_spec(name, job.models[name])


def _model_key(job: Job, name: str) -> str:
    """A name for a model on disk: models made from scratch belong to a domain, the others are shared."""
    return f"{job.domain}/{name}" if job.models[name]["source"] == "scratch" else name


def _stored(job: Job, name: str, shape: Shape) -> float:
    """Bytes on disk of a model: the hub's are stored in bfloat16, those that we write in float32."""
    return shape.parameters * (2 if job.models[name]["source"] == "hub" else 4)


def _models_lines(job: Job, rates: Rates) -> list[Line]:
    """The models of a domain that are made from scratch, once for all seeds."""
    pretrain = [spec["pretrain"] for spec in job.models.values() if spec["source"] == "scratch"]
    if not pretrain:
        return []
    tokens = sum(plan["steps"] * plan["batch_size"] * plan["window"] for plan in pretrain)
    runtime = memory.RUNTIME["cpu"]
    parts, peaks, seconds = {"model": {"runtime": runtime}}, {"model": runtime}, {"model": rates.model_seconds(tokens)}
    return [Line(job.domain, "(model)", 1, "cpu", parts, peaks, seconds, 0, 0.0, "default rate")]


def as_json(plan: Plan, price: float, cores: int) -> dict[str, Any]:
    """The plan as plain data: every line with its parts, and the totals."""
    lines = [{**dataclasses.asdict(line), "peak": line.peak, "hours": line.hours} for line in plan.lines]
    gpu = plan.hours("cuda")
    totals = {
        "gpu_hours": gpu,
        "price": gpu * price,
        "cpu_hours": plan.hours("cpu"),
        "cores": cores,
        "wall_hours_on_cores": plan.hours("cpu") / cores,
        "disk_bytes": plan.disk(),
        "largest_peak_bytes": max(line.peak for line in plan.lines),
    }
    return {"lines": lines, "models_bytes": dict(plan.models), "totals": totals}
