"""Stage scripts as jobs: one process each, several at once, each when what it needs is there.

Processes are forked from one that has imported torch and the package already: a run of a minute does not pay ten
seconds of imports, and no run sees what another one left in memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import source_path

PRELOADED = ["torch", "transformers", "peft", "accelerate", "collm.training.trainer", "collm.training.warm_start"]


@dataclass(frozen=True)
class StageJob:
    """One call of a stage script in a folder of its own layout; two that make the same file are one.

    Attributes:
        script: module below src/, e.g. "train".
        folder: where it runs; `data`, `resources`, `results` and `checkpoints` lie there.
        arguments: of its command line.
        done: the file that is there when it has finished, written last by the script.
        links: (link, target) pairs that are made before it runs, for folders that jobs share.
        needs: jobs that come first.
    """

    label: str = field(compare=False)
    script: str = field(compare=False)
    folder: Path = field(compare=False)
    arguments: tuple[str, ...] = field(compare=False)
    done: Path
    log: Path = field(compare=False)
    links: tuple[tuple[Path, Path], ...] = field(default=(), compare=False)
    needs: tuple[StageJob, ...] = field(default=(), compare=False, repr=False)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done.is_file()


def everything(jobs: Sequence[StageJob]) -> list[StageJob]:
    """Jobs with all that they need, each once, what is needed first."""
    ordered: dict[StageJob, None] = {}

    def add(job: StageJob) -> None:
        for needed in job.needs:
            add(needed)
        ordered.setdefault(job)

    for job in jobs:
        add(job)
    return list(ordered)


def run_all(jobs: Sequence[StageJob], at_once: int) -> list[StageJob]:
    """Run what is not finished, at most `at_once` processes at a time; returns what failed, or waited for what failed.

    Ctrl-C and SIGTERM reach the runs, which save a checkpoint; the same call goes on from there.
    """
    source_path.for_children()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting = [job for job in everything(jobs) if not job.finished]
    total, running, failed = len(waiting), {}, []
    started: dict[StageJob, float] = {}
    with _stopped_together(running):
        while waiting or running:
            for job in list(waiting):  # what is needed stands first, so that one pass finds all
                if any(needed in failed for needed in job.needs):
                    waiting.remove(job)
                    failed.append(job)
            for job in [job for job in waiting if all(needed.finished for needed in job.needs)]:
                if len(running) < at_once:
                    waiting.remove(job)
                    running[job], started[job] = _start(context, job), time.monotonic()
            for job in _ended(running):
                status = running.pop(job).exitcode
                if status or not job.finished:
                    failed.append(job)
                place = f"[{total - len(waiting) - len(running)}/{total}]"
                words = f"failed with status {status}, see {job.log}" if job in failed else "done"
                print(f"{place} {job.label}: {words}, {time.monotonic() - started[job]:.0f} s", flush=True)
    return failed


def _start(context: multiprocessing.context.ForkServerContext, job: StageJob) -> ForkServerProcess:
    job.folder.mkdir(parents=True, exist_ok=True)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    for link, target in job.links:
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(target, link.parent))
    process = context.Process(target=_call, args=(job.script, str(job.folder), list(job.arguments), str(job.log)))
    process.start()
    return process


def _call(script: str, folder: str, arguments: list[str], log: str) -> None:
    """In the child: the script's `main` in its folder, output to the log."""
    from collm.common import cli

    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.chdir(folder)
    sys.exit(cli.run(importlib.import_module(script).main, arguments))


def _ended(running: dict[StageJob, ForkServerProcess]) -> list[StageJob]:
    """Wait until a process has ended."""
    ready = connection.wait([process.sentinel for process in running.values()]) if running else []
    ended = [job for job, process in running.items() if process.sentinel in ready]
    for job in ended:
        running[job].join()
    return ended


@contextmanager
def _stopped_together(running: dict[StageJob, ForkServerProcess]) -> Iterator[None]:
    """A block that, left early, ends all processes by SIGTERM and waits until they have saved."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
