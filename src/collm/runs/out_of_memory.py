"""Memory that runs out in the middle of a run: an error that names the largest part and the settings that shrink it.

A GPU that answers no more is told apart (`device.failure`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Literal

import torch

from collm.common.errors import DeviceFailed, OutOfMemory
from collm.config.job import Job, automatic
from collm.planning import memory
from collm.runs import device as devices

Phase = Literal["loading", "playing", "learning"]
PARTS: dict[Phase, tuple[str, ...]] = {"loading": (), "playing": memory.GENERATION, "learning": memory.UPDATE}


@contextlib.contextmanager
def explained(phase: Phase, job: Job, parts: Mapping[str, float], device: torch.device) -> Iterator[None]:
    """A block of a run's work.

    Args:
        phase: what the block does.
        parts: estimated bytes by part (`collm.planning.memory`); empty if they are not known.
    Raises:
        OutOfMemory: torch could allocate no more, on a GPU or in main memory.
        DeviceFailed: the GPU answers no more, or lacks an algorithm that `team.deterministic` asks for.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_out_of_memory(error):
            if words := devices.failure(error, phase, device):
                raise DeviceFailed(f"{job.domain}/{job.method}: {words}") from error
            raise
        asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
        wanted = f" (tried to allocate {asked[1].rstrip('.')})" if asked else ""
        raise OutOfMemory(
            f"{job.domain}/{job.method}: out of memory on {device} while {phase}{wanted}{_largest(phase, parts)}; "
            f"{_advice(phase, job, device)}, then run the same command again: what was saved is intact"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("can't allocate memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUDA error: out of memory")
    return any(word in str(error) for word in words)


def _largest(phase: Phase, parts: Mapping[str, float]) -> str:
    """The largest of the parts that are there in this phase, in words; "" if none is known."""
    other = {name for group in PARTS.values() for name in group} - set(PARTS[phase])
    there = {name: size for name, size in parts.items() if name not in other}
    if not there:
        return ""
    name = max(there, key=lambda part: there[part])
    return f"; the largest part is {name}, about {there[name] / 1e9:.1f} GB by the estimate"


def _advice(phase: Phase, job: Job, device: torch.device) -> str:
    """What to set; only what is not set yet."""
    team, training = job.team, job.training
    advice = []
    if phase == "learning":
        advice.append(_less(job, "training.micro_batch_tokens", training.micro_batch_tokens))
        if not training.gradient_checkpointing:
            advice.append("set training.gradient_checkpointing to true")
        if not training.offload_optimiser and device.type == "cuda":
            advice.append("set training.offload_optimiser to true")
    if phase == "playing":
        advice.append(_less(job, "rollout.max_rows", job.rollout.max_rows))
    if team.adapter == "full":
        advice.append("set team.adapter to lora")
    elif team.dtype == "float32":
        advice.append("set team.dtype to bfloat16")
    return ", ".join(advice or ["take a smaller model, or a device with more memory"])


def _less(job: Job, name: str, size: int) -> str:
    return f"set {name} to less than the {size} that auto found" if name in automatic(job) else f"lower {name} ({size})"
