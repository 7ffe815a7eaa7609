"""Progress in a log: plain lines with the time left and the speed; on a terminal: a bar."""

from __future__ import annotations

import io

import pytest

from collm.common import progress
from collm.common.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_plain_lines(clock):
    stream = io.StringIO()
    work = Progress(10, "tldr/magrpo seed 0", stream, seconds_between_lines=10.0)
    clock.now += 4
    work.advance(tokens=100, note="reward 0.5")
    assert stream.getvalue() == ""  # too soon
    clock.now += 16
    work.advance(units=3, tokens=300, note="reward 1.5")
    assert stream.getvalue() == "tldr/magrpo seed 0 4/10  20s  ETA 30s  20 tok/s  reward 1.5\n"
    clock.now += 5
    work.advance()
    clock.now += 15
    work.advance(units=5)
    work.close()
    assert stream.getvalue().splitlines()[1:] == ["tldr/magrpo seed 0 10/10  40s  ETA 0s  10 tok/s"]


def test_what_was_done_before_does_not_count_for_the_time_left(clock):
    stream = io.StringIO()
    work = Progress(10, "x", stream)
    work.skip(6)
    clock.now += 10
    work.advance(units=2)
    assert stream.getvalue() == "x 8/10  10s  ETA 10s\n"


def test_no_line_without_work_and_no_division_by_zero(clock):
    stream = io.StringIO()
    work = Progress(1, "x", stream)
    work.advance(tokens=5)
    assert stream.getvalue().startswith("x 1/1  0s  ETA 0s")


def test_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    work = Progress(4, "bar", stream)
    work.skip(1)
    work.advance(units=3, tokens=50, note="loss 0.1")
    work.close()
    written = stream.getvalue()
    assert "bar: 100%" in written and "4/4" in written and "tok/s loss 0.1" in written
