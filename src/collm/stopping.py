"""SIGTERM and Ctrl-C: the work in hand ends at a safe point, is saved, and the process ends with its usual status."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType

from collm.errors import Interrupted


class Stopping:
    """Turns signals into Interrupted: at once inside `interruptible`, elsewhere at the next `check`."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._at_once = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopping:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._received = self._received is not None, number
        if self._at_once or again:
            self._at_once = False
            raise Interrupted(number)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self._received is not None:
            raise Interrupted(self._received)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that changes nothing that is saved, and may be left at any point."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False
