"""What the parts share: results that are on the disk after every line, a time limit, the card, clocks."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "peft", "accelerate")


class Report:
    """Results as JSON; a reader sees the old file or the new one, never a part."""

    def __init__(self, path: Path):
        """What other parts have written there stays."""
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def add(self, part: str, line: dict[str, Any]) -> None:
        """Print a line and keep it."""
        self.content.setdefault(part, {"lines": []})["lines"].append(line)
        print("  " + ", ".join(f"{key} {_short(value)}" for key, value in line.items()), flush=True)
        self.write()

    def note(self, part: str, **facts: Any) -> None:
        """Keep facts about a part."""
        self.content.setdefault(part, {"lines": []}).update(facts)
        self.write()

    def write(self) -> None:
        """The whole file again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.path)


class Deadline:
    """The time that a part may take."""

    def __init__(self, seconds: float):
        self.seconds, self._end = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def share(self, share: float) -> Deadline:
        """A part of what is left."""
        return Deadline(max(0.0, share * self.left))


@dataclass
class Context:
    """One part's run."""

    part: str
    device_name: str
    smoke: bool
    work: Path
    report: Report
    deadline: Deadline
    model: Path | None
    peers: tuple[Path, ...]
    data: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cuda", 0) if self.device_name == "cuda" else torch.device("cpu")

    def begin(self) -> None:
        """Note the card and the versions; without the device that was asked for nothing is measured.

        Raises:
            SystemExit: there is no CUDA device.
        """
        if self.device_name == "cuda" and not torch.cuda.is_available():
            raise SystemExit(
                "error: no CUDA device found; mend the driver, or check the script with --device cpu --smoke"
            )
        self.work.mkdir(parents=True, exist_ok=True)
        self.report.content["machine"] = facts(self.device)
        self.report.note(self.part, limit_seconds=round(self.deadline.seconds, 1), smoke=self.smoke, finished=False)

    def end(self) -> None:
        """Note that nothing is missing."""
        taken = self.deadline.seconds - self.deadline.left
        self.report.note(self.part, finished=True, seconds=round(taken, 1))

    def add(self, **line: Any) -> None:
        """A result."""
        self.report.add(self.part, line)

    def skip(self, what: str, why: str) -> None:
        """Something that cannot be measured here."""
        self.report.add(self.part, {"skipped": what, "why": why})

    def sync(self) -> None:
        """Wait for the device."""
        if self.device_name == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Seconds that some work takes on the device."""
        self.sync()
        started = time.perf_counter()
        work()
        self.sync()
        return time.perf_counter() - started

    def fresh_peak(self) -> None:
        """Count the peak of the device's memory from here."""
        gc.collect()  # teams of earlier cases
        if self.device_name == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gb(self) -> float | None:
        """Peak of the device's memory since then; None on a CPU."""
        return round(torch.cuda.max_memory_allocated() / 1e9, 3) if self.device_name == "cuda" else None


def facts(device: torch.device) -> dict[str, Any]:
    """The machine that numbers belong to."""
    own: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    own |= {name: importlib.metadata.version(name) for name in PACKAGES}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        own |= {"card": card.name, "memory_gb": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda}
        own["capability"] = f"{card.major}.{card.minor}"
    return own


def unpacked(context: Context) -> Path:
    """A folder with what is in all wheels of the --peers folders; a wheel is an archive of packages."""
    out = context.work / "packages"
    out.mkdir(parents=True, exist_ok=True)
    for folder in context.peers:
        for wheel in sorted(folder.glob("*.whl")):
            if not (out / f"{wheel.stem}.done").exists():
                zipfile.ZipFile(wheel).extractall(out)
                (out / f"{wheel.stem}.done").touch()
    return out


def matmul_rate(context: Context, dtype: torch.dtype) -> float:
    """Most operations per second of square products in `dtype`, best of some sizes and repetitions."""
    best = 0.0
    for size in (256,) if context.smoke else (4096, 8192):
        left, right = (torch.randn(size, size, device=context.device).to(dtype) for _ in range(2))
        for _ in range(2 if context.smoke else 12):
            best = max(best, 2 * size**3 / context.seconds(lambda a=left, b=right: torch.mm(a, b)))
    return best


def copy_rate(context: Context) -> float:
    """Bytes per second that are read and written by a copy of much memory, best of some repetitions."""
    source = torch.ones(1 << (20 if context.smoke else 30), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    return max(2 * source.numel() / context.seconds(lambda: target.copy_(source)) for _ in range(8))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
