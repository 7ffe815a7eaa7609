"""Which processes exist below one, for tests that look for leftovers."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(top: int) -> dict[int, str]:
    """pid -> state letter of everything below a process, zombies included."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = (int(fields[1]), fields[0])
    found: dict[int, str] = {}
    level = {top}
    while level:
        level = {pid for pid, (parent, _) in parents.items() if parent in level}
        found.update({pid: parents[pid][1] for pid in level})
    return found


def below_workers(sandbox) -> dict[int, str]:
    """Everything below a running sandbox's supervisors."""
    found: dict[int, str] = {}
    for worker in sandbox.workers:
        found.update(descendants(worker.process.pid))
    return found


def alive(pid: int) -> bool:
    """Whether a process (a zombie too) is there."""
    return os.path.exists(f"/proc/{pid}")
