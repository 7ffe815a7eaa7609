"""Stages of the pipeline as functions with options: what scripts in `src/`, the command `collm` and notebooks call."""

from collections.abc import Callable, Mapping
from typing import Any

Listener = Callable[[Mapping[str, Any]], None]
"""Hears every line of a run's metrics.jsonl as it is written."""
