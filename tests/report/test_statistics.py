"""Statistics against hand-computed numbers, simulated runs with a known mean, and the labels of intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from collm.common.errors import DataError
from collm.report import statistics
from collm.report.statistics import ScoreMatrix


def matrix(values: object) -> ScoreMatrix:
    cells = np.asarray(values, dtype=float)
    return ScoreMatrix(cells, tuple(range(cells.shape[0])), tuple(f"t{i}" for i in range(cells.shape[1])), cells.size)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([5.0], 5.0),
        ([1.0, 2.0, 9.0], 4.0),
        ([0.0, 1.0, 3.0, 100.0], 2.0),
        ([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -90.0], 3.5),
        ([0.0, 1.0, 2.0, 4.0, 50.0], 7 / 3),
    ],
)
def test_interquartile_mean(cells, expected):
    assert statistics.interquartile_mean(np.array(cells)) == pytest.approx(expected, abs=1e-12)


def test_interquartile_mean_over_the_last_axis():
    assert statistics.interquartile_mean(np.array([[4.0, 1.0, 2.0, 9.0], [0.0, 0.0, 1.0, 1.0]])).tolist() == [3.0, 0.5]


def test_samples_are_averaged_per_seed_and_task_first():
    # Task a has three samples, task b one: the mean is that of 2 and 10, not of all four samples.
    frame = pd.DataFrame({"seed": [0] * 4, "task": ["a", "a", "a", "b"], "reward": [1.0, 2.0, 3.0, 10.0]})
    scores = statistics.score_matrix(frame, "reward")
    assert scores.values.tolist() == [[2.0, 10.0]]
    assert (scores.runs, scores.tasks, scores.samples) == ((0,), ("a", "b"), 4)
    assert statistics.estimate(scores, rng()).point == 6.0


def test_holes_and_bad_values_are_named():
    holed = pd.DataFrame({"seed": [0, 0, 3], "task": ["a", "b", "a"], "reward": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match=r"seed 3 has no sample of task 'b'"):
        statistics.score_matrix(holed, "reward")
    with pytest.raises(DataError, match=r"'reward' of task 'b', seed 0, is not a finite number"):
        statistics.score_matrix(holed.assign(reward=[1.0, math.nan, 2.0]), "reward")
    with pytest.raises(DataError, match="no samples"):
        statistics.score_matrix(holed.iloc[:0], "reward")
    with pytest.raises(DataError, match="'median' is not known; use one of mean, iqm"):
        statistics.estimate(matrix([[1.0, 2.0]]), rng(), statistic="median")


def test_two_runs_of_one_stratum_by_hand():
    # Whole runs: (0,0), (0,1), (1,0), (1,1) with means 1, 2, 2, 3, a quarter each: the interval is [1, 3].
    value = statistics.estimate(matrix([[0.0, 2.0], [2.0, 4.0]]), rng(), strata=statistics.one_stratum(2))
    assert (value.point, value.low, value.high) == (2.0, 1.0, 3.0)
    assert (value.interval, value.seeds, value.tasks, value.samples) == ("interval over seeds", 2, 2, 4)


def test_one_seed_draws_tasks_and_says_so():
    # Two tasks 0 and 1: means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    value = statistics.estimate(matrix([[0.0, 1.0]]), rng())
    assert (value.point, value.low, value.high, value.interval) == (0.5, 0.0, 1.0, "interval over tasks")


def test_a_single_cell_has_no_interval():
    value = statistics.estimate(matrix([[3.0]]), rng())
    assert (value.point, value.interval) == (3.0, "no interval")
    assert math.isnan(value.low) and math.isnan(value.high)


def test_stratification_keeps_tasks_apart():
    # Tasks differ wildly, runs not at all: drawing runs inside each task can never mix tasks, so no width at all.
    value = statistics.estimate(matrix([[0.0, 50.0, 100.0]] * 4), rng())
    assert value.low == value.high == value.point == 50.0
    # Every resample of task j holds values of column j only.
    scores = np.arange(12.0).reshape(1, 3, 4)
    draws = []
    statistics.resample(scores, rng(), lambda cells: draws.append(cells) or cells.mean(axis=-1), resamples=200)
    columns = draws[0].reshape(200, 3, 4)
    assert (columns % 4 == np.arange(4)).all()
    # Independent between tasks: the rows drawn for task 0 are not those drawn for task 1 ...
    assert (columns[:, :, 0] // 4 != columns[:, :, 1] // 4).any()
    # ... unless both are in one stratum.
    statistics.resample(
        scores, rng(), lambda cells: draws.append(cells) or cells.mean(axis=-1), strata=[0, 0, 1, 1], resamples=200
    )
    columns = draws[1].reshape(200, 3, 4) // 4
    assert (columns[:, :, 0] == columns[:, :, 1]).all() and (columns[:, :, 2] == columns[:, :, 3]).all()
    assert (columns[:, :, 1] != columns[:, :, 2]).any()


def coverage(runs: int, tasks: int, run_effect: float, one_stratum: bool, trials: int = 300) -> float:
    """Share of 95 % intervals that hold the true mean 0 of normal scores with task, run and noise effects."""
    draw = np.random.default_rng(11)
    strata = statistics.one_stratum(tasks) if one_stratum else None
    hits = 0
    for _ in range(trials):
        noise = draw.normal(size=(runs, tasks)) + run_effect * draw.normal(size=(runs, 1))
        value = statistics.estimate(matrix(noise), draw, strata=strata, resamples=400)
        hits += value.low <= 0 <= value.high
    return hits / trials


def test_coverage_on_simulated_runs():
    # Scores of separately trained models: task strata cover nearly what they promise.
    assert 0.90 <= coverage(runs=10, tasks=20, run_effect=0.0, one_stratum=False) <= 0.98
    # One training behind all tasks: one stratum still does (a little less, as the percentile interval is known to).
    assert 0.84 <= coverage(runs=10, tasks=20, run_effect=1.0, one_stratum=True) <= 0.97
    # Task strata would not: they take the common luck of a run for noise. This is why tables use one stratum.
    assert coverage(runs=10, tasks=20, run_effect=1.0, one_stratum=False) < 0.6


def test_coverage_over_tasks_with_one_seed():
    assert 0.88 <= coverage(runs=1, tasks=30, run_effect=0.0, one_stratum=False) <= 0.98


def test_paired_difference_cancels_what_is_common():
    base = np.array([[0.0, 40.0, 90.0], [10.0, 50.0, 100.0], [3.0, 43.0, 93.0]])
    value = statistics.difference(matrix(base + 2.0), matrix(base), rng(), strata=statistics.one_stratum(3))
    assert (value.point, value.low, value.high) == pytest.approx((2.0, 2.0, 2.0))
    assert value.interval == "interval over seeds"
    other = ScoreMatrix(base, (0, 1, 9), ("t0", "t1", "t2"), 9)
    with pytest.raises(DataError, match="same seeds and tasks"):
        statistics.difference(matrix(base), other, rng())


def test_difference_of_interquartile_means_is_not_that_of_differences():
    first, second = matrix([[0.0, 1.0, 2.0, 30.0]]), matrix([[9.0, 1.0, 0.0, 1.0]])
    value = statistics.difference(first, second, rng(), statistic="iqm")
    assert value.point == pytest.approx(1.5 - 1.0)
    assert value.low <= value.point <= value.high


def test_same_generator_same_interval_and_blocks_do_not_matter(monkeypatch):
    scores = matrix(np.random.default_rng(1).normal(size=(4, 30)))
    first, second = (statistics.estimate(scores, rng(), statistic="iqm") for _ in range(2))
    assert first == second
    assert statistics.estimate(scores, np.random.default_rng(8), statistic="iqm").low != first.low
    monkeypatch.setattr(statistics, "CELLS_PER_BLOCK", 50_000)
    small = statistics.estimate(scores, rng(), statistic="iqm")
    assert small.low == pytest.approx(first.low, abs=0.02) and small.high == pytest.approx(first.high, abs=0.02)


def test_resamples_are_computed_together():
    # 10,000 resamples of 5 x 100 cells: a call of the statistic per block of resamples, not per resample.
    calls = []
    scores = np.random.default_rng(1).normal(size=(1, 5, 100))
    drawn = statistics.resample(scores, rng(), lambda cells: calls.append(cells.shape) or cells.mean(axis=-1))
    assert drawn.shape == (1, 10_000)
    assert len(calls) == 2 and sum(shape[1] for shape in calls) == 10_000


def test_strata_of_another_length_are_refused():
    with pytest.raises(ValueError, match="strata name 2 tasks, the scores hold 3"):
        statistics.estimate(matrix(np.ones((2, 3))), rng(), strata=[0, 0])
