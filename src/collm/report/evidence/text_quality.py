"""Prose measured without its reward: a table beside the score of the writing benchmarks.

Perplexity is that of the base without adapters, geometric over samples: exp of the mean nats per token. Like every mean
of this report it is over samples first, then tasks, then seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS
from collm.report import statistics, table_text
from collm.report.results import Results
from collm.report.statistics import Estimate
from collm.report.tables import BOOTSTRAP_SEED, ESTIMATE, estimate_row, number, overview_metric

PERPLEXITY = Metric("perplexity", "Perplexity", "", higher_is_better=False)
REPETITION = Metric("repetition", "Repeated 3-grams", "%", higher_is_better=False)
DISTINCT = Metric("distinct_2", "Distinct 2-grams", "%", higher_is_better=True)
OVERLAP = Metric("overlap", "Words of the source", "%", higher_is_better=True)
MEASURES = (PERPLEXITY, REPETITION, DISTINCT, OVERLAP)
COLUMNS = ["domain", "method", "metric", *ESTIMATE]
NOTES = (
    "Perplexity: exp of the mean negative log-probability per token of a response after its prompt, under the base "
    "without adapters. An untrained team speaks as its base does; prose that the base has not learnt, or what is no "
    "prose, has more. It compares rows of one base, and nothing across models.",
    "Repeated 3-grams: share of a text's word 3-grams that stood in it before. Distinct 2-grams: over all texts of a "
    "run; low where a team says the same of every task. Words of the source: share of a text's content words that are "
    "in the text that it was to retell. None of them is a goal: copying the source has the best of the last.",
)


def frame(
    results: Results, domains: Mapping[str, Domain], estimator: str = "mean", resamples: int = 10_000
) -> pd.DataFrame:
    """One row per writing benchmark, method and measure (columns `COLUMNS`), with the score of the overview first.

    Measures that an evaluation does not hold, as those of older versions, are left out.
    """
    rows = []
    for name, domain in domains.items():
        if not domain.source_field:
            continue
        score = overview_metric(domain)
        for method in results.methods(name):
            samples = results.of(name, method)
            found = {
                score.name: _over_samples(samples, f"metric.{score.name}", estimator, resamples),
                PERPLEXITY.name: _perplexity(samples, estimator, resamples),
                REPETITION.name: _over_samples(samples, "text.repetition", estimator, resamples),
                DISTINCT.name: _of_runs(results, name, method, estimator, resamples),
                OVERLAP.name: _over_samples(samples, "text.overlap", estimator, resamples),
            }
            rows += [estimate_row(name, method, key, value) for key, value in found.items() if value is not None]
    return pd.DataFrame(rows, columns=COLUMNS)


def measured(table: pd.DataFrame, domain: str) -> bool:
    """Whether a frame holds more of a domain than its score."""
    return bool((table["domain"].eq(domain) & table["metric"].isin([metric.name for metric in MEASURES])).any())


def display_frame(table: pd.DataFrame, domain: Domain) -> pd.DataFrame:
    """One domain as text: a line per method, a column per measure, headers with unit and direction."""
    own = table[table["domain"] == domain.name]
    score = overview_metric(domain)
    columns = [metric for metric in (score, *MEASURES) if metric.name in set(own["metric"])]
    records = []
    for method in dict.fromkeys(own["method"]):
        cells = own[own["method"] == method].set_index("metric")
        record = {"Method": ROWS[method].label}
        for metric in columns:
            record[_head(metric)] = _cell(cells.loc[metric.name], metric) if metric.name in cells.index else "–"
        records.append(record)
    return pd.DataFrame(records)


def markdown(table: pd.DataFrame, domains: Mapping[str, Domain]) -> str:
    """The table as Markdown, a benchmark under each heading with its caution; a sentence where there is none."""
    blocks = ["# Texts beside their score"]
    shown = [domain for name, domain in domains.items() if measured(table, name)]
    for domain in shown:
        blocks += [f"## {domain.title}", *([caution(domain)] if domain.caution else [])]
        blocks.append(table_text.aligned(display_frame(table, domain), left=1))
    if shown:
        blocks.append(table_text.listed(NOTES))
    else:
        blocks.append("No writing benchmark, or none that was evaluated with these measures: evaluate again for them.")
    return "\n\n".join(blocks) + "\n"


def caution(domain: Domain) -> str:
    """What a domain's main metric does not see, as a sentence that begins with its name."""
    return f"{domain.title}: {domain.caution}."


def cautions(domains: Mapping[str, Domain], table: pd.DataFrame) -> list[str]:
    """The cautions of the domains that have one; where texts are measured, with the place of their measures."""
    return [
        caution(domain) + (" Beside it: text_quality.md." if measured(table, name) else "")
        for name, domain in domains.items()
        if domain.caution
    ]


def _over_samples(samples: pd.DataFrame, column: str, estimator: str, resamples: int) -> Estimate | None:
    if column not in samples or samples[column].isna().any():
        return None
    return _estimate(statistics.score_matrix(samples, column), estimator, resamples)


def _perplexity(samples: pd.DataFrame, estimator: str, resamples: int) -> Estimate | None:
    """exp of the estimate of nats per token; samples without a word have none and are left out of their task's mean."""
    column = "text.nats_per_token"
    if column not in samples or samples[column].isna().all():
        return None
    spoken = samples.dropna(subset=column)
    tasks = spoken.groupby("seed")["task"].agg(set)
    everywhere = set.intersection(*tasks)
    if not everywhere or set(tasks.index) != set(samples["seed"]):
        return None
    value = _estimate(statistics.score_matrix(spoken[spoken["task"].isin(everywhere)], column), estimator, resamples)
    point, low, high = (math.exp(end) for end in (value.point, value.low, value.high))
    return Estimate(point, low, high, value.interval, value.seeds, value.tasks, value.samples)


def _of_runs(results: Results, domain: str, method: str, estimator: str, resamples: int) -> Estimate | None:
    """Distinct 2-grams: one number a run, so that seeds alone are drawn."""
    seeds = sorted(int(seed) for seed in results.of(domain, method)["seed"].unique())
    summaries = [results.records[domain, method, seed].get("summary", {}) for seed in seeds]
    values = [summary.get("text_quality", {}).get(DISTINCT.name) for summary in summaries]
    if any(value is None for value in values):
        return None
    matrix = statistics.ScoreMatrix(np.array(values, dtype=float)[:, None], tuple(seeds), ("all texts",), len(seeds))
    return _estimate(matrix, estimator, resamples)


def _estimate(matrix: statistics.ScoreMatrix, estimator: str, resamples: int) -> Estimate:
    rng, strata = np.random.default_rng(BOOTSTRAP_SEED), statistics.one_stratum(len(matrix.tasks))
    return statistics.estimate(matrix, rng, statistic=estimator, strata=strata, resamples=resamples)


def _head(metric: Metric) -> str:
    return f"{metric.label}{f' ({metric.unit})' if metric.unit else ''} {'↑' if metric.higher_is_better else '↓'}"


def _cell(row: pd.Series, metric: Metric) -> str:
    def written(value: float) -> str:
        if metric is PERPLEXITY:
            return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        return number(value, metric)

    interval = f" [{written(row['low'])}, {written(row['high'])}]" if pd.notna(row["low"]) else ""
    return written(row["point"]) + interval
