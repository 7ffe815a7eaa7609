"""Point estimates with bootstrap intervals from a runs x tasks matrix of scores.

One cell is the score of one training run (seed) on one test task, already averaged over the samples that the
run drew for that task. With two runs or more the interval speaks about runs: the bootstrap draws runs with
replacement inside each stratum of tasks, as proposed for comparing reinforcement-learning agents in arXiv
2108.13264. With a single run nothing is known about other runs; the bootstrap then draws tasks, and the
result says so in `Estimate.interval`.

What a stratum is decides what the interval means. Tasks whose scores come from separately trained models are
strata of their own (the default, `strata=None`). Tasks that were answered by one and the same trained team
share what that training learnt; they form one stratum (`strata=one_stratum(tasks)`), so that a run is drawn
with all its tasks or not at all. Treating them as separate lets the luck of a training cancel out between
tasks: on simulated runs that differ as much as tasks do, a 95 % interval then covers the truth in 40 % of
cases. Tables and figures of one domain therefore use one stratum.

The percentile interval leans on the runs there are: with n runs of one stratum it covers the truth in about
1 - 2 / 2**n of cases for n = 2 and 3 (50 %, 75 %), in about 85 % for n = 5 and 90 % for n = 10.
Needs numpy and pandas only, no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd

from collm.common.errors import DataError

OVER_SEEDS = "interval over seeds"
OVER_TASKS = "interval over tasks"
NO_INTERVAL = "no interval"
CELLS_PER_BLOCK = 4_000_000  # resampled cells held at a time: 32 MB of float64


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of one method: `values` is [runs, tasks]; `samples` counts the answers behind all cells."""

    values: np.ndarray
    runs: tuple[int, ...]
    tasks: tuple[str, ...]
    samples: int


class Bootstrap(TypedDict, total=False):
    """Keywords of `estimate` and `difference`: `statistic` ("mean"), `strata` (see `resample`), `resamples` (10,000)
    and `level` of the interval (0.95)."""

    statistic: str
    strata: Sequence[int] | np.ndarray | None
    resamples: int
    level: float


@dataclass(frozen=True)
class Estimate:
    """A point and its interval in the unit of the scores; `interval` says what the bootstrap drew."""

    point: float
    low: float
    high: float
    interval: str
    seeds: int
    tasks: int
    samples: int


def mean(cells: np.ndarray) -> np.ndarray:
    """Arithmetic mean over the last axis: [..., cells] -> [...]."""
    return cells.mean(axis=-1)


def interquartile_mean(cells: np.ndarray) -> np.ndarray:
    """Mean of the middle half over the last axis: [..., cells] -> [...].

    The lowest and the highest quarter of the cells are left out, rounded down to whole cells; of three cells
    or fewer none is left out. Less moved by single outliers than the mean, less wasteful than the median.
    """
    count = cells.shape[-1]
    cut = count // 4
    return np.sort(cells, axis=-1)[..., cut : count - cut].mean(axis=-1)


