"""Figures from results: learning curves and final bars, the same bytes whenever the same results come in.

A method has one colour and one marker in every figure, from a palette that readers with colour-blindness can
tell apart. Figures are built without pyplot, so no global state and no display is needed. `save` writes PNG
and SVG.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from collm.common.errors import DataError
from collm.common.files import write_atomic
from collm.domains import title
from collm.domains.base import Metric
from collm.methods.registry import METHODS, ROWS
from collm.report import statistics
from collm.report.evidence.captions import returns_at_evaluations
from collm.report.results import Results
from collm.report.tables import BOOTSTRAP_SEED, TIME, TOKENS, number, table_metrics


class WithSpares(Mapping[str, str]):
    """Every row's colour or marker: its own where it has one; the others take the spares in order, then over again.

    Rows may be added later, as plugins do.
    """

    def __init__(self, own: Mapping[str, str], spares: Sequence[str], rows: Mapping[str, object]):
        self.own, self.spares, self.rows = own, spares, rows

    def __getitem__(self, row: str) -> str:
        if row in self.own:
            return self.own[row]
        others = [name for name in self.rows if name not in self.own]
        if row not in others:
            raise KeyError(row)
        return self.spares[others.index(row) % len(self.spares)]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.own, **self.rows})

    def __len__(self) -> int:
        return len({**self.own, **self.rows})


_OWN_COLOURS = {
    "parallel": "#A6A6A6",
    "warm_start": "#5F5F5F",
    "warm_start_single": "#8C7A5B",
    "raw": "#CBBBA0",
    "pipeline": "#B08D57",
    "discussion": "#7A9A8B",
    "grpo": "#332288",
    "ac": "#882255",
    "magrpo": "#009E73",
    "mareinforce": "#E69F00",
    "marloo": "#CC79A7",
    "maremax": "#56B4E9",
    "collm_dc": "#0072B2",
    "collm_cc": "#D55E00",
}
_OWN_MARKERS = {
    "grpo": "X",
    "ac": "*",
    "magrpo": "^",
    "mareinforce": "v",
    "marloo": "D",
    "maremax": "P",
    "collm_dc": "s",
    "collm_cc": "o",
}
# For rows without an entry above; 6 and 7 have no common divisor, so that many rows pass before two look the same.
_SPARE_COLOURS = ("#44AA99", "#999933", "#661100", "#6699CC", "#DDCC77", "#AA4466")
_SPARE_MARKERS = ("p", "h", "d", "<", ">", "8", "H")
COLOURS = WithSpares(_OWN_COLOURS, _SPARE_COLOURS, ROWS)  # of every row of the tables
MARKERS = WithSpares(_OWN_MARKERS, _SPARE_MARKERS, METHODS)  # of every method; baselines have no curve
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.8,
    "svg.hashsalt": "collm",
    "svg.fonttype": "path",
    "savefig.dpi": 150,
}


@matplotlib.rc_context(STYLE)
def learning_curves(
    results: Results, domain: str, maximum: float, estimator: str = "mean", resamples: int = 10_000
) -> Figure:
    """Reward on the test split against joint actions evaluated in training, one line per trained method.

    Two seeds or more: estimate over seeds with its shaded 95 % interval. One seed: the evaluations, and
    behind them the training reward of every rollout (mean over its turns), smoothed. A dashed line from a star shows
    what the runs started from, as they measured it themselves. Domains of several turns have a second panel with the
    return. `maximum` is the largest reward of the domain. Raises DataError if a seed of a method was not evaluated
    where the others were.
    """
    curves = results.curves[results.curves["domain"] == domain]
    kinds = ["reward", *(["return"] if results.several_turns(domain) and curves["return"].notna().any() else [])]
    figure = Figure(figsize=(6.4 if len(kinds) == 1 else 10.2, 4.3), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        _draw_curves(axes, results, curves, kind, (estimator, resamples))
    last = " of the last turn\n" if len(kinds) > 1 else " "
    panels[0].set_ylabel(f"Mean reward{last}on test tasks (maximum {maximum:g})")
    if len(kinds) > 1:
        where = "test tasks" if returns_at_evaluations(curves) else "training tasks, smoothed"
        panels[1].set_ylabel(f"Mean return on {where}")
    figure.suptitle(title(domain), fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    if _seeds(curves) == 1:
        handles.append(Line2D([], [], color="#7F7F7F", alpha=0.45, linewidth=1.0))
        labels.append("training reward, smoothed")
    elif _seeds(curves):
        handles.append(Line2D([], [], color="#7F7F7F", alpha=0.3, linewidth=7))
        labels.append(f"95 % interval over {_seeds(curves)} seeds")
    columns = math.ceil(len(handles) / 2) if len(kinds) == 1 else len(handles)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4 * len(kinds), columns))
    return figure


@matplotlib.rc_context(STYLE)
def final_bars(main: pd.DataFrame, domain: str, metrics: Sequence[Metric]) -> Figure:
    """Bars of the main table's numbers with their intervals, a panel per metric, the domain's own first.

    Diamonds are the paper's values. Its response time is left out: it was measured on another machine.
    """
    rows = main[main["domain"] == domain]
    methods = list(dict.fromkeys(rows["method"]))
    columns = [metric for metric in table_metrics(metrics, set(rows["metric"])) if metric not in (TIME, TOKENS)]
    columns += [TOKENS, TIME]
    figure = Figure(figsize=(1.5 + 2.3 * len(columns), 1.5 + 0.34 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, columns, strict=True):
        own = rows[rows["metric"] == metric.name].set_index("method").loc[methods]
        _draw_bars(axes, own, metric)
    panels[0].set_yticks(range(len(methods)), [ROWS[method].label for method in methods])
    panels[0].invert_yaxis()
    seeds, kind = int(rows["seeds"].min()), rows.loc[rows["metric"] != "time_s", "interval"].iloc[0]
    note = f"{title(domain)}: {seeds} seed{'s' if seeds > 1 else ''}, whiskers: 95 % {kind}"
    figure.suptitle(note + ("; diamonds: the paper" if rows["paper"].notna().any() else ""), fontsize=10)
    return figure


@matplotlib.rc_context(STYLE)
def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` as stem.png (150 dpi) and stem.svg, atomically, without dates and version numbers."""
    written = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        written.append(write_atomic(stem.with_name(f"{stem.name}.{kind}"), buffer.getvalue()))
    return written


