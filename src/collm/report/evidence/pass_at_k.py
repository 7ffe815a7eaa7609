"""pass@k over k: whether training makes a team solve more tasks, or the same ones more surely."""

from __future__ import annotations

import numpy as np
import pandas as pd

from collm.domains.base import Domain
from collm.report import statistics
from collm.report.results import Results
from collm.report.tables import BOOTSTRAP_SEED

COLUMNS = ["method", "k", "point", "low", "high"]


def frame(results: Results, domain: Domain, estimator: str = "mean", resamples: int = 10_000) -> pd.DataFrame:
    """pass@k in per cent for every method and every k up to the samples of a task in the final evaluation.

    Returns:
        One row per method and k (columns `COLUMNS`, with the 95 % interval); none of a domain without such a metric.
    """
    sources = [f"metric.{metric.of}" for metric in domain.metrics if metric.draws > 1]
    rows = []
    for method in results.methods(domain.name) if sources else []:
        samples = results.of(domain.name, method)
        most = int(samples.groupby(["seed", "task"]).size().min())
        for k in range(1, most + 1):
            drawn = samples.assign(drawn=statistics.drawn_at_least_once(samples, sources[0], k))
            matrix = statistics.score_matrix(drawn, "drawn")
            strata = statistics.one_stratum(len(matrix.tasks))
            rng = np.random.default_rng(BOOTSTRAP_SEED)
            value = statistics.estimate(matrix, rng, statistic=estimator, strata=strata, resamples=resamples)
            rows.append((method, k, value.point, value.low, value.high))
    return pd.DataFrame(rows, columns=COLUMNS)
