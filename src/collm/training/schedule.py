"""Learning rates over a run: a rise over the first steps, a fall towards the end (not in the paper; off by default)."""

from __future__ import annotations

import math

LEAST = 0.05  # share of the rate that is left at the end of a fall, so that the last rollouts still teach


def factor(step: int, warm_up: int, decay: str, progress: float) -> float:
    """What the configured learning rate is multiplied by.

    Args:
        step: optimiser steps that the member has made.
        warm_up: steps until the full rate; 0: from the first step.
        decay: none, linear or cosine.
        progress: share of the run that is over, 0 to 1.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    left = {"none": 1.0, "linear": 1.0 - progress, "cosine": (1.0 + math.cos(math.pi * progress)) / 2.0}[decay]
    return rise * (LEAST + (1.0 - LEAST) * left if decay != "none" else 1.0)
