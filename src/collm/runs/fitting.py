"""The settings that are "auto": how much a GPU holds, asked once at the start of a run and kept beside its checkpoints.

Trial batches double in size until one takes more than its share of what is free, or runs out of memory; the size before
is taken. Results do not depend on these sizes but for rounding.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from collm.common.errors import OutOfMemory
from collm.common.files import write_json
from collm.config.job import Job
from collm.runs.distributed import Processes

SHARE = 0.8  # of the free memory that a trial may take: allocators fragment, and texts differ
FILE = "sizes.json"
Trial = Callable[[int], None]  # a batch of some size, as a run may meet it


class Memory(Protocol):
    """What a device has, and what some work takes of it, in bytes."""

    def free(self) -> float:
        """What can be allocated now."""

    def taken_by(self, work: Callable[[], None]) -> float:
        """Do the work; the most that it held at once beside what was there. Raises torch.OutOfMemoryError."""


class CudaMemory:
    """The memory of a GPU, by what torch reserves of it."""

    def __init__(self, device: torch.device):
        self.device = device

    def free(self) -> float:
        """Bytes; what torch holds without need is given back first."""
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0]

    def taken_by(self, work: Callable[[], None]) -> float:
        """See `Memory`; captured graphs count, since torch reserves their memory, too."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_reserved(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_reserved(self.device) - before


@dataclass(frozen=True)
class Search:
    """Where the size of a setting is looked for.

    Attributes:
        trial: a batch of that size.
        least: smaller ones make no sense.
        first: size of the first trial.
        most: a run never has more to do at once.
    """

    trial: Trial
    least: int
    first: int
    most: int


def memory_of(device: torch.device) -> Memory | None:
    """The memory that sizes are measured by; None of a device on which nothing is measured."""
    return CudaMemory(device) if device.type == "cuda" else None


def conditions(job: Job, device: torch.device, processes: int) -> dict[str, Any]:
    """What sizes depend on, beside what a run may not change."""
    card = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    training = job.training
    return {
        "card": [card.name, card.total_memory] if card else str(device),
        "processes": processes,
        "gradient_checkpointing": training.gradient_checkpointing,
        "offload_optimiser": training.offload_optimiser,
        "cache": job.rollout.cache,
    }


def size(job: Job, name: str) -> int:
    """The number of a job's dotted key."""
    block, key = name.split(".")
    number: int = getattr(getattr(job, block), key)
    return number


def largest(search: Search, memory: Memory, reserved: float = 0.0) -> int | None:
    """The largest size met that fits, None if not even the least one does.

    Args:
        reserved: bytes of what is free that the run will need for something else.
    """
    most = max(search.least, search.most)
    size = min(max(search.first, search.least), most)
    if not _fits(search.trial, size, memory, reserved):
        while size > search.least:
            size = max(size // 2, search.least)
            if _fits(search.trial, size, memory, reserved):
                return size
        return None
    while size < most and _fits(search.trial, min(2 * size, most), memory, reserved):
        size = min(2 * size, most)
    return size


def _fits(trial: Trial, size: int, memory: Memory, reserved: float) -> bool:
    room = SHARE * (memory.free() - reserved)
    try:
        return memory.taken_by(lambda: trial(size)) <= room
    except torch.OutOfMemoryError:
        return False


def measured(
    job: Job,
    searches: Mapping[str, Search],
    memory: Memory,
    reserved: float,
    processes: Processes,
    kept: Path | None,
    conditions: Mapping[str, Any],
) -> dict[str, int]:
    """Sizes by dotted key: those that an earlier attempt at the run has kept, else the largest that fit all processes.

    Args:
        searches: by dotted key, in the order in which they are made.
        reserved: as in `largest`.
        kept: folder of the run's checkpoints; None: nothing is kept.
        conditions: what the sizes depend on; those that were kept under others are measured again.
    Raises:
        OutOfMemory: not even the least batch fits.
    """
    facts = json.loads(json.dumps(dict(conditions)))
    known = processes.from_main(lambda: _read(kept, facts, searches))
    if known is not None:
        return known
    sizes = {}
    for name, search in searches.items():
        found = processes.gather([largest(search, memory, reserved)])
        if None in found:
            raise OutOfMemory(
                f"{job.domain}/{job.method}: {name} is auto, and on this device not even {search.least} fits beside "
                "the models and the optimisers' states; set training.gradient_checkpointing or "
                "training.offload_optimiser to true, team.dtype to bfloat16 or team.adapter to lora, or take a smaller "
                "model"
            )
        sizes[name] = min(size for size in found if size is not None)
    if kept is not None and processes.main:
        write_json(kept / FILE, {"sizes": sizes, "conditions": facts})
    return sizes


def _read(folder: Path | None, conditions: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, int] | None:
    """What an earlier attempt has kept, None if there is nothing that serves this one."""
    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        sizes, same = {name: int(content["sizes"][name]) for name in names}, content["conditions"] == conditions
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{folder / FILE} cannot be used ({error!r}); what fits is measured again", file=sys.stderr)
        return None
    if not same:
        print("what fits is measured again: an earlier attempt ran on another GPU or otherwise", file=sys.stderr)
        return None
    return sizes
