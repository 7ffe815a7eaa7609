"""Progress of long work: a bar on a terminal, plain lines in a log, with time left and tokens per second."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm


def duration(seconds: float) -> str:
    """Seconds as people say them: 48 s, 14 min, 2.3 hours."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} hours"


class Progress:
    """Counts units of work; call `advance` after each and `close` at the end."""

    def __init__(self, total: int, label: str, stream: TextIO | None = None, seconds_between_lines: float = 10.0):
        self.total, self.label = total, label
        self._stream = stream or sys.stderr
        self._between = seconds_between_lines
        self._start = self._printed = time.monotonic()
        self._done = self._skipped = self._tokens = 0
        self._bar = tqdm(total=total, desc=label, file=self._stream, leave=True) if self._stream.isatty() else None

    def skip(self, units: int) -> None:
        """Units that an earlier, interrupted run has done: they do not count for the time left."""
        self._done += units
        self._skipped += units
        if self._bar is not None:
            self._bar.update(units)

    def expect(self, total: int) -> None:
        """Another total than was thought before."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def advance(self, units: int = 1, tokens: int = 0, note: str = "") -> None:
        """Report `units` more done, with the tokens worked on and a short note (the latest loss or reward)."""
        self._done += units
        self._tokens += tokens
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._rate(now)} {note}".strip(), refresh=False)
            self._bar.update(units)
        elif now - self._printed >= self._between or self._done >= self.total:
            self._printed = now
            self._line(now, note)

    def close(self) -> None:
        """End the display."""
        if self._bar is not None:
            self._bar.close()

    def _rate(self, now: float) -> str:
        return f"{self._tokens / max(now - self._start, 1e-9):.0f} tok/s" if self._tokens else ""

    def _line(self, now: float, note: str) -> None:
        elapsed = now - self._start
        left = elapsed / max(self._done - self._skipped, 1) * max(self.total - self._done, 0)
        parts = [
            f"{self.label} {self._done}/{self.total}",
            f"{elapsed:.0f}s",
            f"ETA {left:.0f}s",
            self._rate(now),
            note,
        ]
        print("  ".join(part for part in parts if part), file=self._stream, flush=True)
