"""Health of training runs as a figure: one panel per number, one line per run in the colour of its method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from collm.common.files import read_jsonl
from collm.domains import title
from collm.domains.base import Domain
from collm.methods.registry import METHODS, ROWS
from collm.report.evidence.pass_at_k import frame as pass_at_k
from collm.report.figures import COLOURS, STYLE, smoothed
from collm.report.results import Results
from collm.runs.health import mean

LOWEST = -1.0  # explained variance below it is drawn at the edge


@dataclass(frozen=True)
class Panel:
    """One number over a run: the mean over members of "metric/member" in the lines of `event`, times `factor`."""

    title: str
    event: str
    metric: str
    members: str = ""  # what their names begin with
    factor: float = 1.0
    absent: str = "not measured"
    log: bool = False


PANELS = (
    Panel("Entropy (nats per token)", "update", "entropy"),
    Panel("KL to the start (nats per token)", "evaluation", "kl_to_start"),
    Panel("Response length (tokens)", "update", "length"),
    Panel("Explained variance of critics", "update", "explained_variance", absent="no critics"),
    Panel("Invalid responses (%)", "rollout", "invalid", factor=100.0),
    Panel("Gradient norm of agents, before clipping", "update", "gradient_norm", members="agent", log=True),
    Panel("Zero advantages (%)", "update", "zero_advantage_share", factor=100.0),
    Panel("Return of training rollouts", "rollout", "return"),
)
SIGNED = ("kl_to_start", "return")  # their axes need not begin at 0


@matplotlib.rc_context(STYLE)
def health(results: Results, of: Domain, estimator: str = "mean", resamples: int = 10_000) -> Figure:
    """Small multiples over updates for all trained runs of a domain; evaluations as points, the rest smoothed.

    Where tasks are passed or failed a last panel has pass@k of the final evaluation over k, baselines included.
    """
    domain = of.name
    passed = pass_at_k(results, of, estimator, resamples)
    columns = 4 if passed.empty else 3
    lines_of_panels = math.ceil((len(PANELS) + (not passed.empty)) / columns)
    figure = Figure(figsize=(3.1 * columns, 2.6 * lines_of_panels + 0.3), layout="constrained")
    methods = [row for row in results.methods(domain) if row in METHODS]
    runs = {
        (method, int(seed)): read_jsonl(results.folders[domain, method, int(seed)] / "metrics.jsonl")
        for method in methods
        for seed in results.of(domain, method)["seed"].unique()
    }
    seeds = len({seed for _, seed in runs})
    grid = list(figure.subplots(lines_of_panels, columns).flat)
    for axes, panel in zip(grid, PANELS, strict=False):
        drawn = [_draw(axes, points(lines, panel), panel, method, seeds) for (method, _), lines in runs.items()]
        _finish(axes, panel, any(drawn))
    for axes in grid[-columns:]:
        axes.set_xlabel("Updates")
    if not passed.empty:
        _draw_passed(grid[-1], passed)
        methods = results.methods(domain)
    handles = [Line2D([], [], color=COLOURS[method], label=ROWS[method].label) for method in methods]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    figure.suptitle(
        f"{title(domain)}: health of the training runs, {seeds} seed{'' if seeds == 1 else 's'}", fontsize=10
    )
    return figure


def points(lines: Iterable[Mapping[str, Any]], panel: Panel) -> pd.DataFrame:
    """What a panel shows of a run's metrics: columns update (learnt from until then) and value."""
    begin = f"{panel.metric}/{panel.members}"
    update, rows = 0, []
    for line in lines:
        if line.get("event") == "update":
            update += 1
        whole = "" if panel.members else panel.metric  # of the team
        values = [value for name, value in line.items() if name.startswith(begin) or name == whole]
        if line.get("event") == panel.event and values:
            rows.append((update, panel.factor * mean(values)))
    return pd.DataFrame(rows, columns=["update", "value"])


def _draw(axes: Axes, found: pd.DataFrame, panel: Panel, method: str, seeds: int) -> bool:
    """Draw one run; whether there was anything."""
    if panel.log:
        found = found[found["value"] > 0]
    if found.empty:
        return False
    exact = panel.event == "evaluation"
    values = found["value"] if exact else smoothed(found["value"])
    axes.plot(
        found["update"],
        values,
        color=COLOURS[method],
        linewidth=1.4 if seeds == 1 else 0.7,
        alpha=1.0 if seeds == 1 else 0.7,
        marker="." if exact or len(found) == 1 else None,
        markersize=4,
    )
    return True


def _draw_passed(axes: Axes, passed: pd.DataFrame) -> None:
    for method, own in passed.groupby("method", sort=False):
        colour = COLOURS[str(method)]
        axes.fill_between(own["k"], own["low"], own["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(own["k"], own["point"], color=colour, linewidth=1.4, marker=".", markersize=5)
    axes.set_title("pass@k on test tasks (%)", fontsize=9)
    axes.set_xlabel("k samples")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_ylim(0, 100)


def _finish(axes: Axes, panel: Panel, drawn: bool) -> None:
    axes.set_title(panel.title, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if not drawn:
        axes.text(0.5, 0.5, panel.absent, transform=axes.transAxes, ha="center", va="center", color="#7F7F7F")
        axes.set_yticks([])
    elif panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif panel.metric == "explained_variance":
        axes.set_ylim(max(LOWEST, min(-0.05, axes.get_ylim()[0])), 1.0)
    elif panel.metric not in SIGNED:
        axes.set_ylim(bottom=0.0)
