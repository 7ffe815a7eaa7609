"""Memory that a job needs against what is there, told before any model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch

from collm import config, footprint, shapes
from collm.errors import ModelError
from collm.workload import Lengths

ERROR = 1.15  # the estimate is within 15 % of the peak (docs/memory.md), so that this much may be needed


def estimate(
    job: config.Job, folders: Mapping[str, Path], critics: str | None, lengths: Lengths, tests: int,
    device: str = "cpu", trained: bool = True,
) -> dict[str, float]:  # fmt: skip
    """Bytes by part of a job on prepared models, see `footprint.parts`.

    Args:
        lengths: of the job's prompts and responses.
        tests: number of test tasks.
        trained: False for the final evaluation.
    """
    found = {name: shapes.of_folder(path) for name, path in folders.items()}
    largest = footprint.batches(job, lengths, critics, tests)
    if not trained:
        largest = footprint.batches_of_evaluation(job, lengths, tests)
    return footprint.parts(job, found, critics, largest, device, trained)


def available(device: torch.device) -> float:
    """Free bytes of the device: CUDA memory, or what the operating system can give to this process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check(job: config.Job, parts: Mapping[str, float], device: torch.device) -> None:
    """Print the need against what is there.

    Args:
        parts: what `estimate` gave.
    Raises:
        ModelError: it cannot fit; names the knobs to lower.
    """
    peak, there = footprint.peak(parts, device.type), sum(available(place) for place in _places(job, device))
    update, generation = (sum(parts[name] for name in phase) for phase in (footprint.UPDATE, footprint.GENERATION))
    always = {name: size for name, size in parts.items() if name not in footprint.UPDATE + footprint.GENERATION}
    shown = {**always, "generation": generation, "update": update}
    listed = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in shown.items() if size)
    print(
        f"memory: about {peak / 1e6:.0f} MB needed ({listed}), {there / 1e6:.0f} MB free on {device}", file=sys.stderr
    )
    if peak > ERROR * there:
        raise ModelError(
            f"{job.domain}/{job.method} needs about {peak / 1e9:.1f} GB and {there / 1e9:.1f} GB are free on {device}; "
            "lower training.micro_batch_tokens or rollout.max_rows, use team.dtype bfloat16 or team.adapter lora, "
            "or choose a smaller model"
        )


def _places(job: config.Job, device: torch.device) -> list[torch.device]:
    """Where the job's numbers go: one device, or all GPUs if one of its models is spread over them."""
    if device.type == "cuda" and any(spec.get("device_map") for spec in job.models.values()):
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [device]
