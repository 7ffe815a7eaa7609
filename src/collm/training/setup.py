"""One training process: device and precision (accelerate), team, domain and data of a job, made in the right order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from collm import domains
from collm.common.errors import ConfigError, ModelError
from collm.common.files import sha256
from collm.common.mappings import flatten
from collm.config.dependencies import KNOBS
from collm.config.job import Job, RolloutConfig
from collm.data.prepare import load_tasks
from collm.domains.base import Domain, Task
from collm.llm import sources
from collm.llm.team import Team
from collm.planning import counts, data_estimate, memory_check
from collm.runs.distributed import PATIENCE, Processes
from collm.training.protocols import PROTOCOLS
from collm.training.rollout import Rollout


@dataclass(frozen=True)
class Places:
    """Folders of one run; the defaults follow the layout of the repository."""

    data: Path
    models: Path
    out: Path
    checkpoints: Path

    @classmethod
    def of(cls, domain: str, method: str, seed: int, root: Path = Path(".")) -> Places:
        """The conventional places of a run below `root`."""
        run = Path(domain) / method / f"seed{seed}"
        return cls(
            root / "data" / domain, root / "resources" / "models", root / "results" / run, root / "checkpoints" / run
        )


@dataclass
class Session:
    """What stages have in common."""

    job: Job
    seed: int
    places: Places
    accelerator: Accelerator
    domain: Domain
    train: list[Task]
    test: list[Task]
    folders: Mapping[str, Path]

    @property
    def processes(self) -> Processes:
        """The processes that this one works with."""
        return Processes.of(self.accelerator)

    def team(self, critics: str | None = None, trained: bool = True) -> Team:
        """Tell the memory that is needed and load the team; ModelError if the machine has too little."""
        device, name = self.accelerator.device, self.job.team.agents[0]
        lengths = counts.lengths(self.job, self.domain, self.train, data_estimate.counter(self.folders[name]))
        needed = memory_check.estimate(self.job, self.folders, critics, lengths, len(self.test), device.type, trained)
        memory_check.check(self.job, needed, device)
        maps = {name: spec.get("device_map") for name, spec in self.job.models.items()}
        if self.processes.count > 1 and any(maps.values()):
            raise ConfigError("device_map gives all GPUs to one process; set it to null or start one process")
        recompute = self.job.training.gradient_checkpointing
        team = Team(self.job.team, self.folders, self.seed, critics, self.accelerator, maps, recompute)
        if self.job.rollout.backend == "vllm":
            team.engines = self._engines(team)
        return team

    def _engines(self, team: Team) -> Any:
        """Engines of vLLM for the agents of a team; ModelError if it is not installed or the job has more processes."""
        from collm.llm import vllm

        if self.processes.count > 1:
            raise ModelError(
                f"rollout.backend is vllm in {self.processes.count} processes; its engines serve one: start "
                "one process, or set rollout.backend to transformers"
            )
        plan = self.job.rollout
        return vllm.Engines(team.agents, self.job.team.lora["rank"], plan.max_rows, plan.vllm_memory)

    def rollout(self, team: Team, settings: RolloutConfig | None = None) -> Rollout:
        """A player of this job's episodes, by the protocol of the method where it has one."""
        evidence = self.places.checkpoints / "nonfinite.json"
        kind = PROTOCOLS.get(self.job.method, Rollout)
        return kind(team, self.domain, settings or self.job.rollout, self.job.semantics == "released", evidence)

    def fingerprint(self, without: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        """What the run's numbers depend on: settings, seed and digests of what it reads.

        Knobs of memory and book-keeping are left out: a run that ran out of memory goes on with smaller batches.
        """
        left_out = (*KNOBS, *without)
        settings = {key: value for key, value in flatten(self.job.raw).items() if not key.startswith(left_out)}
        settings = {key: value for key, value in settings.items() if not key.endswith(".device_map")}
        read = {"data": sha256(self.places.data / "manifest.json")}
        read |= {f"model.{name}": sha256(path / "model.json") for name, path in self.folders.items()}
        return {"config": settings, "seed": self.seed, "inputs": read, **more}


def open_session(job: Job, seed: int, places: Places, threads: int | None = None) -> Session:
    """Check the job against its domain and data, then prepare the device; no model is loaded yet.

    Raises:
        ConfigError, DataError, ModelError: before anything expensive happens.
    """
    domain = domains.get(job.domain)(job.options, job.profile, job.team.num_agents)
    if domain.max_turns is not None and job.rollout.turns > domain.max_turns:
        raise ConfigError(f"{job.domain}: rollout.turns is {job.rollout.turns}; at most {domain.max_turns} is possible")
    train, test = load_tasks(places.data / "train.jsonl"), load_tasks(places.data / "test.jsonl")
    folders = {
        name: sources.folder(places.models, name, spec["source"], job.domain) for name, spec in job.models.items()
    }
    for path in folders.values():
        sources.describe(path)
    domain.ready(job.sandbox)
    if threads:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    return Session(job, seed, places, accelerator(job, places.checkpoints), domain, train, test, folders)


def accelerator(job: Job, folder: Path) -> Accelerator:
    """Device, autocast precision and trackers as configured; wandb stays offline unless the user says otherwise."""
    tracker = None if job.tracker == "none" else job.tracker
    if tracker == "wandb":
        os.environ.setdefault("WANDB_MODE", "offline")
    precision = {"fp32": "no", "bf16": "bf16"}[job.team.precision]
    made = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=precision,
        log_with=tracker,
        project_dir=str(folder / "trackers") if tracker else None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if tracker and made.is_main_process:
        (folder / "trackers").mkdir(parents=True, exist_ok=True)
        made.init_trackers("collm", config={"domain": job.domain, "method": job.method})
    return made
