"""What the commands `train` and `evaluate` make before the stage that they call: all that it stands on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from collm.api.workplace import Workplace
from collm.config.job import Job
from collm.methods.registry import METHODS


def inputs(config: Mapping[str, Any], job: Job, arguments: argparse.Namespace) -> None:
    """Data and models of a job, where they are not there yet."""
    _place(config, arguments).inputs(job.domain, job.method)


def inputs_and_start(config: Mapping[str, Any], job: Job, arguments: argparse.Namespace) -> None:
    """The same, and the warm start of its seed."""
    place = _place(config, arguments)
    place.inputs(job.domain, job.method)
    if job.method in METHODS and arguments.start is None:
        place.start(job.domain, job.method, arguments.seed)


def _place(config: Mapping[str, Any], arguments: argparse.Namespace) -> Workplace:
    return Workplace(config, again=arguments.again, device=arguments.device, threads=arguments.threads)
