"""The forest plot of claims: intervals over seeds against the regions that the claims name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator

from collm.domains import title
from collm.report.claims.declared import MEASURES, Claims
from collm.report.claims.tables import measure_words
from collm.report.claims.verdicts import AGAINST, NOT_RUN, OPEN, SUPPORTS, UNMEASURED, Reading, Verdict
from collm.report.figures import STYLE

COLOURS = {SUPPORTS: "#009E73", AGAINST: "#D55E00", OPEN: "#5F5F5F", UNMEASURED: "#8C8C8C", NOT_RUN: "#8C8C8C"}
REGION = "#DCEAF5"
# Inches: a line, what stands above and below the lines of a panel, the names of lines, a panel, what is between panels.
ROW, ABOVE, BELOW, NAMES, PANEL, BETWEEN = 0.17, 0.42, 0.42, 3.1, 3.2, 0.35
FOOT = 0.4  # the legend's

Panel = dict[str, list[Reading]]  # readings of one measure of one claim, by set of options


@matplotlib.rc_context(STYLE)
def forest(claims: Claims, found: Sequence[Verdict]) -> Figure:
    """A row of panels per claim and measure, with a panel per set of options; sets of a single part stand left."""
    panels = _panels(found)
    heights = [ROW * max(len(own) for own in panel.values()) for panel in panels.values()]
    width = NAMES + len(claims.options) * (PANEL + BETWEEN)
    height = sum(heights) + len(panels) * (ABOVE + BELOW) + FOOT
    figure = Figure(figsize=(width, height))
    verdicts = {(one.claim.id, one.options): one.verdict for one in found}
    titles = {claim.id: claim.title for claim in claims.claims}
    top = height
    for ((claim, _, _), panel), inches in zip(panels.items(), heights, strict=True):
        places = [name for name in panel if name not in claims.options] or list(claims.options)
        for column, name in enumerate(places):
            if name in panel:
                left = NAMES + column * (PANEL + BETWEEN)
                corner = (left / width, (top - ABOVE - inches) / height)
                axes = figure.add_axes((*corner, PANEL / width, inches / height))
                _draw(axes, panel[name], labelled=column == 0)
                head = f"{claim}: {titles[claim]}\noptions {name}: {verdicts[claim, name]}"
                axes.set_title(head, loc="left", fontsize=8)
        top -= ABOVE + inches + BELOW
    handles = [Patch(color=COLOURS[name], label=name) for name in (SUPPORTS, AGAINST, OPEN)]
    handles.append(Patch(color=REGION, label="where the claim says that the mean lies"))
    figure.legend(handles=handles, loc="lower center", ncols=4)
    return figure


def _panels(found: Sequence[Verdict]) -> dict[tuple[str, str, str | None], Panel]:
    panels: dict[tuple[str, str, str | None], Panel] = {}
    for verdict in found:
        for one in verdict.readings:
            panel = panels.setdefault((verdict.claim.id, one.line.measure, one.line.metric), {})
            panel.setdefault(verdict.options, []).append(one)
    return panels


def _draw(axes: Axes, readings: Sequence[Reading], labelled: bool) -> None:
    """One panel: the region of every line shaded, its interval on top."""
    ratio = MEASURES[readings[0].line.measure].ratio
    if ratio:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
    low, high = _limits(readings, ratio)
    for row, one in enumerate(readings):
        left, right = max(low, one.line.region.low), min(high, one.line.region.high)
        axes.barh(row, right - left, left=left, height=1.0, color=REGION, edgecolor=REGION, zorder=0)
        colour = COLOURS[one.state]
        if not one.seeds:
            axes.text(0.5, row, one.state, transform=axes.get_yaxis_transform(), ha="center", va="center", color=colour)
            continue
        if not math.isnan(one.low):
            axes.plot([max(low, one.low), min(high, one.high)], [row, row], color=colour, linewidth=1.6)
        axes.plot([one.estimate], [row], marker="o", markersize=4, color=colour)
    labels = [f"{title(one.line.domain)}: {one.line.compared}" for one in readings] if labelled else []
    axes.set_yticks(range(len(readings)), labels or [""] * len(readings), fontsize=7)
    axes.set_ylim(len(readings) - 0.5, -0.5)
    axes.set_xlim(low, high)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="x", labelsize=7)
    words = {measure_words(one) for one in readings}
    several = MEASURES[readings[0].line.measure].words.format(metric="the main metric")
    points = " (points)" if readings[0].line.measure == "difference" else ""  # all its metrics are percentages
    axes.set_xlabel((several if len(words) > 1 else words.pop()) + points, fontsize=7)


def _limits(readings: Sequence[Reading], ratio: bool) -> tuple[float, float]:
    """Ends of the axis: estimates, intervals and finite bounds of regions, and a little more."""
    numbers = [1.0 if ratio else 0.0]
    for one in readings:
        numbers += [one.estimate, one.low, one.high, one.line.region.low, one.line.region.high]
    finite = [math.log(number) if ratio else number for number in numbers if math.isfinite(number)]
    low, high = min(finite), max(finite)
    more = 0.08 * (high - low) or 0.5
    ends = (low - more, high + more)
    return (math.exp(ends[0]), math.exp(ends[1])) if ratio else ends