def drawn_at_least_once(frame: pd.DataFrame, column: str, draws: int) -> pd.Series:
    """pass@k: the chance in per cent that one of k = `draws` samples of a task has `column` above 0.

    Unbiased from n >= k samples, m of them above 0: 1 - C(n - m, k) / C(n, k) (arXiv 2107.03374, equation 1). One value
    per row of a tidy frame (columns `seed`, `task`, `column`), the same for all samples of a task. Raises DataError
    where a task has fewer samples than draws.
    """
    groups = (frame[column] > 0).groupby([frame["seed"], frame["task"]])
    samples, hits = groups.transform("size"), groups.transform("sum")
    if (samples < draws).any():
        raise DataError(f"{column}: a task has {int(samples.min())} samples, too few to draw {draws}; evaluate more")
    return pd.Series(
        [100.0 * (1.0 - math.comb(n - m, draws) / math.comb(n, draws)) for n, m in zip(samples, hits, strict=True)],
        index=frame.index,
    )


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of runs that score above each level, over all tasks: scores [..., cells], [levels] -> [..., levels].

    The distribution of run scores of arXiv 2108.13264, section 4.2: a curve above another one everywhere is better.
    """
    return (scores[..., :, None] > levels).mean(axis=-2)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "iqm": interquartile_mean}


def one_stratum(tasks: int) -> np.ndarray:
    """Strata for tasks that every run answered with one trained team: all `tasks` in stratum 0."""
    return np.zeros(tasks, dtype=np.int64)


def score_matrix(frame: pd.DataFrame, column: str) -> ScoreMatrix:
    """Average a tidy frame (columns `seed`, `task`, `column`; one row a sample) to a runs x tasks matrix.

    Samples are averaged per (seed, task) first, so a task with more samples weighs no more than another.
    Raises DataError if the frame is empty, a value is not finite, or a run lacks a task that another run has.
    """
    if frame.empty:
        raise DataError(f"no samples to compute {column!r} from; evaluate the method first")
    finite = np.isfinite(frame[column].to_numpy(dtype=float))
    if not finite.all():
        row = frame[~finite].iloc[0]
        raise DataError(f"{column!r} of task {row['task']!r}, seed {row['seed']}, is not a finite number")
    cells = frame.groupby(["seed", "task"])[column].mean().unstack("task")
    holes = np.argwhere(cells.isna().to_numpy())
    if len(holes):
        seed, task = cells.index[holes[0][0]], cells.columns[holes[0][1]]
        raise DataError(
            f"seed {seed} has no sample of task {task!r} but another seed has ({len(holes)} such "
            "holes); evaluate all seeds on the same test split"
        )
    return ScoreMatrix(cells.to_numpy(dtype=float), tuple(cells.index), tuple(cells.columns), len(frame))


def seed_scores(frame: pd.DataFrame, column: str) -> pd.Series:
    """The score of every run of one method, by seed: the mean over tasks of the means over samples.

    Takes and raises what `score_matrix` does.
    """
    matrix = score_matrix(frame, column)
    return pd.Series(matrix.values.mean(axis=1), index=pd.Index(matrix.runs, name="seed"))


def estimate(matrix: ScoreMatrix, rng: np.random.Generator, **bootstrap: Unpack[Bootstrap]) -> Estimate:
    """Point estimate of a score matrix with its bootstrap percentile interval.

    Two runs or more: runs are drawn with replacement, independently in each stratum (see `resample`), and
    the result is labelled `interval over seeds`. One run: tasks are drawn, labelled `interval over tasks`. A
    single cell has no interval: low and high are NaN, labelled `no interval`. Raises DataError for an
    unknown statistic.
    """
    return _estimate([matrix], rng, **bootstrap)


def difference(
    first: ScoreMatrix, second: ScoreMatrix, rng: np.random.Generator, **bootstrap: Unpack[Bootstrap]
) -> Estimate:
    """Statistic of `first` minus statistic of `second`, paired by run and task, with interval.

    Both matrices are read at the same drawn indices, so what a seed or a task does to both cancels out.
    Raises DataError unless both hold the same runs and the same tasks.
    """
    if first.runs != second.runs or first.tasks != second.tasks:
        raise DataError(
            "a paired difference needs the same seeds and tasks on both sides, not seeds "
            f"{list(first.runs)} with {len(first.tasks)} tasks against seeds {list(second.runs)} with "
            f"{len(second.tasks)} tasks; evaluate both methods on the same test split"
        )
    return _estimate([first, second], rng, **bootstrap)


def _estimate(
    matrices: Sequence[ScoreMatrix],
    rng: np.random.Generator,
    statistic: str = "mean",
    strata: Sequence[int] | np.ndarray | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
) -> Estimate:
    """Statistic of one matrix, or of the first minus that of the second, both of the same runs and tasks."""
    reduce = _statistic(statistic)
    values = np.stack([matrix.values for matrix in matrices])
    point = _contrast([reduce(matrix.values.reshape(-1)) for matrix in matrices])
    drawn = resample(values, rng, reduce, strata=strata, resamples=resamples)
    first, shape = matrices[0], values.shape[1:]
    low, high, label = _percentiles(None if drawn is None else _contrast(drawn), shape, level)
    samples = min(matrix.samples for matrix in matrices)
    return Estimate(float(point), low, high, label, len(first.runs), len(first.tasks), samples)


def _contrast(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The only entry along the first axis, or the first minus the second."""
    return values[0] if len(values) == 1 else values[0] - values[1]


def resample(
    scores: np.ndarray,
    rng: np.random.Generator,
    reduce: Callable[[np.ndarray], np.ndarray],
    *,
    strata: Sequence[int] | np.ndarray | None = None,
    resamples: int = 10_000,
) -> np.ndarray | None:
    """Bootstrap distribution of `reduce`: scores [methods, runs, tasks] -> [methods, resamples].

    `strata` gives each task the number of its stratum, from 0; runs are drawn once per stratum and resample,
    and all tasks of the stratum take that draw. None: every task is its own stratum. With one run, tasks are
    drawn instead and strata are not used. All methods see the same draw. Works in blocks, so memory stays
    bounded for any size. Returns None for a single cell, of which nothing can be drawn.
    """
    methods, runs, tasks = scores.shape
    if runs * tasks == 1:
        return None
    groups = np.arange(tasks) if strata is None else np.asarray(strata)
    if groups.shape != (tasks,):
        raise ValueError(f"strata name {groups.size} tasks, the scores hold {tasks}")
    block = max(1, CELLS_PER_BLOCK // (methods * runs * tasks))
    parts = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        if runs == 1:
            cells = scores[:, 0, rng.integers(0, tasks, size=(size, tasks))]
        else:
            drawn = rng.integers(0, runs, size=(size, runs, int(groups.max()) + 1))
            cells = scores[:, drawn[:, :, groups], np.arange(tasks)].reshape(methods, size, runs * tasks)
        parts.append(reduce(cells))
    return np.concatenate(parts, axis=1)


def _statistic(name: str) -> Callable[[np.ndarray], np.ndarray]:
    if name not in STATISTICS:
        raise DataError(f"statistic {name!r} is not known; use one of {', '.join(STATISTICS)}")
    return STATISTICS[name]


def _percentiles(drawn: np.ndarray | None, shape: tuple[int, int], level: float) -> tuple[float, float, str]:
    """Percentile interval of the bootstrap distribution of one number, and the label of what was drawn."""
    if drawn is None:
        return float("nan"), float("nan"), NO_INTERVAL
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), OVER_TASKS if shape[0] == 1 else OVER_SEEDS
