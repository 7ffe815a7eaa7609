"""run.json: what a run was, on what it ran and what it took."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from collm import __version__
from collm.config.job import Job
from collm.pipeline import code_version

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "numpy", "pandas", "snakemake")


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Commit of the code, with "-dirty" if tracked files differ from it; None outside a checkout."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        description = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return description.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that decide results."""
    own = {"python": platform.python_version(), "collm": __version__}
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    return own | {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, plus CUDA's peak, in MB (10^6 bytes)."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return round((host + device) / 1e6, 1)


def threads_of_attempts(earlier: Sequence[int]) -> list[int]:
    """Numbers of torch's threads that the attempts at a run used, this one's last; warns on stderr if it is new.

    Not part of the fingerprint: a run may go on on another machine, but then its sums may round differently.
    """
    now = torch.get_num_threads()
    if earlier and earlier[-1] != now:
        word = "thread" if earlier[-1] == 1 else "threads"
        print(
            f"this run was begun with {earlier[-1]} {word} of torch and goes on with {now}: sums may round "
            f"differently, so that it need not end bit-identical to an unbroken one (--threads {earlier[-1]} would)",
            file=sys.stderr,
            flush=True,
        )
    return [*earlier, *([] if earlier and earlier[-1] == now else [now])]


def versions_of_attempts(state: Mapping[str, Any] | None, now: Mapping[str, str | None]) -> list[dict[str, str | None]]:
    """Digest and commit of the code of all attempts at a run, this one's last; more than one only under --reuse.

    Args:
        state: of the checkpoint that this attempt goes on from, None at the beginning.
    """
    if state is None:
        return [dict(now)]
    earlier = state.get("versions") or [{"digest": code_version.UNKNOWN, "commit": None}]
    return [*earlier, *([] if earlier[-1]["digest"] == now["digest"] else [dict(now)])]


class RunRecord:
    """Collects the facts of one stage; `finish` gives the dictionary for run.json."""

    def __init__(self, stage: str, job: Job, seed: int, device: torch.device, code: Mapping[str, str]):
        """Note the time, the code and the machine.

        Args:
            stage: train, warm_start or evaluate.
            code: digests of the modules that decide the result (`collm.pipeline.code_version`).
        """
        self.label = f"{job.domain}/{job.method} seed {seed}"
        self._start = time.time()
        self.version: dict[str, str | None] = {"digest": code_version.digest(code), "commit": git_commit()}
        self.device = str(device)
        self._facts: dict[str, Any] = {
            "stage": stage,
            "domain": job.domain,
            "method": job.method,
            "seed": seed,
            "config": job.raw,
            "git_commit": self.version["commit"],
            "code": {"digest": self.version["digest"], "modules": dict(code)},
            "versions": versions(),
            "device": self.device,
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "threads": torch.get_num_threads(),
            "precision": job.team.precision,
            "platform": platform.platform(),
            "started": _now(),
        }

    def finish(self, earlier_seconds: float = 0.0, **more: Any) -> dict[str, Any]:
        """All facts; `earlier_seconds` were spent by interrupted attempts at the same run."""
        seconds = round(time.time() - self._start + earlier_seconds, 2)
        return {**self._facts, "finished": _now(), "wall_seconds": seconds, "peak_memory_mb": peak_memory_mb(), **more}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
