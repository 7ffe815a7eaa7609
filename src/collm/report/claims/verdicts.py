"""From numbers per seed to verdicts: supported, contradicted, inconclusive, not run.

A line supports its claim where the interval of its mean lies inside the region that the claim names, and speaks against
it where the interval lies outside. A claim is supported if all its lines support it (their largest p value counts, an
intersection-union test, which needs no correction among the lines), and contradicted if one line speaks against it (the
smallest p value times their number). p values of claims are corrected for the number of claims that were run with the
same options (Holm, 1979).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collm.report.claims.declared import MEASURES, Claim, Claims, Line, Region
from collm.report.claims.measures import NotRun, Numbers, Unmeasured, numbers
from collm.report.claims.student import Mean
from collm.report.claims.study import Study
from collm.report.improvement import probability
from collm.report.statistics import interquartile_mean, resample

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = "supported", "contradicted", "inconclusive", "not run"
SUPPORTS, AGAINST, OPEN, UNMEASURED = "supports", "against", "open", "not measured"
RESAMPLES, BOOTSTRAP_SEED = 10_000, 0
CLOSE = 1e-9  # of counts without chance


@dataclass(frozen=True)
class Reading:
    """One line with its numbers; all that is not defined is NaN.

    Attributes:
        state: `SUPPORTS`, `AGAINST`, `OPEN`, `UNMEASURED` or `NOT_RUN`; uncorrected.
        estimate, low, high: mean over seeds with its interval by Student's t; ratios are no logarithms.
        iqm, boot_low, boot_high: interquartile mean, and the percentile bootstrap of the mean over seeds.
        probability: that a run of the first method ends better than one of the second.
        supports, against: one-sided p values of the hypotheses that the claim is wrong, and that it is right.
        spread_seeds, spread_tasks: standard deviations of the difference by source (see `spreads`).
        both_low, both_high: percentile bootstrap that draws seeds and tasks: other runs on other tasks of the kind.
    """

    line: Line
    state: str
    note: str = ""
    seeds: int = 0
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    iqm: float = math.nan
    boot_low: float = math.nan
    boot_high: float = math.nan
    probability: float = math.nan
    supports: float = 1.0
    against: float = 1.0
    spread_seeds: float = math.nan
    spread_tasks: float = math.nan
    both_low: float = math.nan
    both_high: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """A claim for one set of options: `p` of the likelier side, doubled for the two sides, and `holm`, corrected."""

    claim: Claim
    options: str
    verdict: str
    p: float
    holm: float
    readings: tuple[Reading, ...]


def verdicts(claims: Claims, study: Study) -> list[Verdict]:
    """All claims for all sets of options, in the order of the file."""
    found = []
    for options in _sets(claims):
        asked = [claim for claim in claims.claims if claim.of(options)]
        readings = [tuple(reading(line, study, claims.level) for line in claim.of(options)) for claim in asked]
        sides = [_sides(own) for own in readings]
        run = [place for place, own in enumerate(readings) if any(one.state != NOT_RUN for one in own)]
        corrected = dict(zip(run, holm([min(1.0, 2.0 * min(sides[place])) for place in run]), strict=True))
        for place, claim in enumerate(asked):
            p = min(1.0, 2.0 * min(sides[place])) if place in corrected else math.nan
            verdict = _verdict(sides[place], corrected.get(place), 1.0 - claims.level)
            found.append(Verdict(claim, options, verdict, p, corrected.get(place, math.nan), readings[place]))
    return found


def _sets(claims: Claims) -> list[str]:
    """Sets of options, those that single parts name last."""
    named = [line.options for claim in claims.claims for line in claim.lines]
    return list(dict.fromkeys([*claims.options, *named]))


def _sides(readings: Sequence[Reading]) -> tuple[float, float]:
    """p values of a claim's two sides: (it is supported, it is contradicted)."""
    smallest = min(one.against for one in readings)
    return max(one.supports for one in readings), min(1.0, smallest * len(readings))


def _verdict(sides: tuple[float, float], corrected: float | None, error: float) -> str:
    if corrected is None:
        return NOT_RUN
    if corrected >= error:
        return INCONCLUSIVE
    return SUPPORTED if sides[0] < sides[1] else CONTRADICTED


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's method, in the order given."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected


