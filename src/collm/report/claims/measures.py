"""What is taken of every seed, for one line of config/claims.yaml: numbers whose mean over seeds is judged.

Two methods are compared seed by seed where both ran it, for they share data, warm start and order of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from collm.domains import get
from collm.report.claims.declared import MAIN, Line
from collm.report.claims.study import Study


class Unmeasured(Exception):
    """Why a line has no numbers."""


class NotRun(Unmeasured):
    """Runs that the line needs are not in the study."""


@dataclass(frozen=True)
class Numbers:
    """One number per seed.

    Attributes:
        seeds: in order.
        values: [seeds], logarithms for ratios.
        sides: [2, seeds or more] the two methods' own numbers, higher is better, for the probability of improvement;
            None where one method is judged alone.
        by_task: [seeds, tasks] paired differences; None without scores of single tasks.
        note: what a reader has to know.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    sides: tuple[np.ndarray, np.ndarray] | None = None
    by_task: np.ndarray | None = None
    note: str = field(default="")


def numbers(line: Line, study: Study) -> Numbers:
    """The numbers of a line.

    Raises:
        NotRun: no seed has what is needed.
        Unmeasured: the runs are there, but the measure is not defined for them; the message says why.
    """
    return TAKEN[line.measure](line, study)


def metric_name(line: Line) -> str:
    """The metric of a line by its own name."""
    return get(line.domain).metrics[0].name if line.metric == MAIN else str(line.metric)


def metric_label(line: Line) -> str:
    """The metric of a line as people write it."""
    name = metric_name(line)
    labels = {metric.name: metric.label for metric in get(line.domain).metrics}
    return labels.get(name, name.replace("_", " "))


def _better(line: Line) -> float:
    """1 where more of a line's metric is better, else -1."""
    if line.metric in ("tokens", "seconds"):
        return -1.0
    found = [metric for metric in get(line.domain).metrics if metric.name == metric_name(line)]
    return 1.0 if not found or found[0].higher_is_better else -1.0


def _pair(line: Line, study: Study) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Seeds that both methods have, and the metric of either."""
    name = metric_name(line)
    sides = [study.scores(line.options, line.domain, method, name) for method in (line.first, str(line.second))]
    return _paired(*sides)


def _paired(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    seeds = tuple(sorted(set(one) & set(other)))
    if not seeds:
        raise NotRun
    return seeds, np.array([one[seed] for seed in seeds]), np.array([other[seed] for seed in seeds])


def _difference(line: Line, study: Study) -> Numbers:
    seeds, one, other = _pair(line, study)
    sides = (_better(line) * one, _better(line) * other)
    return Numbers(seeds, one - other, sides, _by_task(line, study, seeds))


def _by_task(line: Line, study: Study, seeds: tuple[int, ...]) -> np.ndarray | None:
    """[seeds, tasks] differences of single tasks, where both methods were evaluated on the same."""
    name = metric_name(line)
    one, tasks = study.task_scores(line.options, line.domain, line.first, name)
    other, others = study.task_scores(line.options, line.domain, str(line.second), name)
    if tasks != others or not all(seed in one and seed in other for seed in seeds):
        return None
    return np.stack([one[seed] - other[seed] for seed in seeds])


def _ratio(line: Line, study: Study) -> Numbers:
    seeds, one, other = _pair(line, study)
    if min(one.min(), other.min()) <= 0:
        raise Unmeasured("a number is 0 or less, which has no ratio")
    return Numbers(seeds, np.log(one / other), (_better(line) * one, _better(line) * other))


def smoothed(curve: np.ndarray, window: int) -> np.ndarray:
    """[evaluations, 2] with the reward's mean over the last `window` evaluations up to each."""
    rewards = curve[:, 1]
    means = [rewards[max(0, place - window + 1) : place + 1].mean() for place in range(len(rewards))]
    return np.column_stack([curve[:, 0], means])


def steps_to(curve: np.ndarray, level: float) -> float:
    """Environment steps after which a curve first reaches a level, with a straight line between evaluations.

    ValueError for a curve that never does.
    """
    reached = np.flatnonzero(curve[:, 1] >= level)
    if not len(reached):
        raise ValueError(f"the curve ends below {level}")
    place = int(reached[0])
    if place == 0:
        return float(curve[0, 0])
    (before, low), (after, high) = curve[place - 1], curve[place]
    return float(before + (after - before) * (level - low) / (high - low))


def _steps_ratio(line: Line, study: Study) -> Numbers:
    """Steps to a level between the mean start and the best that every run of both methods reaches."""
    window, share = int(line.settings["window"]), float(line.settings["share"])
    sides = [study.curves(line.options, line.domain, method) for method in (line.first, str(line.second))]
    seeds = tuple(sorted(set(sides[0]) & set(sides[1])))
    if not seeds:
        raise NotRun
    curves = [{seed: smoothed(side[seed], window) for seed in seeds} for side in sides]
    every = [curve for side in curves for curve in side.values()]
    start = float(np.mean([curve[0, 1] for curve in every]))
    level = start + share * (min(float(curve[:, 1].max()) for curve in every) - start)
    if level <= max(float(curve[0, 1]) for curve in every):
        raise Unmeasured("no level above the start that all runs reach")
    steps = [np.array([steps_to(side[seed], level) for seed in seeds]) for side in curves]
    return Numbers(seeds, np.log(steps[0] / steps[1]), (-steps[0], -steps[1]), note=f"level {level:.3g}")


