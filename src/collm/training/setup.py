"""What a stage needs before it plays: device and precision (accelerate), domain, data and team, made in the right
order."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from collm.common.errors import ConfigError, ModelError
from collm.common.files import sha256
from collm.common.mappings import flatten
from collm.config.job import Job, RolloutConfig, automatic, build_domain, sized
from collm.config.trackers import check_tracker
from collm.data.prepare import load_tasks
from collm.domains.base import Domain, Task
from collm.llm import sources
from collm.llm.bases import Bases
from collm.llm.quantization import check_quantization
from collm.llm.team import Team
from collm.pipeline import code_version
from collm.pipeline.dependencies import KNOBS
from collm.planning import counts, data_estimate, memory, memory_check
from collm.runs import device as devices
from collm.runs import fitting, out_of_memory, trial_batches
from collm.runs.distributed import PATIENCE, Processes
from collm.runs.folders import RunFolders
from collm.runs.record import RunRecord
from collm.runs.resumable import ResumableRun
from collm.training.protocols import PROTOCOLS
from collm.training.rollout import Rollout


@dataclass
class RunSetup:
    """A run of one stage, checked and ready; the models are loaded by `team`."""

    job: Job
    seed: int
    folders: RunFolders
    accelerator: Accelerator
    domain: Domain
    train: list[Task]
    test: list[Task]
    model_folders: Mapping[str, Path]
    reuse: bool = False  # go on with, or export, checkpoints of other code
    device_named: bool = True  # the user chose the device; False: --device auto did
    memory: dict[str, float] = dataclasses.field(default_factory=dict)  # estimated bytes by part, once there is a team
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # of settings that are "auto", once there is a team

    @property
    def processes(self) -> Processes:
        """The processes that this one works with."""
        return Processes.of(self.accelerator)

    def team(self, critics: str | None = None, trained: bool = True, bases: Bases | None = None) -> Team:
        """Print the memory that is needed and load the team.

        Args:
            critics: "joint", "local" or "shared", as in `Team`; None makes agents alone.
            trained: whether the run takes gradients; playing alone needs less memory.
            bases: those that other runs of this process have loaded or will use.
        The job's batches that are "auto" have their sizes afterwards: `self.job` is another one then.
        Raises:
            ModelError: the machine has too little memory, or a model cannot be used as the job says.
            ConfigError: a base is spread over all GPUs and there are several processes.
        """
        device, name = self.accelerator.device, self.job.team.agents[0]
        lengths = counts.lengths(self.job, self.domain, self.train, data_estimate.counter(self.model_folders[name]))
        needed = self._needed(self._least(), critics, lengths, trained)
        if bases is not None and bases.loaded:  # by a team that this one joins
            needed |= dict.fromkeys(memory.OF_BASES, 0.0)
        memory_check.check(self.job, needed, device)
        self.memory = needed
        maps = {name: spec.get("device_map") for name, spec in self.job.models.items()}
        if self.processes.count > 1 and any(maps.values()):
            raise ConfigError("device_map gives all GPUs to one process; set it to null or start one process")
        again, cache, folders = self.job.training.gradient_checkpointing, self.job.rollout.cache, self.model_folders
        with self.within_memory("loading"):
            team = Team(self.job.team, folders, self.seed, critics, self.accelerator, maps, again, cache, bases)
        if self.job.rollout.backend == "vllm":
            team.engines = self._engines(team)
        self._fit(team, critics, lengths, trained)
        return team

    def _needed(self, job: Job, critics: str | None, lengths: counts.Lengths, trained: bool) -> dict[str, float]:
        """Estimated bytes by part."""
        device = self.accelerator.device.type
        return memory_check.estimate(job, self.model_folders, critics, lengths, len(self.test), device, trained)

    def _least(self) -> Job:
        """The job with the smallest batches that may turn out to fit: on a GPU those that are "auto" have any size."""
        measured = automatic(self.job) if self.accelerator.device.type == "cuda" else ()
        return sized(self.job, dict.fromkeys(measured, trial_batches.LEAST_TOKENS))

    def _fit(self, team: Team, critics: str | None, lengths: counts.Lengths, trained: bool) -> None:
        """Put measured sizes into the job where it says "auto"; on a CPU those of the declaration stay."""
        if not automatic(self.job):
            return
        device = self.accelerator.device
        searches = trial_batches.searches(self.job, team, critics, lengths, len(self.test), trained)
        room = fitting.memory_of(device)
        if room is not None and searches:
            kept = self.folders.checkpoints if trained else None
            reserved = self.memory["gradients and optimiser"]
            about = fitting.conditions(self.job, device, self.processes.count)
            self.sizes = fitting.measured(self.job, searches, room, reserved, self.processes, kept, about)
            self.job = sized(self.job, self.sizes)
            self.memory = self._needed(self.job, critics, lengths, trained)
        self.sizes = {name: fitting.size(self.job, name) for name in automatic(self.job)}
        if self.processes.main:
            listed = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
            print(f"auto: {listed} on {device}", file=sys.stderr, flush=True)

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says of the sizes that the job leaves to the device."""
        return {"auto": dict(self.sizes)} if self.sizes else {}

    def within_memory(self, phase: out_of_memory.Phase) -> contextlib.AbstractContextManager[None]:
        """A block of this run's work; memory that runs out there is an error that says what to set."""
        return out_of_memory.explained(phase, self.job, self.memory, self.accelerator.device)

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
        """A player of this job's episodes, by the protocol of the method where it has one.

        Args:
            settings: in place of the job's own.
        """
        kind = PROTOCOLS.get(self.job.method, Rollout)
        node_stop = self.job.semantics == "released"
        return kind(team, self.domain, settings or self.job.rollout, node_stop, self.folders.nonfinite)

    def resumable(self, stage: code_version.PlayingStage, fingerprint: Mapping[str, Any]) -> ResumableRun:
        """The run that keeps what a stage does, with the newest checkpoint if an earlier attempt left one.

        Raises:
            CheckpointError: an unfinished run with another fingerprint left checkpoints.
        """
        record = RunRecord(stage, self.job, self.seed, self.accelerator.device, self.code(stage))
        keep = self.job.training.keep_checkpoints
        return ResumableRun(record, self.folders, fingerprint, keep, self.processes, self.reuse, self.device_named)

    def code(self, stage: code_version.PlayingStage) -> dict[str, str]:
        """Digests of the modules that decide what a stage computes for this job."""
        job = self.job
        return code_version.modules(stage, job.domain, job.rollout.backend, job.method, job.options)

    def start_tracker(self) -> None:
        """Open the job's tracker, if it has one, in the main process; its files lie in `RunFolders.trackers`."""
        folder = self.folders.trackers
        if self.job.tracker == "none" or not self.processes.main:
            return
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"domain": self.job.domain, "method": self.job.method, "seed": self.seed}
        self.accelerator.init_trackers("collm", config=facts, init_kwargs={"wandb": {"dir": str(folder)}})

    def fingerprint(
        self, stage: code_version.PlayingStage, without: tuple[str, ...] = (), **more: Any
    ) -> dict[str, Any]:
        """What the run's numbers depend on: settings, seed, digests of what it reads, and the code of the stage.

        Knobs of memory and book-keeping are left out: a run that ran out of memory goes on with smaller batches. Of
        models the files count, not model.json, which says where they come from.

        Args:
            without: first parts of settings' names that the stage does not read.
            more: what else the numbers depend on.
        """
        left_out = (*KNOBS, *without)
        settings = {key: value for key, value in flatten(self.job.raw).items() if not key.startswith(left_out)}
        settings = {key: value for key, value in settings.items() if not key.endswith(".device_map")}
        inputs: dict[str, Any] = {"data": sha256(self.folders.data / "manifest.json")}
        inputs["model"] = {name: sources.digests(path) for name, path in self.model_folders.items()}
        return {"config": settings, "seed": self.seed, "inputs": inputs, "code": self.code(stage), **more}