def reading(line: Line, study: Study, level: float) -> Reading:
    """One line with its numbers and what they say alone."""
    try:
        found = numbers(line, study)
    except NotRun:
        return Reading(line, NOT_RUN)
    except Unmeasured as reason:
        return Reading(line, UNMEASURED, str(reason))
    measure = MEASURES[line.measure]
    region = _logarithms(line.region) if measure.ratio else line.region
    mean = Mean.of(found.values.tolist())
    supports, against = _counted(found, region) if measure.exact else tests(mean, region)
    error = (1.0 - level) / 2.0
    numbers_shown = {
        "estimate": mean.value,
        **_ends("", mean.interval(level)),
        "iqm": float(interquartile_mean(found.values)),
        **_ends("boot_", bootstrap(found.values, level)),
    }
    if measure.ratio:
        numbers_shown = {name: math.exp(number) for name, number in numbers_shown.items()}
    return Reading(
        line,
        SUPPORTS if supports < error else AGAINST if against < error else OPEN,
        found.note if mean.count > 1 or measure.exact else "one seed says nothing of another",
        mean.count,
        supports=supports,
        against=against,
        probability=float(probability(*found.sides)) if found.sides is not None else math.nan,
        **numbers_shown,
        **({} if found.by_task is None else _of_both_sources(found.by_task, level)),
    )


def _ends(prefix: str, interval: tuple[float, float]) -> dict[str, float]:
    return {f"{prefix}low": interval[0], f"{prefix}high": interval[1]}


def _of_both_sources(by_task: np.ndarray, level: float) -> dict[str, float]:
    """What differences of single tasks say beside their means."""
    of_seeds, of_tasks = spreads(by_task)
    return {
        "spread_seeds": of_seeds,
        "spread_tasks": of_tasks,
        **_ends("both_", bootstrap_of_both(by_task, level)),
    }


def tests(mean: Mean, region: Region) -> tuple[float, float]:
    """One-sided p values that the true mean is not inside a region, and that it is not outside.

    The first is that of two one-sided tests where both bounds are finite (Schuirmann, 1987).
    """
    inside = [mean.p_not_above(region.low)] if region.low > -math.inf else []
    inside += [mean.p_not_below(region.high)] if region.high < math.inf else []
    outside = [mean.p_not_below(region.low)] if region.low > -math.inf else []
    outside += [mean.p_not_above(region.high)] if region.high < math.inf else []
    return max(inside), min(outside)


def _counted(found: Numbers, region: Region) -> tuple[float, float]:
    """The same for counts without chance: every seed lies in the region, or the claim is wrong."""
    right = bool(((found.values >= region.low - CLOSE) & (found.values <= region.high + CLOSE)).all())
    return (0.0, 1.0) if right else (1.0, 0.0)


def _logarithms(region: Region) -> Region:
    return Region(*(math.log(b) if 0 < b < math.inf else b for b in (region.low, region.high)))


def bootstrap(values: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile interval of the mean over seeds, which are drawn with replacement (arXiv 2108.13264); NaN of one."""
    if len(values) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = resample(values[None, :, None], rng, lambda cells: cells.mean(axis=-1), resamples=RESAMPLES)
    assert drawn is not None
    low, high = np.quantile(drawn[0], [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def bootstrap_of_both(by_task: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile interval of the mean of [seeds, tasks], both drawn with replacement; NaN of one seed or task."""
    seeds, tasks = by_task.shape
    if min(seeds, tasks) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    counts = [rng.multinomial(size, np.full(size, 1.0 / size), size=RESAMPLES) / size for size in (seeds, tasks)]
    drawn = ((counts[0] @ by_task) * counts[1]).sum(axis=1)
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def spreads(by_task: np.ndarray) -> tuple[float, float]:
    """Standard deviations (over seeds, over tasks) of paired differences [seeds, tasks].

    Components of variance of a two-way table without repetition: what a seed does to all tasks, what a task does to all
    seeds, and the rest, which neither holds. A component that is estimated below 0 is 0. NaN of one seed or task.
    """
    seeds, tasks = by_task.shape
    if min(seeds, tasks) < 2:
        return math.nan, math.nan
    whole = by_task.mean()
    of_seeds, of_tasks = by_task.mean(axis=1) - whole, by_task.mean(axis=0) - whole
    rest = by_task - whole - of_seeds[:, None] - of_tasks[None, :]
    mean_rest = float((rest**2).sum()) / ((seeds - 1) * (tasks - 1))
    mean_seeds = tasks * float((of_seeds**2).sum()) / (seeds - 1)
    mean_tasks = seeds * float((of_tasks**2).sum()) / (tasks - 1)
    return math.sqrt(max(0.0, mean_seeds - mean_rest) / tasks), math.sqrt(max(0.0, mean_tasks - mean_rest) / seeds)


def counted(found: Iterable[Verdict]) -> Mapping[str, int]:
    """How many claims have which verdict."""
    names = [one.verdict for one in found]
    return {name: names.count(name) for name in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN)}
