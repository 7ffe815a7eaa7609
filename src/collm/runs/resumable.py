"""A run that may end at any moment and goes on from there: warm start and training alike.

Whether it is stopped by a signal, fails or is killed: the same command again ends with the bytes of an unbroken run.
Of several processes the main one alone writes.
"""

from __future__ import annotations

import contextlib
import io
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from collm.common.errors import DeviceFailed
from collm.common.files import atomic_folder, write_atomic, write_json
from collm.common.progress import Progress
from collm.runs.checkpoint import Checkpoints
from collm.runs.distributed import Processes
from collm.runs.folders import RunFolders
from collm.runs.journal import Journal
from collm.runs.lock import FolderLock
from collm.runs.record import RunRecord, threads_of_attempts, versions_of_attempts
from collm.runs.signals import Signals, Stopping


class Work(Protocol):
    """What a stage does: it moves from one whole state to the next, and any of them can be put into a checkpoint."""

    @property
    def position(self) -> int:
        """How far the work has come, in rollouts or steps; it numbers the checkpoint and counts as progress."""

    def state(self) -> dict[str, Any]:
        """All that the work needs to go on from here."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""


class ResumableRun:
    """Checkpoints, metrics.jsonl, stopping, progress and outputs of one run.

    `begin` takes the work up where the newest checkpoint left it; within `stopping`, whatever changes the work is done
    in blocks of `changing`; at the end comes `save(finished=True)`, then `write_outputs`.
    """

    def __init__(
        self,
        record: RunRecord,
        folders: RunFolders,
        fingerprint: Mapping[str, Any],
        keep: int,
        processes: Processes,
        reuse: bool = False,
        device_named: bool = True,
    ):
        """Take the folder of checkpoints for this run alone, and look for one.

        Args:
            fingerprint: everything that the run's numbers depend on.
            keep: number of checkpoints that stay.
            reuse: go on with, or export, what other code made.
            device_named: whether the user chose the device (`Checkpoints`).
        Raises:
            CheckpointError: another trainer writes there, or an unfinished run with another fingerprint left
            checkpoints.
        """
        self.record, self.folders, self.processes = record, folders, processes
        notes = {"device": record.device, "commit": record.version["commit"]}
        self.checkpoints = Checkpoints(folders.checkpoints, fingerprint, keep, processes, reuse, notes, device_named)
        self._lock: FolderLock | None = None  # the main process holds it for all
        processes.from_main(self._take_lock)
        try:
            self._state = self.checkpoints.latest()
        except BaseException:
            self._give_lock_back()
            raise
        self.resumes = self._state is not None  # an earlier attempt left a checkpoint
        self.threads: list[int] = []
        self.versions: list[dict[str, str | None]] = []
        self._whole = True  # no change is half done
        self._saved = -1  # position of the newest checkpoint
        self.listener: Callable[[Mapping[str, Any]], None] | None = None  # hears every line of metrics.jsonl
        self.signals: Signals | None = None  # of the process, where its runs take turns

    def begin(self, work: Work) -> None:
        """Bring `work` to where the newest checkpoint left it, and the journal to its length at that time.

        Raises:
            CheckpointError: metrics.jsonl is shorter than it was.
        """
        state, self._state, self._work = self._state, None, work
        if state is not None:
            work.restore(state)
            self._saved = work.position
        self.versions = versions_of_attempts(state, self.record.version)
        self.threads = threads_of_attempts(state.get("threads", []) if state else [])
        length = state["journal"] if state else 0
        path = self.folders.checkpoints / "metrics.jsonl"
        self.journal = self.processes.from_main(lambda: Journal(path, length))

    def progress(self, total: int) -> Progress:
        """A display of the work's position, which is `total` at the end; what earlier attempts did is skipped."""
        progress = Progress(total, self.record.label, None if self.processes.main else io.StringIO())
        progress.skip(self._work.position)
        return progress

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        if self.processes.main:
            self.journal.write(row)
            if self.listener is not None:
                self.listener(row)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[Stopping]:
        """A block in which signals stop the run at a safe point.

        If it is left early, by a signal or an error, the newest whole state is kept, unless it is kept already or the
        work is half changed. No process waits for another then.
        """
        with Stopping(self.processes, self.signals) as stopping:
            try:
                yield stopping
            except DeviceFailed:  # what is on the device cannot be read any more
                self._give_lock_back()
                raise
            except BaseException:
                try:
                    if self.processes.main and self._whole and self._saved != self._work.position:
                        self._save()
                finally:
                    self._give_lock_back()
                raise

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """A block that changes the work and logs the change. If it fails, the work is in no state to be saved."""
        self._whole = False
        yield
        self._whole = True

    def save(self, finished: bool = False) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: the disk takes no more; the checkpoints from before are intact.
        """
        self.processes.from_main(lambda: self._save(finished))

    def write_outputs(self, save_adapters: Callable[[Path], None], earlier_seconds: float = 0.0, **facts: Any) -> None:
        """Write adapters, metrics.jsonl and run.json, each whole or not at all, run.json last.

        Args:
            save_adapters: writes the trained members into a folder.
            earlier_seconds: spent by interrupted attempts at this run.
            facts: more for run.json.
        """
        self.processes.from_main(lambda: self._write_outputs(save_adapters, earlier_seconds, facts))
        self._give_lock_back()

    def _take_lock(self) -> None:
        self._lock = FolderLock(self.folders.checkpoints)
        weakref.finalize(self, self._lock.release)

    def _give_lock_back(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _confirm_lock(self) -> None:
        if self._lock is not None:
            self._lock.confirm()

    def _save(self, finished: bool = False) -> None:
        state = self._work.state()
        state |= {"journal": self.journal.length(), "threads": self.threads, "versions": self.versions}
        self._confirm_lock()
        self.checkpoints.save(self._work.position, state, finished)
        self._saved = self._work.position

    def _write_outputs(
        self, save_adapters: Callable[[Path], None], earlier_seconds: float, facts: Mapping[str, Any]
    ) -> None:
        self._confirm_lock()
        with atomic_folder(self.folders.adapters) as folder:
            save_adapters(folder)
        write_atomic(self.folders.out / "metrics.jsonl", self.journal.path.read_bytes())
        attempts = {"threads_of_attempts": self.threads, "code_of_attempts": self.versions}
        run = self.record.finish(earlier_seconds, **facts, **attempts)
        write_json(self.folders.out / "run.json", run)
