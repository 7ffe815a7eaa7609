"""What stands below the two figures of a study: runs, benchmarks and tasks behind them, and what bars and bands are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collm.domains import title
from collm.report.claims.declared import Claims
from collm.report.claims.profiles import benchmarks, main_scores
from collm.report.claims.study import Study
from collm.report.claims.verdicts import Verdict
from collm.report.evidence.captions import joined, plural, span


def forest(claims: Claims, found: Sequence[Verdict], study: Study) -> str:
    """Of `forest.forest`."""
    seeds = span(one.seeds for verdict in found for one in verdict.readings if one.seeds)
    return joined(
        f"The paper's claims, line by line: a row of panels per claim and measure, one for each set of options "
        f"({', '.join(claims.options)})",
        "A line compares two methods seed by seed on one benchmark, or measures one method",
        _tasks(study),
        f"n = {seeds} {plural(seeds, 'seed')} a line: dots are means over seeds, bars 95 % intervals (Student's t "
        "over seeds, before Holm's correction for the number of claims)"
        if seeds
        else "Nothing was run, so there is no n",
        "Shaded: where the mean lies if the claim is right",
    )


def profiles(claims: Claims, study: Study) -> str:
    """Of `profiles.profiles`."""
    return joined(
        "Performance profiles (arXiv 2108.13264): the share of runs, over all benchmarks, whose main metric ends above "
        "a level; a curve that lies above another one everywhere is better",
        *(f"Options {name}: {_runs(study, name)}" for name in claims.options),
        _tasks(study),
        "Bands: 95 % bootstrap over seeds, drawn anew for every benchmark; none with a single seed",
    )


def _runs(study: Study, options: str) -> str:
    scores = main_scores(study, options)
    if not scores:
        return "not run"
    seeds, count = next(iter(scores.values())).shape
    names = ", ".join(map(title, benchmarks(study, options)))
    return f"n = {seeds} {plural(str(seeds), 'seed')} × {count} {plural(str(count), 'benchmark')} ({names}) a curve"


def _tasks(study: Study) -> str:
    """How many test tasks a score is the mean of, by benchmark."""
    frame = study.frames["tasks"]
    pairs: Iterable[tuple[str, str]] = zip(frame["domain"], frame["values"], strict=True)
    counts: dict[str, set[int]] = {}
    for domain, values in pairs:
        counts.setdefault(domain, set()).add(len(str(values).split()))
    if not counts:
        return "Scores are means over the test tasks of a benchmark; how many there were was not recorded"
    listed = ", ".join(f"{title(domain)} {span(found)}" for domain, found in counts.items())
    return f"Scores are means over the test tasks of a benchmark: {listed}"
