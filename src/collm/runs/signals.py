"""SIGTERM and Ctrl-C: the work in hand ends at a safe point, is saved, and the process ends with its usual status."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType

from collm.common.errors import Interrupted, OtherProcessFailed
from collm.runs.distributed import Processes

FAILED = 1 << 10  # sent in place of a signal's number by a process that ends with an error


class Signals:
    """SIGTERM and Ctrl-C of a process whose runs take turns, for the `Stopping` of each.

    A signal is Interrupted within `at_once`, and elsewhere known to every run at its next `check`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._at_once = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self._at_once:
            self._at_once = False
            raise Interrupted(number)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block of the main thread that may be left at any point.

        Raises:
            Interrupted: a signal has come, now or before.
        """
        try:
            self._at_once = True
            if self.received is not None:
                raise Interrupted(self.received)
            yield
        finally:
            self._at_once = False


class Stopping:
    """Turns signals into Interrupted: at once inside `interruptible`, elsewhere at the next `check`.

    Several processes stop together: all meet at every `check` and at the end of every `interruptible` block, and a
    signal to one of them stops all. A second signal then changes nothing: a launcher repeats what a terminal sends.
    """

    def __init__(self, processes: Processes | None = None, signals: Signals | None = None) -> None:
        """`signals`: of a process whose runs take turns; None: this run listens itself."""
        self._processes, self._signals = processes or Processes(), signals
        self._received: int | None = None
        self._at_once = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopping:
        for number in () if self._signals else (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self._received is not None and self._processes.count == 1
        self._received = number
        if self._at_once or again:
            self._at_once = False
            raise Interrupted(number)

    def check(self) -> None:
        """Raise Interrupted if a signal has come to this process or to another one.

        Raises:
            OtherProcessFailed: another process ends with an error.
        """
        received = self._signals.received if self._signals else self._received
        number = self._processes.largest(received or 0)
        if number == FAILED:
            raise OtherProcessFailed("another process of this run failed; its own message says why")
        if number:
            raise Interrupted(number)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that changes nothing that is saved, and may be left at any point; sends nothing to others."""
        self.check()
        try:
            self._at_once = True
            yield
            self._at_once = False
        except Interrupted:
            pass  # raised again by `check`, in all processes
        except BaseException:
            self._at_once = False
            self._processes.largest(FAILED)
            raise
        self.check()
