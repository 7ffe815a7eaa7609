"""Performance profiles of a study: how many runs of a method score above a level, over all benchmarks."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from collm.domains import get
from collm.methods.registry import ROWS
from collm.report.claims.declared import Claims
from collm.report.claims.study import Study
from collm.report.figures import COLOURS, STYLE
from collm.report.statistics import performance_profile, resample

LEVELS = np.linspace(0.0, 100.0, 101)  # main metrics are percentages
RESAMPLES, BOOTSTRAP_SEED = 2000, 0
BAND = (0.025, 0.975)


def main_scores(study: Study, options: str) -> dict[str, np.ndarray]:
    """[seeds, benchmarks] of the main metric by row, of benchmarks and seeds that all rows shown have.

    A benchmark counts if every row that has any score has it; a seed if it has all of them.
    """
    domains = benchmarks(study, options)
    if not domains:
        return {}
    table = _table(study, options)
    methods = [name for name in ROWS if name in table]
    whole = table[[(name, domain) for name in methods for domain in domains]].dropna()
    return {name: whole[name][domains].to_numpy(dtype=float) for name in methods} if len(whole) else {}


def benchmarks(study: Study, options: str) -> list[str]:
    """The benchmarks of `main_scores`, in its order."""
    table = _table(study, options)
    methods = list(dict.fromkeys(table.columns.get_level_values("method")))
    found = study.frames["scores"]["domain"]
    return [name for name in dict.fromkeys(found) if methods and all((method, name) in table for method in methods)]


def _table(study: Study, options: str) -> pd.DataFrame:
    """Main metrics: a row per seed, a column per method and benchmark."""
    frame = study.frames["scores"]
    frame = frame[frame["options"] == options]
    pairs = zip(frame["domain"], frame["metric"], strict=True)
    main = np.array([metric == get(domain).metrics[0].name for domain, metric in pairs], dtype=bool)
    frame = frame[main]
    return frame.pivot_table(index="seed", columns=["method", "domain"], values="value")


@matplotlib.rc_context(STYLE)
def profiles(claims: Claims, study: Study) -> Figure:
    """A panel per set of options: share of runs above a level, with 95 % bands over seeds (stratified by benchmark)."""
    figure = Figure(figsize=(4.2 * len(claims.options), 3.4), layout="constrained")
    grid = figure.subplots(1, len(claims.options), squeeze=False, sharey=True)
    handles: dict[str, Line2D] = {}
    for axes, options in zip(grid[0], claims.options, strict=True):
        for name, scores in main_scores(study, options).items():
            handles[name] = _draw(axes, name, scores)
        axes.set_title(f"Options {options}" + ("" if axes.lines else ": not run"))
        axes.set_xlabel("Level of the main metric (%)")
    grid[0, 0].set_ylabel("Share of runs above the level")
    if handles:
        shown = [name for name in ROWS if name in handles]
        labels = [ROWS[name].label for name in shown]
        figure.legend([handles[name] for name in shown], labels, loc="outside lower center", ncols=4)
    return figure


def _draw(axes: Axes, name: str, scores: np.ndarray) -> Line2D:
    """One row's profile; returns its line."""
    colour = COLOURS[name]
    line = axes.plot(LEVELS, performance_profile(scores.reshape(-1), LEVELS), color=colour, linewidth=1.3)[0]
    if len(scores) > 1:
        low, high = bands(scores)
        axes.fill_between(LEVELS, low, high, color=colour, alpha=0.12, linewidth=0)
    return line


def bands(scores: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """[2, levels] ends of the 95 % interval of a profile of [seeds, benchmarks]; each benchmark draws its own seeds."""
    parts = []
    for level in levels:
        drawn = resample(
            (scores > level).astype(float)[None],
            np.random.default_rng(BOOTSTRAP_SEED),
            lambda cells: cells.mean(axis=-1),
            resamples=RESAMPLES,
        )
        parts.append(np.quantile(drawn[0], BAND) if drawn is not None else (np.nan, np.nan))
    return np.array(parts).T
