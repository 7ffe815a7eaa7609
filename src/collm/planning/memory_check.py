"""Memory that a job needs against what is there, compared before any model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch

from collm.common.errors import ModelError
from collm.config.job import Job
from collm.planning import memory, model_shapes
from collm.planning.counts import Lengths

ERROR = 1.15  # the estimate is within 15 % of the peak (docs/memory.md), so that this much may be needed


def estimate(
    job: Job,
    folders: Mapping[str, Path],
    critics: str | None,
    lengths: Lengths,
    tests: int,
    device: str = "cpu",
    trained: bool = True,
) -> dict[str, float]:
    """Bytes by part of a job on prepared models, see `memory.bytes_by_part`.

    Args:
        lengths: of the job's prompts and responses.
        tests: number of test tasks.
        trained: False for the final evaluation.
    """
    shapes = {name: model_shapes.shape_of_folder(path) for name, path in folders.items()}
    largest = memory.training_batches(job, lengths, critics, tests)
    if not trained:
        largest = memory.evaluation_batches(job, lengths, tests)
    return memory.bytes_by_part(job, shapes, critics, largest, device, trained)


def available(device: torch.device) -> float:
    """Free bytes of the device: CUDA memory, or what the operating system can give to this process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check(job: Job, parts: Mapping[str, float], device: torch.device) -> None:
    """Print the need against what is there.

    Args:
        parts: what `estimate` gave.
    Raises:
        ModelError: it cannot fit; names the knobs to lower.
    """
    peak, free = memory.peak(parts, device.type), sum(available(place) for place in _places(job, device))
    update, generation = (sum(parts[name] for name in phase) for phase in (memory.UPDATE, memory.GENERATION))
    always = {name: size for name, size in parts.items() if name not in memory.UPDATE + memory.GENERATION}
    summed = {**always, "generation": generation, "update": update}
    listed = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in summed.items() if size)
    print(f"memory: about {peak / 1e6:.0f} MB needed ({listed}), {free / 1e6:.0f} MB free on {device}", file=sys.stderr)
    if peak > ERROR * free:
        raise ModelError(
            f"{job.domain}/{job.method} needs about {peak / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on {device}; "
            "lower training.micro_batch_tokens or rollout.max_rows, use team.dtype bfloat16 or team.adapter lora, "
            "or choose a smaller model"
        )


def _places(job: Job, device: torch.device) -> list[torch.device]:
    """Where the job's numbers go: one device, or all GPUs if one of its models is spread over them."""
    if device.type == "cuda" and any(spec.get("device_map") for spec in job.models.values()):
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [device]