def evaluation_curve(
    curves: pd.DataFrame, estimator: str = "mean", resamples: int = 10_000, column: str = "reward"
) -> pd.DataFrame:
    """Evaluations of one method as columns env_step, point, low, high, one row per evaluation.

    Seeds are matched by training iteration, and the ends of their runs with each other: runs that end after a number of
    updates need more or fewer iterations for it where episodes stop early. What only the longer runs have before their
    end is left out. `column` is reward or return; env_step is the mean over seeds. With one seed low and high are NaN.
    Raises DataError if a seed was not evaluated at an iteration of the others.
    """
    evaluations = curves[curves["event"] == "evaluation"].drop_duplicates(["seed", "iteration"], keep="last")
    ends = evaluations.groupby("seed")["iteration"].transform("max")
    last = evaluations["iteration"] == ends
    evaluations = evaluations.assign(iteration=evaluations["iteration"].where(~last, ends.max()))
    evaluations = evaluations[last | (evaluations["iteration"] < ends.min())]
    rewards = evaluations.pivot(index="iteration", columns="seed", values=column).sort_index()
    steps = evaluations.pivot(index="iteration", columns="seed", values="env_step").sort_index()
    if rewards.isna().to_numpy().any():
        iteration = rewards.index[rewards.isna().any(axis="columns")][0]
        run = f"{curves['domain'].iloc[0]}/{curves['method'].iloc[0]}"
        raise DataError(f"{run}: not every seed was evaluated at iteration {iteration}; train them alike")
    rows = []
    seeds = tuple(int(seed) for seed in rewards.columns)
    for iteration, values in zip(rewards.index, rewards.to_numpy(dtype=float), strict=True):
        cells = statistics.ScoreMatrix(values[:, None], seeds, ("test split",), len(values))
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        value = statistics.estimate(cells, rng, statistic=estimator, resamples=resamples)
        rows.append((float(steps.loc[iteration].mean()), value.point, value.low, value.high))
    return pd.DataFrame(rows, columns=["env_step", "point", "low", "high"])


def smoothed(values: pd.Series) -> pd.Series:
    """Exponential moving average with a span of a sixth of the points, at least five."""
    return values.ewm(span=max(5.0, len(values) / 6)).mean()


def starts(results: Results, curves: pd.DataFrame, column: str = "reward") -> dict[str, float]:
    """What the runs of some curves started from, by row of the tables: the mean of their own evaluations at step 0.

    So it is measured on the tasks and samples of the curves. Teams share one start, and agents alone another.
    """
    first = curves[(curves["event"] == "evaluation") & (curves["env_step"] == 0)].dropna(subset=column)
    found: dict[str, list[float]] = {}
    for (domain, method), own in first.groupby(["domain", "method"], sort=False):
        records = [record for key, record in results.records.items() if key[:2] == (domain, method)]
        warm = any(record["config"].get("warm_start", {}).get("enabled") for record in records)
        team, alone = ("warm_start", "warm_start_single") if warm else ("parallel", "raw")
        found.setdefault(alone if ROWS[str(method)].single else team, []).append(float(own[column].mean()))
    return {row: float(np.mean(values)) for row, values in found.items()}