def last_third(curve: np.ndarray) -> tuple[float, float]:
    """(change, spread) of a curve's last third, by its environment steps: the rise of the least-squares line over the
    third, and the standard deviation around that line (n - 2).

    Raises:
        Unmeasured: there are fewer than four evaluations.
    """
    steps = curve[:, 0]
    begin = steps[-1] - (steps[-1] - steps[0]) / 3.0
    own = curve[steps >= begin]
    if len(own) < 4:
        raise Unmeasured(f"{len(own)} evaluations in the last third are too few; lower evaluation.every")
    place = own[:, 0] - own[:, 0].mean()
    slope = float((place * own[:, 1]).sum() / (place**2).sum())
    rest = own[:, 1] - own[:, 1].mean() - slope * place
    return slope * float(own[-1, 0] - own[0, 0]), math.sqrt(float((rest**2).sum()) / (len(own) - 2))


def _thirds(line: Line, study: Study, method: str) -> dict[int, tuple[float, float]]:
    return {seed: last_third(curve) for seed, curve in study.curves(line.options, line.domain, method).items()}


def _spread_ratio(line: Line, study: Study) -> Numbers:
    sides = [{s: third[1] for s, third in _thirds(line, study, m).items()} for m in (line.first, str(line.second))]
    seeds, one, other = _paired(*sides)
    if min(one.min(), other.min()) <= 0:
        raise Unmeasured("a run does not vary at all in its last third")
    return Numbers(seeds, np.log(one / other), (-one, -other))


def _change(line: Line, study: Study) -> Numbers:
    best = study.numbers("best_reward", line.options, line.domain, line.first)
    thirds = _thirds(line, study, line.first)
    seeds = tuple(sorted(set(thirds) & set(best)))
    if not seeds:
        raise NotRun
    return Numbers(seeds, np.array([abs(thirds[seed][0]) / best[seed] for seed in seeds]))


def joint_actions(generations: int, turns: int) -> int:
    """Joint actions of one task's tree (Proposition 4.3): K + K^2 + ... + K^H, or H for K = 1."""
    return sum(generations ** (turn + 1) for turn in range(turns))


def _calls(line: Line, study: Study) -> Numbers:
    frame = study.of("runs", line.options, line.domain, line.first).sort_values("seed")
    if frame.empty:
        raise NotRun
    names = ("first_rollout", "tasks_per_rollout", "generations", "turns")
    ratios = [
        joint / (tasks * joint_actions(int(copies), int(turns)))
        for joint, tasks, copies, turns in frame[[*names]].to_numpy(dtype=float)
    ]
    return Numbers(tuple(map(int, frame["seed"])), np.array(ratios, dtype=float))


def slope(places: np.ndarray, values: np.ndarray) -> float:
    """Slope of the least-squares line."""
    centred = places - places.mean()
    return float((centred * values).sum() / (centred**2).sum())


def _variance_slope(line: Line, study: Study) -> Numbers:
    frame = study.of("variance", line.options, line.domain, line.first)
    if frame.empty:
        raise NotRun
    found = {}
    for seed, own in frame.groupby("seed"):
        if len(own) < 2 or (own["variance"] <= 0).any():
            raise Unmeasured("a seed has one K alone, or a variance that is not above 0")
        logs = np.log(own[["generations", "variance"]].to_numpy(dtype=float))
        found[int(str(seed))] = slope(logs[:, 0], logs[:, 1])
    return Numbers(tuple(sorted(found)), np.array([found[seed] for seed in sorted(found)]))


def _trend(line: Line, study: Study) -> Numbers:
    """Slope of the paired difference along a dial: sets of options by their place on it."""
    dial, name = line.settings["dial"], metric_name(line)
    rows = {}
    for options, place in dial.items():
        sides = [study.scores(str(options), line.domain, method, name) for method in (line.first, str(line.second))]
        rows[float(place)] = {seed: sides[0][seed] - sides[1][seed] for seed in set(sides[0]) & set(sides[1])}
    seeds = tuple(sorted(set.intersection(*(set(own) for own in rows.values()))))
    if not seeds:
        raise NotRun
    places = np.array(sorted(rows))
    found = [slope(places, np.array([rows[place][seed] for place in places])) for seed in seeds]
    return Numbers(seeds, np.array(found))


TAKEN: Mapping[str, Callable[[Line, Study], Numbers]] = {
    "difference": _difference,
    "ratio": _ratio,
    "steps_ratio": _steps_ratio,
    "spread_ratio": _spread_ratio,
    "change": _change,
    "calls": _calls,
    "variance_slope": _variance_slope,
    "trend": _trend,
}
