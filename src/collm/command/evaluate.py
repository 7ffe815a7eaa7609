"""`collm evaluate`: the stage of the same name, after data and models have been made if they are not there."""

from __future__ import annotations

from collections.abc import Sequence

from collm.command.provide import inputs
from collm.stages import evaluate


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, make what is missing, evaluate; returns the exit status."""
    return evaluate.main(argv, inputs)
