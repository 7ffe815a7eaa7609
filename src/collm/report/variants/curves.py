"""Learning curves of variants beside each other: a panel per method, a line per variant."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collm.common.errors import DataError
from collm.domains import title
from collm.methods.registry import METHODS, ROWS
from collm.report.figures import STYLE, evaluation_curve
from collm.report.results import Results

# Told apart by readers with colour-blindness; the reference is dark, whatever the others are.
COLOURS = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")  # 7 and 8: many variants pass before two look the same


@matplotlib.rc_context(STYLE)
def variant_curves(
    results: Mapping[str, Results], domain: str, maximum: float, estimator: str = "mean", resamples: int = 10_000
) -> Figure:
    """Reward on the test split against joint actions evaluated in training; bands are 95 % intervals over seeds.

    Args:
        results: by variant, the reference first.
        maximum: the largest reward of the domain, for the label of the axis.
    Raises:
        DataError: no run of the domain is trained, or a seed was not evaluated where the others were.
    """
    curves = {name: own.curves[own.curves["domain"] == domain] for name, own in results.items()}
    trained = {method for own in curves.values() for method in own["method"]}
    methods = [row for row in ROWS if row in METHODS and row in trained]
    if not methods:
        raise DataError(f"{domain}: no run is trained, so variants have no curves; name a method")
    figure = Figure(figsize=(1.2 + 3.4 * len(methods), 3.6), layout="constrained")
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    seeds = max(int(own["seed"].nunique()) for own in curves.values())
    for axes, method in zip(panels, methods, strict=True):
        for place, (name, own) in enumerate(curves.items()):
            rows = own[own["method"] == method]
            if rows.empty:
                continue
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            line = evaluation_curve(rows, estimator, resamples)
            axes.fill_between(line["env_step"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
            axes.plot(line["env_step"], line["point"], color=colour, marker=marker, markersize=4.5, label=name)
        axes.set_title(ROWS[method].label)
        axes.set_xlabel("Environment steps (joint actions)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    panels[0].set_ylabel(f"Mean reward of the last turn\non test tasks (maximum {maximum:g})")
    bands = f"; bands: 95 % interval over {seeds} seeds" if seeds > 1 else ", one seed"
    figure.suptitle(f"{title(domain)}: variants{bands}", fontsize=10)
    handles, labels = [], []
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    return figure
