"""What became of every method beside its start: arrows and stars for the cells of tables, and runs that ended below it.

The start is what `tables.reference` says: the warm-started team, the untrained one where there is no warm start. Arrows
and stars come from `tables.difference_frame`, which pairs seeds and tasks; a run is below its start if the mean reward
of its final samples is lower than that of the start's samples with the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from collm.domains import title
from collm.methods.registry import ROWS, UNTRAINED, WARM_STARTS
from collm.report import statistics
from collm.report.results import Results
from collm.report.tables import reference, references

UP, DOWN, SAME = "↑", "↓", "="
SIGNIFICANT = "*"
BELOW = "!"
ROUNDING = 1e-9  # differences below this are none


@dataclass(frozen=True)
class AgainstStart:
    """Marks by (domain, method, metric) and by (domain, method), and the sentences that explain them."""

    cells: Mapping[tuple[str, str, str], str]
    rows: Mapping[tuple[str, str], str]
    notes: tuple[str, ...]

    def cell(self, domain: str, method: str, metric: str) -> str:
        """What stands behind a number, with the space before it; "" where there is nothing to compare with."""
        mark = self.cells.get((domain, method, metric), "")
        return f" {mark}" if mark else ""

    def row(self, domain: str, method: str) -> str:
        """The same of a whole row: whether a run of it ended below its start."""
        mark = self.rows.get((domain, method), "")
        return f" {mark}" if mark else ""


NOTHING = AgainstStart({}, {}, ())


def against_start(results: Results, differences: pd.DataFrame) -> AgainstStart:
    """Marks for the tables of these results.

    Args:
        differences: of `tables.difference_frame`, with the domains' own metrics.
    """
    own = differences[~differences["metric"].isin(["reward", "tokens"])]
    marked = own[["domain", "method", "metric", "point", "low", "high"]].itertuples(index=False, name=None)
    cells = {(domain, method, metric): _mark(*estimate) for domain, method, metric, *estimate in marked}
    below = ended_below(results)
    notes = [*_legend(own), *_below_notes(below)]
    return AgainstStart(cells, {key: BELOW for key, seeds in below.items() if seeds}, tuple(notes))


def ended_below(results: Results) -> dict[tuple[str, str], list[int]]:
    """Seeds whose run ended with a lower mean reward than it started from, for every trained (domain, method).

    A warm start is held against the untrained row. Methods without a row that they start from are left out.
    """
    found = {}
    for domain in results.domains():
        for method in results.methods(domain):
            start = _start_of(results, domain, method)
            if start is not None:
                rewards = [seed_scores(results.of(domain, name), "reward") for name in (method, start)]
                after, before = (series.loc[rewards[0].index.intersection(rewards[1].index)] for series in rewards)
                found[domain, method] = [int(seed) for seed in after.index[after < before]]
    return found


def seed_scores(frame: pd.DataFrame, column: str) -> pd.Series:
    """The score of every run of one method: the mean over tasks of the means over samples, by seed."""
    matrix = statistics.score_matrix(frame, column)
    return pd.Series(matrix.values.mean(axis=1), index=pd.Index(matrix.runs, name="seed"))


def _start_of(results: Results, domain: str, method: str) -> str | None:
    """The row that a trained row is trained from; None for one that is not trained or whose start is not there."""
    if method in UNTRAINED:
        return None
    if method in WARM_STARTS:
        untrained = references(ROWS[method].single)[-1]
        return untrained if untrained in results.methods(domain) else None
    return reference(results, domain, method)


def _mark(point: float, low: float, high: float) -> str:
    """Where a number moved, and whether its interval leaves out zero."""
    arrow = SAME if abs(point) < ROUNDING else UP if point > 0 else DOWN
    return arrow + (SIGNIFICANT if low > 0 or high < 0 else "")


def _legend(differences: pd.DataFrame) -> list[str]:
    """How to read arrows and stars, and what they rest on."""
    if differences.empty:
        return []
    starts = " or ".join(ROWS[name].label for name in ROWS if name in set(differences["reference"]))
    seeds, tasks = int(differences["seeds"].min()), differences["tasks"].min()
    sentence = (
        f"{UP} {DOWN} {SAME}: above, below, equal to what training starts from ({starts}), same seeds and tasks; "
        f"{SIGNIFICANT}: the 95 % interval of that difference leaves out 0"
    )
    if seeds == 1:
        return [f"{sentence} (one seed, {tasks} test tasks or more: it speaks for this one run alone)."]
    few = ": it is then no wider than the runs themselves" if seeds < 5 else ""
    return [f"{sentence} (over {seeds} seeds{few})."]


def _below_notes(below: Mapping[tuple[str, str], list[int]]) -> list[str]:
    """One sentence that names all runs that ended below their start; none if none did."""
    runs: dict[str, list[str]] = {}
    for (domain, method), seeds in below.items():
        if seeds:
            which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            runs.setdefault(domain, []).append(f"{ROWS[method].label} ({which})")
    words = "; ".join(f"{title(domain)}: {', '.join(names)}" for domain, names in runs.items())
    return [f"{BELOW}: ended with a lower reward than it started from: {words}."] if runs else []
