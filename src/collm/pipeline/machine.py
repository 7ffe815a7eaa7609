"""How much of a machine a job asks for: memory, time, threads and GPUs, by the sources of its models.

Rough on purpose: a scheduler has to know before anything runs, and a job that is tried again asks for more.
`collm.planning` estimates the same in detail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Per source of the largest model: memory in MB and minutes of a training job; attempts multiply both.
MEMORY = {"scratch": 2_000, "wheel": 6_000, "folder": 24_000, "hub": 32_000}
MINUTES = {"scratch": 60, "wheel": 720, "folder": 720, "hub": 1_440}
# Factor for team.adapter full: optimiser states of every copy.
MEMORY_OF_WHOLE_MODELS = 3
# A training run of at most so many updates takes about as long as its process needs to start (docs/speed.md).
SHORT_UPDATES = 4
# Snakemake cuts this to --cores, a cluster's profile to its max-threads.
ALL_THREADS = 64


def model_sources(settings: Mapping[str, Any]) -> set[str]:
    """Sources of the models that a job uses, from its resolved settings."""
    return {spec["source"] for spec in settings["models"].values()}


def in_one_process(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one process can do several jobs: their models are made from scratch, and they compute in one precision.

    Large models get a GPU and a job each.
    """
    scratch = all(model_sources(settings) == {"scratch"} for settings in jobs)
    return scratch and len({settings["team"]["precision"] for settings in jobs}) == 1


def short(settings: Mapping[str, Any]) -> bool:
    """Whether a training run takes no longer than its process needs to start."""
    limit = settings["training"]["max_updates"]
    return limit is not None and limit <= SHORT_UPDATES


def gpus(settings: Mapping[str, Any]) -> int:
    """GPUs of a job: none for models made from scratch, they are too small for one to pay."""
    return int(model_sources(settings) != {"scratch"})


def threads(settings: Mapping[str, Any]) -> int:
    """Threads of a job: one for small models, so that jobs run side by side; all for the others."""
    return ALL_THREADS if gpus(settings) else 1


def memory(settings: Mapping[str, Any], attempt: int = 1) -> int:
    """MB of main memory, more with every attempt (counted from 1)."""
    factor = MEMORY_OF_WHOLE_MODELS if settings["team"]["adapter"] == "full" else 1
    return attempt * factor * max(MEMORY[source] for source in model_sources(settings))


def minutes(settings: Mapping[str, Any], attempt: int = 1) -> int:
    """Minutes of a job, more with every attempt (counted from 1)."""
    return attempt * max(MINUTES[source] for source in model_sources(settings))
