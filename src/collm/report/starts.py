"""Did a run end above or below what it started from? The rewards of both, and the mark of those that ended below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from collm.domains import title
from collm.methods.registry import METHODS, ROWS, UNTRAINED, WARM_STARTS
from collm.report import statistics, tables
from collm.report.results import Results

MARK = "†"
FIRST = "its first evaluation"
ROUNDING = 1e-9  # differences below this are none


@dataclass(frozen=True)
class Outcome:
    """Mean rewards of one run's start and of its end, raw, of the last turn; `origin` says where the first is from."""

    domain: str
    method: str
    seed: int
    start: float
    end: float
    origin: str

    @property
    def below(self) -> bool:
        """Whether the run ended below its start, by more than rounding."""
        return self.end < self.start - ROUNDING


def outcomes(results: Results) -> list[Outcome]:
    """Start and end of every run that training made, in the order of the tables.

    The start is the row that the run began from (`tables.reference`), with the same seed and in the same final
    evaluation. Where that row is not there, a method's first and last evaluation in training are compared.
    """
    found = []
    for domain in results.domains():
        for method in results.methods(domain):
            for seed in results.of(domain, method)["seed"].unique():
                found.append(_outcome(results, domain, method, int(seed)))
    return [outcome for outcome in found if outcome is not None]


def below(found: Iterable[Outcome]) -> set[tuple[str, str]]:
    """(domain, method) of the rows of which a run ended below its start."""
    return {(outcome.domain, outcome.method) for outcome in found if outcome.below}


def counted(main: pd.DataFrame, found: Iterable[Outcome]) -> pd.DataFrame:
    """The main frame with a column `seeds_below_start`; empty for rows whose start is not known."""
    counts: dict[tuple[str, str], int] = {}
    for outcome in found:
        key = outcome.domain, outcome.method
        counts[key] = counts.get(key, 0) + outcome.below
    cells = [counts.get(key) for key in zip(main["domain"], main["method"], strict=True)]
    return main.assign(seeds_below_start=pd.array(cells, dtype="Int64"))


def notes(found: Sequence[Outcome]) -> list[str]:
    """One sentence per marked row, which runs ended below their start and by how much, then where to read on."""
    sentences = []
    for domain, method in dict.fromkeys((outcome.domain, outcome.method) for outcome in found):
        runs = [outcome for outcome in found if (outcome.domain, outcome.method) == (domain, method)]
        fallen = [outcome for outcome in runs if outcome.below]
        if fallen:
            start, end = (sum(values) / len(fallen) for values in zip(*((o.start, o.end) for o in fallen), strict=True))
            seeds = ", ".join(str(outcome.seed) for outcome in fallen)
            which = f"seed{'s' if len(fallen) > 1 else ''} {seeds}{f' of {len(runs)}' if len(runs) > 1 else ''}"
            sentences.append(
                f"{MARK} {title(domain)}, {ROWS[method].label}: mean reward {end:.3g}, below its start at {start:.3g} "
                f"({fallen[0].origin}; {which})."
            )
    return [*sentences, f"{MARK}: docs/health.md says what to look at."] if sentences else []


def _outcome(results: Results, domain: str, method: str, seed: int) -> Outcome | None:
    start = _start(results, domain, method, seed)
    if start is not None and (domain, start, seed) in results.records:
        before, after = _reward(results, domain, start, seed), _reward(results, domain, method, seed)
        return Outcome(domain, method, seed, before, after, ROWS[start].label)
    curves = results.curves
    own = curves[(curves["domain"] == domain) & (curves["method"] == method) & (curves["seed"] == seed)]
    tested = own.loc[own["event"] == "evaluation", "reward"]
    if len(tested) < 2:
        return None
    return Outcome(domain, method, seed, float(tested.iloc[0]), float(tested.iloc[-1]), FIRST)


def _start(results: Results, domain: str, method: str, seed: int) -> str | None:
    """The row that a run began from, if it is there."""
    if method in METHODS:
        warm = results.records[domain, method, seed]["config"]["warm_start"]["enabled"]
        row = tables.reference(results, domain, method)
        return row if row is not None and (row in WARM_STARTS) == warm else None
    if method not in WARM_STARTS:
        return None
    same = [row for row in tables.references(ROWS[method].single) if row in UNTRAINED]
    return next((row for row in same if row in results.methods(domain)), None)


def _reward(results: Results, domain: str, row: str, seed: int) -> float:
    """Mean over test tasks of their mean over samples."""
    return float(statistics.seed_scores(results.of(domain, row), "reward").loc[seed])
