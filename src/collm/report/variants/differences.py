"""Variants beside the reference, the first of them: paired differences, and how likely a run of theirs ends higher.

A difference is that of `statistics.difference`: the same method with the same seeds on the same test tasks, so that
what a seed or a task does to both cancels out. The probability of improvement is that of
`collm.report.improvement`, any seed of the variant against any seed of the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from collm.domains import title
from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS
from collm.report import improvement, tables
from collm.report.results import Results
from collm.report.statistics import Estimate, seed_scores
from collm.report.table_text import ABSENT, aligned, listed

COLUMNS = [
    *("domain", "method", "variant", "reference", "metric", "value", "reference_value"),
    *tables.ESTIMATE,
    *("probability", "probability_low", "probability_high", "above"),
]
REWARD = Metric("reward", "Reward", "", higher_is_better=True)


def frame(
    results: Mapping[str, Results], domains: Mapping[str, Domain], estimator: str = "mean", resamples: int = 10_000
) -> pd.DataFrame:
    """One row per domain, method, variant and metric (columns `COLUMNS`); `point` is the variant minus the reference.

    Metrics are the reward, the cost, and those of the domain's table; `above` counts the seeds whose run of the variant
    scored higher than that of the reference. Pairs with other test rows or without a common seed are left out (see
    `not_compared`).

    Args:
        results: by variant, the reference first.
        domains: built with the options of the reference.
    """
    reference = next(iter(results))
    rows = []
    for domain, method, variant in _pairs(results):
        if _obstacle(results, domain, method, variant):
            continue
        ours, theirs = (results[name] for name in (variant, reference))
        metrics = [
            metric
            for metric in tables.possible_metrics(ours, domains[domain], theirs)
            if metric.name not in (REWARD.name, tables.TOKENS.name)
        ]
        sides = (ours.of(domain, method), theirs.of(domain, method))
        found = tables.paired_differences(*sides, metrics, estimator, resamples)
        for metric in (REWARD, tables.TOKENS, *metrics):
            rows.append(_row(sides, metric, found[metric.name], (domain, method, variant, reference), resamples))
    return pd.DataFrame(rows, columns=COLUMNS)


def not_compared(results: Mapping[str, Results]) -> list[str]:
    """A sentence for every run of a variant that is not paired with one of the reference."""
    found = ((pair, _obstacle(results, *pair)) for pair in _pairs(results))
    return [f"{variant}, {domain}/{method}: {words}" for (domain, method, variant), words in found if words]


def markdown(table: pd.DataFrame, domains: Mapping[str, Domain], reference: str, sentences: list[str]) -> str:
    """The table for people, with notes: the reward, and each domain's metric of the overview."""
    records = []
    for key, rows in table.groupby(["domain", "method", "variant"], sort=False):
        domain, method, variant = (str(part) for part in key)
        metric = tables.overview_metric(domains[domain])
        reward, value = (rows[rows["metric"] == name].iloc[0] for name in (REWARD.name, metric.name))
        record = {"Benchmark": title(domain), "Method": ROWS[method].label, "Variant": variant}
        record |= _cells(reward, REWARD, "Reward")
        head = f"{metric.label}{f' ({metric.unit})' if metric.unit else ''} {'↑' if metric.higher_is_better else '↓'}"
        record |= {"Metric": head} | _cells(value, metric, "Metric")
        records.append(record | {"n": tables.counted(reward)})
    shown = aligned(pd.DataFrame(records), left=3) if records else "No run is paired with one of the reference."
    notes = (
        f"Reference: {reference}, the first variant. Δ: the variant minus the reference, the same seeds and test tasks "
        "on both sides [95 % bootstrap interval over seeds; of one seed over test tasks].",
        "P: the probability that a run of the variant ends above a run of the reference, any seed against any seed, "
        "ties counting half [95 % bootstrap interval over seeds]; 0.5 says no difference, one seed gives none.",
        "n: seeds × test tasks × samples of a task. All metrics: variants.csv.",
        *(f"Not compared: {sentence}" for sentence in sentences),
    )
    return f"# Variants\n\n{shown}\n\n{listed(notes)}\n"


def _pairs(results: Mapping[str, Results]) -> Iterator[tuple[str, str, str]]:
    """(domain, method, variant) of everything that any variant but the reference has."""
    others = list(results)[1:]
    for domain in dict.fromkeys(domain for own in results.values() for domain in own.domains()):
        for method in ROWS:
            yield from ((domain, method, name) for name in others if method in results[name].methods(domain))


def _obstacle(results: Mapping[str, Results], domain: str, method: str, variant: str) -> str:
    """Why a run of a variant cannot be paired; "" if it can."""
    ours, theirs = results[variant], next(iter(results.values()))
    if method not in theirs.methods(domain):
        return "the reference has no such run"
    sides = [side.of(domain, method) for side in (ours, theirs)]
    tests = [side.manifests[domain]["splits"]["test"] for side in (ours, theirs)]
    if tests[0] != tests[1] or {*sides[0]["task"]} != {*sides[1]["task"]}:
        return "its test tasks are not those of the reference"
    return "" if {*sides[0]["seed"]} & {*sides[1]["seed"]} else "it shares no seed with the reference"


def _row(
    sides: Sequence[pd.DataFrame], metric: Metric, difference: Estimate, key: tuple[str, ...], resamples: int
) -> dict[str, object]:
    domain, method, variant, reference = key
    column = metric.name if metric in (REWARD, tables.TOKENS) else f"metric.{metric.name}"
    scores = [seed_scores(tables.with_draws(side, [metric]), column) for side in sides]
    paired = pd.concat(scores, axis="columns", join="inner").to_numpy(dtype=float).T
    sign = 1.0 if metric.higher_is_better else -1.0
    likely = improvement.summary(
        [improvement.Comparison(domain, method, reference, metric.name, sign * paired)], domain, metric.name, resamples
    )
    return {
        **tables.estimate_row(domain, method, metric.name, difference),
        "variant": variant,
        "reference": reference,
        "value": float(paired[0].mean()),
        "reference_value": float(paired[1].mean()),
        "probability": likely["probability"],
        "probability_low": likely["low"],
        "probability_high": likely["high"],
        "above": likely["above"],
    }


def _cells(row: pd.Series, metric: Metric, head: str) -> dict[str, str]:
    """Both values, the difference and the probability, each with its interval where there is one."""
    values = [tables.number(row[name], metric) for name in ("reference_value", "value")]
    low, high = (tables.number(row[name], metric) for name in ("low", "high"))
    interval = f" [{low}, {high}]" if pd.notna(row["low"]) else ""
    chance = ABSENT
    if pd.notna(row["probability"]):
        chance = f"{row['probability']:.2f} [{row['probability_low']:.2f}, {row['probability_high']:.2f}]"
    return {
        f"{head}: values": " → ".join(values),
        f"{head}: Δ": f"{row['point']:+.{tables.DECIMALS.get(metric.unit, 2)}f}{interval}",
        f"{head}: P": chance,
    }