def prepare_run(
    job: Job, seed: int, folders: RunFolders, threads: int | None = None, device: str = "auto", reuse: bool = False
) -> RunSetup:
    """Check the job against its domain and data, then prepare the device; no model is loaded yet.

    Args:
        threads: of torch; None leaves them to torch.
        device: auto, cpu, cuda or cuda:N.
        reuse: go on with, or export, checkpoints of other code.
    Raises:
        ConfigError, DataError, ModelError: before anything expensive happens.
    """
    check_tracker(job.tracker)
    domain = build_domain(job)
    if domain.max_turns is not None and job.rollout.turns > domain.max_turns:
        raise ConfigError(f"{job.domain}: rollout.turns is {job.rollout.turns}; at most {domain.max_turns} is possible")
    train, test = load_tasks(folders.data / "train.jsonl"), load_tasks(folders.data / "test.jsonl")
    model_folders = {
        name: sources.folder(folders.models, name, spec["source"], job.domain) for name, spec in job.models.items()
    }
    for path in model_folders.values():
        sources.describe(path)
    domain.ready(job.sandbox)
    if threads:
        torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    made = accelerator(job, folders.trackers, device)
    if made.is_main_process:
        print(devices.in_words(made.device, device), file=sys.stderr, flush=True)
    return RunSetup(job, seed, folders, made, domain, train, test, model_folders, reuse, device != "auto")


def accelerator(job: Job, trackers: Path, device: str = "auto") -> Accelerator:
    """Device, autocast precision and tracker as configured; wandb stays offline unless the user says otherwise.

    Args:
        trackers: folder that a tracker writes to once it is opened (`RunSetup.start_tracker`).
        device: auto, cpu, cuda or cuda:N.
    Raises:
        ConfigError: the device is not there, cannot hold bases as the job says, or the tracker is not installed.
    """
    tracker = None if job.tracker == "none" else job.tracker
    check_tracker(job.tracker)
    chosen = devices.choose(device)
    if chosen.type == "cuda":
        with devices.answering(chosen):
            torch.cuda.set_device(chosen)  # accelerate takes the current one
    check_quantization(job.team.quantization, chosen)
    devices.settle(job.team.tf32, job.team.deterministic, chosen)
    if tracker == "wandb":
        os.environ.setdefault("WANDB_MODE", "offline")
    precision = {"fp32": "no", "bf16": "bf16"}[job.team.precision]
    made = Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision=precision,
        log_with=tracker,
        project_dir=str(trackers) if tracker else None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if device != "auto" and made.device.type != chosen.type:
        raise ConfigError(
            f"--device {device}, and accelerate is set up for {made.device}; unset the variables ACCELERATE_*, or "
            f"use --device {made.device.type}"
        )
    return made
