"""Arrows and stars for the cells of tables: how every number moved from what training starts from.

The start is what `tables.reference` says: the warm-started team, the untrained one where there is no warm start. Arrows
and stars come from `tables.difference_frame`, which pairs seeds and tasks. `collm.report.starts` says which runs ended
below their start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from collm.methods.registry import ROWS
from collm.report import starts
from collm.report.starts import Outcome

UP, DOWN, SAME = "↑", "↓", "="
SIGNIFICANT = "*"


@dataclass(frozen=True)
class AgainstStart:
    """What tables say about the start: arrows of cells, rows of which a run ended below it, sentences on both.

    Attributes:
        cells: arrows and stars by (domain, method, metric).
        below: (domain, method) of the rows that are marked, as `starts.below` gives them.
        notes: sentences that explain the marks; none without marks.
    """

    cells: Mapping[tuple[str, str, str], str]
    below: Collection[tuple[str, str]]
    notes: Sequence[str]

    def cell(self, domain: str, method: str, metric: str) -> str:
        """What stands behind a number, with the space before it; "" where there is nothing to compare with."""
        mark = self.cells.get((domain, method, metric), "")
        return f" {mark}" if mark else ""


NOTHING = AgainstStart({}, (), ())


def against_start(differences: pd.DataFrame, outcomes: Sequence[Outcome]) -> AgainstStart:
    """Marks for the tables of some results.

    Args:
        differences: of `tables.difference_frame`, with the domains' own metrics.
        outcomes: of `starts.outcomes`.
    """
    own = differences[~differences["metric"].isin(["reward", "tokens"])]
    compared = own[["domain", "method", "metric", "point", "low", "high"]].itertuples(index=False, name=None)
    cells = {(domain, method, metric): _mark(*estimate) for domain, method, metric, *estimate in compared}
    return AgainstStart(cells, starts.below(outcomes), [*_legend(own), *starts.notes(outcomes)])


def _mark(point: float, low: float, high: float) -> str:
    """Where a number moved, and whether its interval leaves out zero."""
    arrow = SAME if abs(point) < starts.ROUNDING else UP if point > 0 else DOWN
    return arrow + (SIGNIFICANT if low > 0 or high < 0 else "")


def _legend(differences: pd.DataFrame) -> list[str]:
    """How to read arrows and stars, and what they rest on."""
    if differences.empty:
        return []
    references = " or ".join(ROWS[name].label for name in ROWS if name in set(differences["reference"]))
    seeds, tasks = int(differences["seeds"].min()), differences["tasks"].min()
    sentence = (
        f"{UP} {DOWN} {SAME}: above, below, equal to what training starts from ({references}), same seeds and tasks; "
        f"{SIGNIFICANT}: the 95 % interval of that difference leaves out 0"
    )
    if seeds == 1:
        return [f"{sentence} (one seed, {tasks} test tasks or more: it speaks for this one run alone)."]
    few = ": it is then no wider than the runs themselves" if seeds < 5 else ""
    return [f"{sentence} (over {seeds} seeds{few})."]
