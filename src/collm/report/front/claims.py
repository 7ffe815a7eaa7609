"""What was run on what, and what the numbers say about it, in sentences that follow from the tables alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

import pandas as pd

from collm.domains.base import Domain
from collm.methods.registry import METHODS, ROWS
from collm.report.results import Results
from collm.report.tables import number, overview_metric


def counted(results: Results) -> str:
    """Methods and baselines of some results by name, benchmarks and seeds counted."""
    rows, seeds = {method for _, method, _ in results.records}, {seed for *_, seed in results.records}
    names = [name for name in ROWS if name in rows]
    kinds = {
        "Trained methods": [ROWS[name].label for name in names if name in METHODS],
        "Baselines": [ROWS[name].label for name in names if name not in METHODS],
    }
    listed = "".join(f"{kind}: {', '.join(labels)}. " for kind, labels in kinds.items() if labels)
    return f"{listed}{_count(len(results.domains()), 'benchmark')}, {_count(len(seeds), 'seed')}."


def who_reads_whom(results: Results) -> str:
    """Whether agents read each other, which is so in baselines that are not decentralised alone."""
    rows = {method for _, method, _ in results.records}
    others = [row.label for name, row in ROWS.items() if name in rows and not row.decentralised]
    words = "The agents of a team answer in parallel and share one reward; none reads another one's answer"
    return f"{words}, but in {' and '.join(others)}." if others else f"{words}."


def what_it_is(domain: Domain) -> str:
    """The first sentence of a domain's own description, what its team does."""
    return (inspect.getdoc(type(domain)) or "").split("\n\n")[0].replace("\n", " ")


def setting(results: Results, domain: str, label: str) -> dict[str, str]:
    """Data, models, sizes and machine of a benchmark, by heading; `label` says where rows and models are from."""
    manifest = results.manifests[domain]
    records = [record for (name, *_), record in results.records.items() if name == domain]
    samples = results.samples[results.samples["domain"] == domain]
    per_task = samples.groupby(["method", "seed", "task"]).size()
    low, high = int(per_task.min()), int(per_task.max())
    rows = {name: split["rows"] for name, split in manifest["splits"].items()}
    facts = {
        "Data and models": label,
        "Tasks": ", ".join(f"{count} to {name}" for name, count in rows.items()),
        "Samples": f"{low if low == high else f'{low} to {high}'} per test task",
        "Seeds": ", ".join(str(seed) for seed in sorted(samples["seed"].unique())),
        "Licence": manifest.get("licence", "not stated"),
        "Machine": _each(record.get("device_name") for record in records),
        "Code": _each((record.get("git_commit") or "not in git")[:12] for record in records),
    }
    return {name: value for name, value in facts.items() if value}


def claims(main: pd.DataFrame, differences: pd.DataFrame, domains: Mapping[str, Domain]) -> list[str]:
    """One sentence per domain: which trained method stands first, and whether training moved it from its start."""
    return [
        sentence
        for name in dict.fromkeys(main["domain"])
        if (sentence := _claim(main[main["domain"] == name], differences, domains[name]))
    ]


def _claim(rows: pd.DataFrame, differences: pd.DataFrame, domain: Domain) -> str:
    metric = overview_metric(domain)
    own = rows[(rows["metric"] == metric.name) & rows["method"].isin(METHODS)].dropna(subset="point")
    if own.empty:
        return ""
    best = own.sort_values("point", ascending=not metric.higher_is_better, kind="stable").iloc[0]
    unit = f" {metric.unit}" if metric.unit else ""
    most = f", the {'highest' if metric.higher_is_better else 'lowest'} of the trained methods" if len(own) > 1 else ""
    label = ROWS[best["method"]].label
    sentence = f"{domain.title}: {metric.label} of {label} is {number(best['point'], metric)}{unit}{most}"
    order = _order(own, best)
    ours = differences["method"].eq(best["method"]) & differences["metric"].eq(metric.name)
    change = differences[ours & differences["domain"].eq(domain.name)]
    if change.empty:
        return f"{sentence}.{order}"
    row = change.iloc[0]
    points = " points" if metric.unit == "%" else unit
    moved = f"that is {row['point']:+.3g}{points} against {ROWS[row['reference']].label}"
    moved += f", 95 % interval {row['low']:+.3g} to {row['high']:+.3g}"
    if not (row["low"] > 0 or row["high"] < 0):
        moved += ", which shows no change: the interval holds 0"
    return f"{sentence}; {moved}{_few(int(row['seeds']))}.{order}"


def _order(rows: pd.DataFrame, best: pd.Series) -> str:
    """Which other methods cannot be told from the best one, because their intervals overlap."""
    others = rows[rows["method"] != best["method"]]
    close = others[(others["low"] <= best["high"]) & (others["high"] >= best["low"])]
    if close.empty:
        return ""
    *labels, last = [ROWS[name].label for name in ROWS if name in set(close["method"])]
    those = f"those of {', '.join(labels)} and {last}" if labels else f"that of {last}"
    return f" Its interval overlaps with {those}: their order is not settled."


def _few(seeds: int) -> str:
    """What an interval over few seeds is worth."""
    if seeds == 1:
        return " (1 seed: this speaks for one run alone)"
    return f" ({seeds} seeds: read the interval as a range)" if seeds < 5 else ""


def _each(values: Iterable[str | None]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _count(number_of: int, word: str) -> str:
    return f"{number_of} {word}{'' if number_of == 1 else 's'}"
