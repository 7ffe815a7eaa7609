"""Student's t: what a mean of few numbers can say, where a percentile bootstrap is too narrow (`statistics`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def below(t: float, freedom: int) -> float:
    """P(T < t) of Student's t with a whole number of degrees of freedom, at least 1.

    Finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(2 if odd else 1, freedom, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    inside = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + 0.5 * inside


def quantile(probability: float, freedom: int) -> float:
    """t with P(T < t) = `probability`, 0 < probability < 1, by bisection."""
    low, high = -1e6, 1e6
    while high - low > 1e-9 * max(1.0, abs(low)):
        middle = (low + high) / 2.0
        low, high = (middle, high) if below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2.0


@dataclass(frozen=True)
class Mean:
    """A mean of independent numbers with its standard error (NaN of one number)."""

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Mean:
        """Mean of at least one number."""
        count, value = len(numbers), math.fsum(numbers) / len(numbers)
        if count == 1:
            return cls(value, math.nan, 1)
        variance = math.fsum((number - value) ** 2 for number in numbers) / (count - 1)
        return cls(value, math.sqrt(variance / count), count)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided interval of that level; NaN, NaN of one number."""
        if self.count == 1:
            return math.nan, math.nan
        half = quantile((1.0 + level) / 2.0, self.count - 1) * self.error
        return self.value - half, self.value + half

    def p_not_above(self, bound: float) -> float:
        """p value of the hypothesis that the true mean is at most `bound`: small if the mean is surely above.

        1 of a single number. Numbers that are all the same leave no doubt: 0 or 1, and 1 at the bound itself.
        """
        if self.count == 1:
            return 1.0
        if self.error == 0.0:
            return 0.0 if self.value > bound else 1.0
        return 1.0 - below((self.value - bound) / self.error, self.count - 1)

    def p_not_below(self, bound: float) -> float:
        """p value of the hypothesis that the true mean is at least `bound`."""
        return Mean(-self.value, self.error, self.count).p_not_above(-bound)
