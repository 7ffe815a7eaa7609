"""One sandbox per process: started once, said on stderr, closed at exit, forgotten by forked children.

Starting workers takes about a second, so whatever scores programs in a process shares them.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Sequence

from collm.common.errors import ConfigError
from collm.sandbox.pool import Sandbox
from collm.sandbox.records import Program, Verdict

POLICIES = ("refuse", "allow_weak")
MOST_WORKERS = 2

_lock = threading.Lock()
_running: Sandbox | None = None


def start(policy: str = "refuse") -> Sandbox:
    """The sandbox of this process; it is started (and its layers printed) if it is not running yet.

    Args:
        policy: `refuse` to run programs where files, network or other processes are not isolated, or `allow_weak`.
    Raises:
        ConfigError: unknown policy. SandboxError: isolation is missing, or the walls do not stand.
    """
    global _running
    check_policy(policy)
    with _lock:
        if _running is None or not _running.workers:
            sandbox = Sandbox(allow_weak=policy == "allow_weak", workers=min(MOST_WORKERS, os.cpu_count() or 1))
            _running = sandbox.__enter__()
            print(_running.layers.line(), file=sys.stderr, flush=True)
        return _running


def check_policy(policy: str) -> None:
    """ConfigError unless `policy` is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ConfigError(f"sandbox: {policy!r} is unknown; allowed are {', '.join(POLICIES)}")


def run(programs: Sequence[Program]) -> list[Verdict]:
    """Verdicts of programs from the running sandbox; one with policy `refuse` is started if there is none."""
    if not programs:
        return []
    sandbox = _running if _running is not None and _running.workers else start()
    return sandbox.run(programs)


def stop() -> None:
    """End the sandbox of this process, if one runs, with all that belongs to it."""
    global _running
    with _lock:
        sandbox, _running = _running, None
    if sandbox is not None:
        sandbox.close()


def _forget() -> None:
    """In a forked child: the parent's workers are not ours. Our copies of its sockets would keep them alive."""
    global _running, _lock
    sandbox, _running, _lock = _running, None, threading.Lock()
    for worker in sandbox.workers if sandbox is not None else ():
        worker.channel.close()
        worker.process.returncode = 0  # not our child: never waited for


atexit.register(stop)
os.register_at_fork(after_in_child=_forget)
