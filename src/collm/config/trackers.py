"""Trackers besides metrics.jsonl: which there are, and whether what they need is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from collm.common.errors import ConfigError

PACKAGES: Mapping[str, tuple[str, ...]] = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}
"""Packages by tracker; one of them is enough."""

TRACKERS: tuple[str, ...] = ("none", *PACKAGES)


def check_tracker(tracker: str) -> None:
    """Refuse a tracker whose package is missing; accelerate would leave it out with a warning.

    Raises:
        ConfigError: says how to install it.
    """
    packages = PACKAGES.get(tracker, ())
    if packages and not any(importlib.util.find_spec(package) for package in packages):
        raise ConfigError(
            f"report.tracker is {tracker}, and the package {tracker} is not installed; install it with: pip install "
            f"{tracker}, or set report.tracker to none"
        )