def _draw_curves(axes: Axes, results: Results, curves: pd.DataFrame, column: str, bootstrap: tuple[str, int]) -> None:
    """All methods in one panel; returns that no evaluation holds are those of training, a line per run."""
    of_rollouts = column == "return" and not returns_at_evaluations(curves)
    for method in [name for name in ROWS if name in set(curves["method"])]:
        own = curves[curves["method"] == method]
        if of_rollouts:
            _draw_rollouts(axes, own, column, 0.9)
        else:
            _draw_method(axes, own, column, bootstrap)
    for row, level in {} if of_rollouts else starts(results, curves, column).items():
        axes.axhline(level, color=COLOURS[row], linestyle="--", linewidth=1.2)
        look: dict[str, Any] = {
            "color": COLOURS[row],
            "linestyle": "--",
            "linewidth": 1.2,
            "marker": "*",
            "markersize": 14,
        }
        axes.plot([0], [level], **look, markeredgecolor="white", zorder=5, clip_on=False, label=ROWS[row].label)
    axes.set_xlabel("Environment steps (joint actions whose reward was evaluated)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    end = float(curves["env_step"].max()) if len(curves) else 1.0
    axes.set_xlim(-0.01 * end, 1.01 * end)


def _draw_method(axes: Axes, curves: pd.DataFrame, column: str, bootstrap: tuple[str, int]) -> None:
    method = str(curves["method"].iloc[0])
    line = evaluation_curve(curves, *bootstrap, column)
    if _seeds(curves) == 1:
        _draw_rollouts(axes, curves, column, 0.3)
    else:
        axes.fill_between(line["env_step"], line["low"], line["high"], color=COLOURS[method], alpha=0.18, linewidth=0)
    axes.plot(
        line["env_step"],
        line["point"],
        color=COLOURS[method],
        marker=MARKERS[method],
        markersize=5,
        linewidth=1.6,
        label=ROWS[method].label,
    )


def _draw_rollouts(axes: Axes, curves: pd.DataFrame, column: str, alpha: float) -> None:
    """A thin line per run: the training rollouts, smoothed."""
    rollouts = curves[curves["event"] == "rollout"].dropna(subset=column)
    for _, own in rollouts.sort_values("env_step").groupby("seed"):
        colour = COLOURS[str(own["method"].iloc[0])]
        dot = "." if len(own) == 1 else None  # a line of one point cannot be seen
        axes.plot(own["env_step"], smoothed(own[column]), color=colour, alpha=alpha, linewidth=1.0, marker=dot)


def _draw_bars(axes: Axes, rows: pd.DataFrame, metric: Metric) -> None:
    places = np.arange(len(rows))
    axes.barh(places, rows["point"], color=[COLOURS[method] for method in rows.index], height=0.68)
    whiskers = rows["low"].notna().to_numpy()
    ends = rows["high"].fillna(rows["point"]).to_numpy()
    if whiskers.any():
        some = rows[whiskers]
        sides = np.maximum([some["point"] - some["low"], some["high"] - some["point"]], 0)
        axes.errorbar(some["point"], places[whiskers], xerr=sides, fmt="none", ecolor="black", capsize=2)
    if metric is not TIME and rows["paper"].notna().any():
        axes.plot(rows["paper"], places, "D", markersize=4.5, color="white", markeredgecolor="black")
        ends = np.fmax(ends, rows["paper"].to_numpy(dtype=float))
    for place, (point, end) in enumerate(zip(rows["point"], np.fmax(ends, 0.0), strict=True)):
        if np.isfinite(point):  # right of its bar, whisker and diamond, outside of the axes if need be
            beside: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "annotation_clip": False}
            axes.annotate(number(point, metric), (end, place), **beside, va="center", fontsize=7.5)
    lowest = np.nanmin([0.0, *rows["point"], *rows["low"]])
    axes.set_xlim(*bar_range(lowest, np.nanmax([0.0, *ends]), metric.unit))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
    axes.set_title("higher is better" if metric.higher_is_better else "lower is better", fontsize=8)
    if axes.get_xlim() == (0.0, 100.0):
        axes.set_xticks([0, 25, 50, 75, 100])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def bar_range(lowest: float, highest: float, unit: str) -> tuple[float, float]:
    """Ends of the axis of bars between `lowest` (at most 0) and `highest`: per cent from 0 to 100, or to a bit more
    than the longest bar where that is below 20."""
    if unit == "%" and lowest == 0 and (highest == 0 or 20 <= highest <= 100):
        return 0.0, 100.0
    return 1.1 * lowest, 1.3 * highest or 1.0


def _seeds(curves: pd.DataFrame) -> int:
    return int(curves["seed"].nunique())
