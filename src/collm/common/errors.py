"""Errors meant for the person at the keyboard: each says the value, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def suggestion(name: Any, allowed: Iterable[str]) -> str:
    """ "did you mean 'x'?" with the allowed word closest to `name`; "" if none is close."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


class CollmError(Exception):
    """Base of every user-facing error; stage scripts print it on one line and exit with status 2."""


class ConfigError(CollmError):
    """A key or value in the configuration is unknown, ill-typed or contradicts another."""


class ContractError(CollmError):
    """A class of a domain, or what it returned, is not what every domain owes; names class and field."""


class DataError(CollmError):
    """A data set is missing, empty, overlapping or differs from the recorded revision."""


class RowError(DataError, ValueError):
    """One row of a data set (or one case to score) is malformed; names where it stands and the field."""


class UnusableRow(RowError):
    """A well-formed row that its domain declares unfit (too short, say): dropped and listed, not refused."""


class ModelError(CollmError):
    """A model is not there or cannot be used; says how to get it."""


class CheckpointError(CollmError):
    """A checkpoint cannot be written or resumed; says what differs or what is damaged."""


class NonFiniteLoss(CollmError):
    """A loss or gradient is NaN or infinite; names the file that holds the sample which caused it."""


class NonFiniteReward(CollmError):
    """A domain returned a reward, part or metric that is NaN or infinite; names the file of the texts."""


class OutOfMemory(CollmError):
    """A device could allocate no more in the middle of a run; names the settings that need less."""


class DeviceFailed(CollmError):
    """A device answers no more in the middle of a run, or has no algorithm of the kind asked for; says what to do."""


class OtherProcessFailed(CollmError):
    """One of the processes that train together has failed, so that this one cannot go on."""


class Interrupted(Exception):
    """A signal asked to stop and everything is saved; `status` is the exit status that the signal stands for."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}; saved, run the same command again to go on")
        self.status = 128 + signal_number
