"""Means with 95 % intervals over a few seeds, by Student's t: at this many runs a bootstrap is too narrow."""

from __future__ import annotations

import math
from collections.abc import Sequence

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL = 1.96


def mean(numbers: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return sum(numbers) / len(numbers) if numbers else math.nan


def deviation(numbers: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1); NaN of fewer than two."""
    if len(numbers) < 2:
        return math.nan
    centre = mean(numbers)
    return math.sqrt(sum((number - centre) ** 2 for number in numbers) / (len(numbers) - 1))


def half_width(numbers: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean; NaN of fewer than two numbers."""
    freedom = len(numbers) - 1
    if freedom < 1:
        return math.nan
    quantile = QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else NORMAL
    return quantile * deviation(numbers) / math.sqrt(len(numbers))


def in_words(numbers: Sequence[float], digits: int = 3) -> str:
    """`+0.012 ± 0.034`; without an interval where there is one number."""
    if not numbers:
        return "–"
    half = half_width(numbers)
    return f"{mean(numbers):+.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")
