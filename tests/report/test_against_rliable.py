"""Our statistics against rliable 1.2.0 (arXiv 2108.13264) and scipy 1.15: numbers that they gave, written down here.

rliable drew its bootstraps with other random numbers, so that interval ends agree to two standard errors of a quantile.
"""

from __future__ import annotations

import numpy as np
import pytest

from collm.report.claims.profiles import bands
from collm.report.claims.student import Mean, below, quantile
from collm.report.claims.verdicts import bootstrap_of_both
from collm.report.improvement import probability
from collm.report.statistics import ScoreMatrix, estimate, interquartile_mean, performance_profile

# [runs, tasks]
X = np.array([[0.31, 0.52, 0.11], [0.44, 0.75, 0.09], [0.29, 0.61, 0.35], [0.52, 0.58, 0.27], [0.38, 0.90, 0.18]])
Y = np.array([[0.22, 0.55, 0.21], [0.35, 0.49, 0.09], [0.41, 0.64, 0.13], [0.19, 0.62, 0.30], [0.33, 0.47, 0.18]])
LEVELS = np.array([0.1, 0.25, 0.3, 0.5, 0.6, 0.9])


def test_interquartile_mean():
    """`metrics.aggregate_iqm`."""
    assert interquartile_mean(X.reshape(-1)) == pytest.approx(0.4066666666666667, abs=1e-12)
    assert interquartile_mean(Y.reshape(-1)) == pytest.approx(0.33, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "statistic", "ends"),
    [
        (X, "iqm", (0.35444, 0.45778)),
        (X, "mean", (0.36733, 0.47667)),
        (Y, "iqm", (0.28444, 0.37889)),
        (Y, "mean", (0.30800, 0.38267)),
    ],
)
def test_stratified_bootstrap(scores, statistic, ends):
    """`library.get_interval_estimates`, 20,000 draws: runs are drawn anew for every task."""
    matrix = ScoreMatrix(scores, tuple(range(5)), ("a", "b", "c"), scores.size)
    value = estimate(matrix, np.random.default_rng(0), statistic=statistic, resamples=20_000)
    assert (value.low, value.high) == pytest.approx(ends, abs=0.003)


def test_bootstrap_over_runs_and_tasks():
    """The same with `task_bootstrap`; we draw a run with all its tasks, which hardly matters where tasks differ."""
    assert bootstrap_of_both(X, 0.95) == pytest.approx((0.21133, 0.65867), abs=0.02)


def test_probability_of_improvement():
    """`metrics.probability_of_improvement`, of each task and the mean over tasks."""
    shares = [float(probability(X[:, task], Y[:, task])) for task in range(3)]
    assert shares == pytest.approx([0.72, 0.72, 0.52], abs=1e-12)
    assert np.mean(shares) == pytest.approx(0.6533333333333333, abs=1e-12)


def test_performance_profile_and_its_bands():
    """`library.create_performance_profile`."""
    assert performance_profile(X.reshape(-1), LEVELS) == pytest.approx([14 / 15, 12 / 15, 10 / 15, 0.4, 0.2, 0.0])
    assert performance_profile(Y.reshape(-1), LEVELS) == pytest.approx([14 / 15, 9 / 15, 8 / 15, 0.2, 2 / 15, 0.0])
    low, high = bands(X, LEVELS)
    # Ends are multiples of 1/15; a quantile that falls between two of them may take either.
    assert low == pytest.approx([0.8, 0.66667, 0.53167, 0.33333, 0.06667, 0.0], abs=1 / 15 + 1e-3)
    assert high == pytest.approx([1.0, 0.93333, 0.8, 0.53333, 0.33333, 0.0], abs=1 / 15 + 1e-3)


# Student's t against scipy.stats


@pytest.mark.parametrize(
    ("t", "freedom", "expected"),
    [
        (0.0, 4, 0.5),
        (2.7, 1, 0.8870936842796504),
        (-1.3, 2, 0.1616235159080202),
        (2.7, 3, 0.9631069810799697),
        (2.7, 4, 0.972952838775539),
        (-7.0, 9, 3.162369481868346e-05),
        (0.5, 30, 0.6896384975574363),
    ],
)
def test_distribution_of_t(t, freedom, expected):
    assert below(t, freedom) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706204736), (2, 4.302652730), (4, 2.776445105), (9, 2.262157163)]
)
def test_quantiles_of_t(freedom, expected):
    assert quantile(0.975, freedom) == pytest.approx(expected, abs=1e-6)
    assert quantile(0.025, freedom) == pytest.approx(-expected, abs=1e-6)


def test_one_sample_tests():
    """`scipy.stats.ttest_1samp` and the interval of `scipy.stats.t`."""
    mean = Mean.of([0.3, 1.2, -0.4, 2.2, 0.9])
    assert mean.interval() == pytest.approx((-0.37213373794598303, 2.052133737945983), abs=1e-6)
    assert mean.p_not_above(0.1) == pytest.approx(0.08266025096846971, abs=1e-12)
    assert mean.p_not_below(2.0) == pytest.approx(0.028282621806366346, abs=1e-12)


def test_numbers_that_are_all_the_same_and_one_alone():
    same, alone = Mean.of([2.0, 2.0, 2.0]), Mean.of([2.0])
    assert (same.p_not_above(1.0), same.p_not_above(2.0), same.p_not_below(3.0)) == (0.0, 1.0, 0.0)
    assert same.interval() == (2.0, 2.0)
    assert (alone.p_not_above(-100.0), alone.p_not_below(100.0)) == (1.0, 1.0)
    assert all(end != end for end in alone.interval())
