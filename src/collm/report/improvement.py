"""How likely a new training run ends above a new run of its start: the probability of improvement, over seeds.

As defined by Agarwal et al. (arXiv 2108.13264, section 4.3): the share of pairs of a run of X and a run of Y in which X
scores higher, ties counting half; over several tasks, the mean of their shares. What they call a task is a benchmark
here, and the score of a run is its mean over test tasks. The bootstrap draws seeds; the two runs of a seed are drawn
together, because one is trained from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collm.domains import title
from collm.domains.base import Domain
from collm.methods.registry import ROWS
from collm.report.results import Results
from collm.report.statistics import seed_scores
from collm.report.table_text import ABSENT, aligned, escape, listed
from collm.report.tables import BOOTSTRAP_SEED, overview_metric, reference

COLUMNS = ["domain", "method", "reference", "metric", "probability", "low", "high", "seeds", "above"]
ALL = "all"  # in the column `domain`: the mean over the benchmarks
OVERVIEW = "overview"  # in the column `metric` of such rows: each benchmark's own metric of the overview
LEVEL = 0.95
NOTES = (
    "Cells: the probability that a run of the method ends above a run of what it starts from, any seed against any "
    "seed, ties counting half [95 % bootstrap interval over seeds]; 0.5 says no difference.",
    "Above: runs that ended above the very run that they started from, of all seeds.",
    "One seed gives no probability. All: the mean over the benchmarks above.",
)


@dataclass(frozen=True)
class Comparison:
    """Runs of a method beside those of its start: `scores` is [2, seeds], higher is better."""

    domain: str
    method: str
    start: str
    metric: str
    scores: np.ndarray

    @property
    def seeds(self) -> int:
        """Runs of either side."""
        return self.scores.shape[1]


def probability(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """P(first > second) over all pairs of runs, ties counting half: [..., runs], [..., runs] -> [...]."""
    one, other = first[..., :, None], second[..., None, :]
    return ((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1))


def improvement_frame(results: Results, domains: Mapping[str, Domain], resamples: int = 10_000) -> pd.DataFrame:
    """One row per domain, method and metric (columns `COLUMNS`): the reward, and the metric of the overview.

    `above` counts the seeds whose run ended above its own start. With one seed there is no probability (NaN), with two
    or three the interval says little. Rows of the domain "all" follow where several domains have two seeds or more.
    """
    comparisons = list(_comparisons(results, domains))
    rows = [summary([comparison], comparison.domain, comparison.metric, resamples) for comparison in comparisons]
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.seeds > 1:
            kind = "reward" if comparison.metric == "reward" else OVERVIEW
            groups.setdefault((comparison.method, kind), []).append(comparison)
    together = [(group, kind) for (_, kind), group in groups.items() if len(group) > 1]
    rows += [summary(group, ALL, kind, resamples) for group, kind in together]
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(frame: pd.DataFrame) -> str:
    """The table for people, with notes."""
    return f"# Probability of improvement\n\n{aligned(display_frame(frame), left=3)}\n\n{listed(NOTES)}\n"


def latex(frame: pd.DataFrame) -> str:
    """The same as a LaTeX `tabular`; needs the booktabs package."""
    shown = display_frame(frame).map(escape).rename(columns=escape)
    comment = "".join(f"% {note}\n" for note in NOTES)
    return comment + shown.to_latex(index=False, escape=False, column_format="lll" + "r" * (shown.shape[1] - 3))


def display_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A line per domain and method as text, the reward beside the metric of the overview."""
    records = []
    for _, rows in frame.groupby(["domain", "method"], sort=False):
        domain, method, start = (str(rows[name].iloc[0]) for name in ("domain", "method", "reference"))
        record = {"Benchmark": "All" if domain == ALL else title(domain), "Method": ROWS[method].label}
        record["Start"] = ROWS[start].label
        for _, row in rows.iterrows():
            head = "Reward" if row["metric"] == "reward" else "Metric"
            record |= {f"{head}: P": _cell(row), f"{head}: above": f"{row['above']}/{row['seeds']}"}
        records.append(record)
    columns = ["Benchmark", "Method", "Start", "Reward: P", "Reward: above", "Metric: P", "Metric: above"]
    return pd.DataFrame(records, columns=columns)


def _comparisons(results: Results, domains: Mapping[str, Domain]) -> Iterator[Comparison]:
    """Every method beside its start, by the reward and by the metric of the overview, over the seeds that both have."""
    for domain in results.domains():
        metric = overview_metric(domains[domain])
        sign = 1.0 if metric.higher_is_better else -1.0
        for method in results.methods(domain):
            start = reference(results, domain, method)
            if start is None:
                continue
            for name, column, factor in (("reward", "reward", 1.0), (metric.name, f"metric.{metric.name}", sign)):
                sides = [seed_scores(results.of(domain, row), column) for row in (method, start)]
                paired = pd.concat(sides, axis="columns", join="inner")
                if len(paired):
                    yield Comparison(domain, method, start, name, factor * paired.to_numpy(dtype=float).T)


def summary(group: Sequence[Comparison], domain: str, metric: str, resamples: int) -> dict[str, object]:
    """One row of the frame: the mean over the comparisons of one method, each drawn on its own."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    points, drawn = [], []
    for comparison in group:
        draws = rng.integers(0, comparison.seeds, size=(resamples, comparison.seeds))
        points.append(probability(*comparison.scores))
        drawn.append(probability(*comparison.scores[:, draws]))
    several = all(comparison.seeds > 1 for comparison in group)
    nothing = float("nan")
    low, high = (
        np.quantile(np.mean(drawn, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if several else (nothing, nothing)
    )
    return {
        "domain": domain,
        "method": group[0].method,
        "reference": group[0].start,
        "metric": metric,
        "probability": float(np.mean(points)) if several else nothing,
        "low": float(low),
        "high": float(high),
        "seeds": sum(comparison.seeds for comparison in group),
        "above": sum(int((comparison.scores[0] > comparison.scores[1]).sum()) for comparison in group),
    }


def _cell(row: pd.Series) -> str:
    """The probability with its interval; a dash without one."""
    if pd.isna(row["probability"]):
        return ABSENT
    return f"{row['probability']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
