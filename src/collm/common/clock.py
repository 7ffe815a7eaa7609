"""Seconds of work of a thread: runs that take turns in one process do not count the turns of the others as theirs."""

from __future__ import annotations

import threading
import time

_own = threading.local()


def waited() -> float:
    """Seconds in which this thread has waited for the turns of others; 0 of a run that is alone."""
    seconds: float = getattr(_own, "waited", 0.0)
    return seconds


def wait(seconds: float) -> None:
    """Note that this thread has waited so long."""
    _own.waited = waited() + seconds


def now() -> float:
    """Seconds on a clock that stands still while this thread waits; differences alone mean something."""
    return time.perf_counter() - waited()
