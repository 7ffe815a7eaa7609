"""How far response times can be trusted: how many tasks were timed, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collm.domains import title
from collm.methods.registry import ROWS
from collm.report.results import Results


def notes(results: Results) -> list[str]:
    """One sentence per domain: tasks timed in a run, and the standard deviation between them by method."""
    return [f"{title(domain)}: {sentence(results, domain)}" for domain in results.domains()]


def sentence(results: Results, domain: str) -> str:
    """What one domain's times come from, in words."""
    runs = {key: record.get("latency", {}) for key, record in results.records.items() if key[0] == domain}
    counts = sorted({int(latency.get("tasks", 0)) for latency in runs.values()})
    if counts[-1] == 0:
        return "no task was timed."
    words = f"{counts[0] if counts[0] == counts[-1] else f'{counts[0]} to {counts[-1]}'} task{'s'[: counts[-1] != 1]}"
    spreads = []
    for method in results.methods(domain):
        spread = deviation([latency.get("per_task", []) for key, latency in runs.items() if key[1] == method])
        if spread is not None:
            spreads.append(f"{ROWS[method].label} {spread:.2g} s")
    if not spreads:
        return f"time of {words} per run, without a spread between tasks: read it as an order of magnitude."
    return f"time of {words} per run; standard deviation between tasks: {', '.join(spreads)}."


def deviation(times: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation between the tasks of a run in seconds, pooled over runs; None where no run timed two tasks.

    Args:
        times: seconds per turn of every timed task, [runs][tasks].
    """
    several = [np.asarray(run, dtype=float) for run in times if len(run) > 1]
    if not several:
        return None
    squares = sum(float(((run - run.mean()) ** 2).sum()) for run in several)
    return float(np.sqrt(squares / sum(len(run) - 1 for run in several)))
