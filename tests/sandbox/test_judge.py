"""Time limits on a busy machine, with processes that are stood in for."""

from __future__ import annotations

import time

import pytest

from collm.sandbox.guest.frames import Late
from collm.sandbox.guest.judge import STRETCH, Judge


class Busy:
    """Children that have waited for a processor for `share` of all time since the start."""

    def __init__(self, share: float) -> None:
        self.share, self.start = share, time.monotonic()

    def waited(self) -> float:
        return self.share * (time.monotonic() - self.start)


class Silent:
    """A channel on which nothing ever comes."""

    def receive(self, deadline):
        time.sleep(max(0.0, deadline - time.monotonic()))
        raise Late


CASES = [(0.0, 1, 1.8), (0.5, 1.8, 3), (1.0, STRETCH * 0.9, STRETCH * 1.4)]


@pytest.mark.parametrize(("share", "least", "most"), CASES)
def test_time_without_a_processor_is_not_counted(share, least, most):
    judge, limit = Judge(Busy(share), {}), 0.2
    judge.end = time.monotonic() + 60
    judge.set_clock(limit)
    with pytest.raises(Late):
        judge.receive(Silent())
    assert least * limit <= time.monotonic() - judge.begun <= most * limit + 0.5


def test_the_end_of_a_program_is_not_put_off():
    judge = Judge(Busy(1.0), {})
    judge.end = time.monotonic() + 0.3
    judge.set_clock(0.2)
    with pytest.raises(Late):
        judge.receive(Silent())
    assert judge.deadline == judge.end
