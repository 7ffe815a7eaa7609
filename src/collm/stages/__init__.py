"""Stages of the pipeline as functions with options: what scripts in `src/`, the command `collm` and notebooks call."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from collm.config.job import Job

Listener = Callable[[Mapping[str, Any]], None]
"""Hears every line of a run's metrics.jsonl as it is written."""

Provide = Callable[[Mapping[str, Any], Job, argparse.Namespace], None]
"""Makes what a job stands on, from the merged configuration and the options of a stage."""
