"""The device of a stage: what `--device` allows, and what is said about it in the log."""

from __future__ import annotations

import os
import re

import torch

from collm.common.errors import ConfigError


def choose(name: str) -> torch.device:
    """The device that `--device` names; with "auto" a GPU if there is one.

    In one of several processes "auto" and "cuda" mean a GPU for each.

    Raises:
        ConfigError: an unknown name, a GPU that is not there, or one GPU by number for several processes.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name!r} is not allowed; allowed are auto, cpu, cuda and cuda:N (N from 0)")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    if not count:
        raise ConfigError(f"--device {name}: no CUDA device found ({_reason()}); mend that, or use --device cpu")
    processes, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if processes > 1 and ":" in name:
        raise ConfigError(f"--device {name} names one GPU for {processes} processes; use --device cuda: a GPU for each")
    index = int(name.partition(":")[2] or (local if processes > 1 else torch.cuda.current_device()))
    if index >= count:
        what = f"process {local} on this machine needs cuda:{index}" if processes > 1 else f"there is no cuda:{index}"
        raise ConfigError(f"--device {name}: {what}, and CUDA finds {count} (cuda:0 to cuda:{count - 1})")
    return torch.device("cuda", index)


def in_words(device: torch.device, name: str) -> str:
    """The line of the log: which device it is, and why.

    Args:
        name: what `--device` said.
    """
    if device.type == "cuda":
        return f"device {device}: {torch.cuda.get_device_name(device)}"
    return f"device {device}: {'no CUDA device found' if name == 'auto' else 'as --device says'}"


def _reason() -> str:
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all"
    return "nvidia-smi says whether the driver sees one"
