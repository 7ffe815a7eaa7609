"""`collm train`: the stage of the same name, after data, models and warm start have been made if they are not there."""

from __future__ import annotations

from collections.abc import Sequence

from collm.command.provide import inputs_and_start
from collm.stages import train


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, make what is missing, train; returns the exit status."""
    return train.main(argv, inputs_and_start)
