"""Signals: at once where nothing can be lost, at the next safe point elsewhere, at once when asked again."""

from __future__ import annotations

import os
import signal

import pytest

from collm.common.errors import Interrupted
from collm.runs.signals import Stopping


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_waits_for_a_safe_point(number, status):
    done = []
    with pytest.raises(Interrupted) as stopped, Stopping() as stopping:
        stopping.check()
        send(number)
        done.append("the work in hand")
        stopping.check()
        done.append("never")
    assert done == ["the work in hand"]
    assert stopped.value.status == status


def test_at_once_where_nothing_can_be_lost():
    done = []
    with pytest.raises(Interrupted), Stopping() as stopping, stopping.interruptible():
        send(signal.SIGTERM)
        done.append("never")
    assert done == []


def test_a_signal_from_before_stops_at_the_door():
    with pytest.raises(Interrupted), Stopping() as stopping:
        send(signal.SIGTERM)
        with stopping.interruptible():
            pytest.fail("entered")


def test_the_second_signal_does_not_wait():
    done = []
    with pytest.raises(Interrupted), Stopping():
        send(signal.SIGTERM)
        done.append("still here")
        send(signal.SIGTERM)
        done.append("never")
    assert done == ["still here"]


def test_saving_on_the_way_out_is_not_disturbed_by_the_same_signal():
    done = []
    with pytest.raises(Interrupted), Stopping() as stopping:
        try:
            with stopping.interruptible():
                send(signal.SIGINT)
        except Interrupted:
            done.append("saved")
            raise
    assert done == ["saved"]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Stopping():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
