"""The device of a stage: what `--device` allows, and what is said about it in the log."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from collm.common.errors import ConfigError

WORKSPACE = ":4096:8"  # of cuBLAS, with which its products give the same bits again
# What CUDA says of a card or driver that is lost, beside errors that a program makes (cudaGetErrorString).
LOST = (
    "CUDA error: unknown error",
    "CUDA error: initialization error",
    "CUDA error: driver shutting down",
    "CUDA error: CUDA driver version is insufficient",
    "CUDA error: no CUDA-capable device is detected",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: uncorrectable NVLink error",
    "CUDA error: hardware stack error",
    "CUDA error: system not yet initialized",
    "CUDA error: system has unsupported display driver",
    "Found no NVIDIA driver",
    "The NVIDIA driver on your system is too old",
)


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


@contextlib.contextmanager
def answering(device: torch.device) -> Iterator[None]:
    """A block that meets a device for the first time; ConfigError if it does not answer."""
    try:
        yield
    except RuntimeError as error:
        if words := failure(error, "it was taken", device):
            raise ConfigError(words) from error
        raise


def settle(tf32: bool, deterministic: bool, device: torch.device) -> None:
    """How this process computes from now on.

    Args:
        tf32: products of float32 numbers on a GPU keep 10 bits after the point.
        deterministic: torch refuses algorithms that need not give the same bits again.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = tf32
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACE)  # before the first product
    torch.use_deterministic_algorithms(deterministic)


def failure(error: Exception, phase: str, device: torch.device) -> str | None:
    """What an error of torch says about the device, in words; None if it may as well be a fault of ours.

    Args:
        phase: what it was doing.
    """
    first = str(error).strip().partition("\n")[0]
    if "does not have a deterministic implementation" in first:
        return f"{first.partition(',')[0]} on {device} while {phase}; set team.deterministic to false"
    if device.type != "cuda" or not any(words in first for words in LOST):
        return None
    return (
        f"{device} answers no more while {phase} ({first}); nvidia-smi says whether the driver still sees it: mend "
        "that and run the same command again, or go on with --device cpu; what was saved is intact"
    )


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
