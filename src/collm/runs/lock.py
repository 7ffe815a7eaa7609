"""One trainer per checkpoint folder: a lock that dies with its process, and a file that says who holds it.

On one host the operating system's lock decides: it is free the moment its process ends, however it ends. Between hosts
that share a disk such a lock may not be seen (NFS without a lock service), so the holder also renews the time of the
file every `HEARTBEAT` seconds, and another host takes a lock over only after `SILENCE` seconds without a renewal.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from collm.common.errors import CheckpointError

HEARTBEAT = 30.0  # seconds between two signs of life
SILENCE = 300.0  # seconds without one after which another host may take over
SETTLE = 1.0  # seconds to wait for a rival where the file system has no locks
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # a file system that has none
_held: dict[tuple[int, str], dict[str, Any]] = {}  # (process, path): its lock does not part two holders in one process


class FolderLock:
    """The right to write one checkpoint folder. The file stands beside the folder, which may be renamed or removed."""

    def __init__(self, folder: Path):
        """Take the lock.

        Raises:
            CheckpointError: another process has it; says which one and since when.
        """
        self.folder = folder
        self.path = folder.with_name(f".{folder.name}.lock")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._key = (os.getpid(), str(self.path.resolve()))
        self._me = _this_process()
        self._stream: int | None = None
        self._ended = threading.Event()
        if self._key in _held:
            raise CheckpointError(_refusal(folder, _held[self._key], ""))
        self._stream = self._take()
        _held[self._key] = self._me
        threading.Thread(target=self._beat, args=(self._stream,), name="lock", daemon=True).start()

    def confirm(self) -> None:
        """Make sure that the lock is still this process's: it may have slept longer than other hosts wait.

        Raises:
            CheckpointError: another process has taken it over.
        """
        if self._stream is not None and not _same(self.path, self._stream):
            raise CheckpointError(
                f"{self.folder} was removed, or taken over by another process while this one gave no sign of life for "
                f"{SILENCE:.0f} seconds; nothing more is written there. Run the same command again when it is free"
            )

    def release(self) -> None:
        """Give the lock back; does nothing the second time, and in a fork of the process that took it."""
        stream, self._stream = self._stream, None
        if stream is None or self._key[0] != os.getpid():
            return
        self._ended.set()
        _held.pop(self._key, None)
        if _same(self.path, stream):
            self.path.unlink()
        os.close(stream)

    def _take(self) -> int:
        while True:
            stream = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                system = _lock(stream)
                holder = _read(stream)
                if not _same(self.path, stream):  # given back, or taken over, while we waited
                    os.close(stream)
                    continue
                if system is False or self._alive(holder, stream, system):
                    raise CheckpointError(_refusal(self.folder, holder, self._waiting(holder, stream)))
                if holder and holder.get("boot") != self._me["boot"]:  # its process may wake up: leave it its own file
                    self.path.unlink()
                    os.close(stream)
                    continue
                os.ftruncate(stream, 0)
                os.pwrite(stream, json.dumps(self._me).encode(), 0)
                os.fsync(stream)
                if system is None:  # nothing parts two that write at once: the last one has it
                    time.sleep(SETTLE)
                    if (holder := _read(stream)) != self._me:
                        raise CheckpointError(_refusal(self.folder, holder, ""))
                return stream
            except BaseException:
                with contextlib.suppress(OSError):
                    os.close(stream)
                raise

    def _alive(self, holder: dict[str, Any] | None, stream: int, system: bool | None) -> bool:
        """Whether a holder that the system's lock does not show is alive all the same.

        Args:
            system: True if the system gave us its lock, None if it has none.
        """
        if holder is None:
            return False
        if holder["boot"] == self._me["boot"]:
            return system is None and _started(holder["pid"]) == holder["process_start"] is not None
        return self._silence(stream) < SILENCE

    def _silence(self, stream: int) -> float:
        """Seconds since the holder's last sign of life, by the clock of the file system alone."""
        probe = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        probe.touch()
        try:
            return probe.stat().st_mtime - os.fstat(stream).st_mtime
        finally:
            probe.unlink()

    def _waiting(self, holder: dict[str, Any] | None, stream: int) -> str:
        """What to know about a holder on another host."""
        if holder is None or holder["boot"] == self._me["boot"]:
            return ""
        silence = self._silence(stream)
        return (
            f"; its last sign of life was {max(0.0, silence):.0f} seconds ago: if it is dead, the folder is free "
            f"{max(0.0, SILENCE - silence):.0f} seconds from now"
        )

    def _beat(self, stream: int) -> None:
        while not self._ended.wait(HEARTBEAT):
            try:
                if not _same(self.path, stream):
                    return
                os.utime(self.path)
            except OSError as error:  # `confirm` stands before every write
                print(f"{self.path}: no sign of life could be given ({error.strerror})", file=sys.stderr, flush=True)


def _lock(stream: int) -> bool | None:
    """True: locked; False: another process has it; None: this file system has no locks."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in NO_LOCKS:
            return None
        raise


def _read(stream: int) -> dict[str, Any] | None:
    """Who the file names; None if it names nobody."""
    try:
        return dict(json.loads(os.pread(stream, 1 << 16, 0)))
    except ValueError:
        return None


def _same(path: Path, stream: int) -> bool:
    """Whether `path` is still the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "process_start": _started(os.getpid()),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.orig_argv),
    }


def _boot() -> str:
    """What tells this run of this host's system from all others; the host's name where there is no such thing."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.is_file() else socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process of this host began, in the system's own count; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return None


def _refusal(folder: Path, holder: dict[str, Any] | None, more: str) -> str:
    who = "another process" if holder is None else f"process {holder['pid']} on {holder['host']} ({holder['command']})"
    since = "" if holder is None else f" since {holder['since']}"
    return (
        f"{folder} is being written by {who}{since}{more}. Two trainers in one folder would spoil each other's "
        "numbers: wait for it or stop it, then run the same command again"
    )
