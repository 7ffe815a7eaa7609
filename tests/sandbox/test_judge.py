"""Time limits on a busy machine, with a clock and processes that are stood in for."""

from __future__ import annotations

import pytest

from collm.sandbox.guest import judge as judging
from collm.sandbox.guest.frames import Late
from collm.sandbox.guest.judge import STRETCH, Judge


class Machine:
    """A clock that only waiting moves; children are without a processor for `share` of the time."""

    def __init__(self, share: float) -> None:
        self.share, self.now = share, 100.0

    def monotonic(self) -> float:
        return self.now

    def waited(self) -> float:
        return self.share * self.now

    def receive(self, deadline: float):
        """A channel on which nothing ever comes."""
        self.now = max(self.now, deadline)
        raise Late


def seconds_until_late(monkeypatch, share: float, limit: float, end: float) -> float:
    machine = Machine(share)
    monkeypatch.setattr(judging, "time", machine)
    judge = Judge(machine, {})
    judge.end = machine.now + end
    judge.set_clock(limit)
    with pytest.raises(Late):
        judge.receive(machine)
    return machine.now - judge.begun


CASES = [(0.0, 8.0), (0.5, 16.0), (0.75, 32.0), (1.0, 8.0 * STRETCH)]


@pytest.mark.parametrize(("share", "seconds"), CASES)
def test_time_without_a_processor_is_not_counted(monkeypatch, share, seconds):
    assert seconds_until_late(monkeypatch, share, 8.0, 1000.0) == pytest.approx(seconds, abs=0.1)


def test_the_end_of_a_program_is_not_put_off(monkeypatch):
    assert seconds_until_late(monkeypatch, 1.0, 8.0, 20.0) == pytest.approx(20.0)
