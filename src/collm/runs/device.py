"""The device of a stage: what `--device` allows, and what is said about it in the log."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from collm.common.errors import ConfigError


def choose(name: str) -> torch.device:
    """The device that `--device` names; with "auto" a GPU if there is one.

    In one of several processes "auto" and "cuda" mean a GPU for each.

    Raises:
        ConfigError: an unknown name, a GPU that is not there or whose driver is lost, or one GPU by number for several
            processes.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name!r} is not allowed; allowed are auto, cpu, cuda and cuda:N (N from 0)")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu":
        return torch.device("cpu")
    if name == "auto" and not count:
        _refuse_a_lost_driver()
        return torch.device("cpu")
    if not count:
        raise ConfigError(f"--device {name}: no CUDA device found ({reason()}); mend that, or use --device cpu")
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


def _refuse_a_lost_driver() -> None:
    """ConfigError where this machine has a GPU for us, and CUDA finds none: days on a CPU would be a poor surprise."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    if torch.version.cuda is None or hidden:
        return
    cards = sorted(path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    if ours := [str(path) for path in cards if _is_ours(path)]:
        raise ConfigError(
            f"--device auto: this machine has {_listed(ours)}, and CUDA finds no device ({reason()}): the driver is "
            "lost or too old for this torch; mend that, or use --device cpu"
        )


def _is_ours(card: Path) -> bool:
    """Whether this process may use a card; clusters show cards to jobs that asked for none, and refuse to open them."""
    try:
        os.close(os.open(card, os.O_RDWR))
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENXIO, errno.ENODEV)
    return True


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def reason() -> str:
    """Why CUDA finds no device, in a few words."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all"
    return "nvidia-smi says whether the driver sees one"
