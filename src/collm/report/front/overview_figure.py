"""The main figure: for every benchmark its metric of the overview, one dot per method with its 95 % interval."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS
from collm.report.figures import COLOURS, MARKERS, STYLE
from collm.report.tables import number, overview_metric

COLUMNS = 4
PANEL_WIDTH = 2.5  # inches


@matplotlib.rc_context(STYLE)
def overview(main: pd.DataFrame, domains: Mapping[str, Domain]) -> Figure:
    """One panel per domain of the main frame; all share their rows, the methods in the order of the tables."""
    names = list(dict.fromkeys(main["domain"]))
    present = set(main["method"])
    methods = [name for name in ROWS if name in present]
    columns = min(COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(1.6 + PANEL_WIDTH * columns, lines * (0.95 + 0.27 * len(methods))), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        _panel(axes, main[main["domain"] == name], domains[name], methods)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    panels[0][0].set_yticks(range(len(methods)), [ROWS[method].label for method in methods])
    return figure


@matplotlib.rc_context(STYLE)
def svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes every time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _panel(axes: Axes, rows: pd.DataFrame, domain: Domain, methods: list[str]) -> None:
    metric = overview_metric(domain)
    own = rows[rows["metric"] == metric.name].dropna(subset="point")
    estimates = own[["method", "point", "low", "high"]].itertuples(index=False, name=None)
    for method, point, low, high in estimates:
        place = methods.index(method)
        _dot(axes, place, method, point, (low, high))
        text = number(point, metric)
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=7)
    axes.set_title(domain.title)
    axes.set_xlabel(_words(metric), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.margins(x=0.12)
    if metric.unit == "%":  # room beside the dots, but no per cent that there are none of
        axes.set_xlim(*within(axes.get_xlim(), own[["point", "low", "high"]].to_numpy()))
    axes.set_ylim(len(methods) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)


def within(limits: tuple[float, float], shown: np.ndarray) -> tuple[float, float]:
    """Ends of an axis in per cent: `limits`, not below 0 or beyond 100 unless something shown is."""
    low, high = min(0.0, np.nanmin(shown, initial=0.0)), max(100.0, np.nanmax(shown, initial=100.0))
    return max(limits[0], low), min(limits[1], high)


def _dot(axes: Axes, place: int, method: str, point: float, interval: tuple[float, float]) -> None:
    if not math.isnan(interval[0]):
        axes.plot(interval, [place, place], color=COLOURS[method], linewidth=1.6, alpha=0.6)
    marker = MARKERS.get(method, "o")
    face = COLOURS[method] if method in MARKERS else "white"
    axes.plot(point, place, marker, color=face, markeredgecolor=COLOURS[method], markersize=6, clip_on=False)


def _words(metric: Metric) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit}, {'more' if metric.higher_is_better else 'less'} is better"
