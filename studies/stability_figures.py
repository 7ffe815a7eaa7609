"""Draw docs/stability/*.svg from the lines that the measuring scripts have written there.

    python studies/stability_figures.py

Points are means over seeds, bars 95 % intervals of the mean (Student's t) where there are two seeds or more.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import source_path
from intervals import half_width, mean

from collm import domains as domains_of_collm
from collm.common import cli
from collm.common.files import read_jsonl
from collm.methods.registry import ROWS

FOLDER = source_path.ROOT / "docs" / "stability"
COLOURS = {"magrpo": "#1f77b4", "collm_dc": "#2ca02c", "collm_cc": "#d62728", "joint": "#d62728", "local": "#2ca02c"}
READS = {"joint": "all histories (CoLLM-CC)", "local": "one history (CoLLM-DC)"}
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every figure whose lines are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of lines and figures")
    folder = parser.parse_args(argv).folder
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "stability", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3})
    for name, draw in FIGURES.items():
        lines = folder / f"{name}.jsonl"
        if lines.is_file():
            draw(read_jsonl(lines)).savefig(folder / f"{name}.svg", metadata={"Date": None})
            print(folder / f"{name}.svg")
    return 0


def _panels(domains: Sequence[str], height: float = 2.2) -> tuple[Any, list[Any]]:
    """A figure with a panel per domain, at most four side by side; one or two are drawn larger."""
    from matplotlib import pyplot

    columns = min(4, len(domains))
    rows = math.ceil(len(domains) / columns)
    width, height = (2.7, height) if columns > 2 else (5.4, 1.5 * height)
    figure, axes = pyplot.subplots(rows, columns, figsize=(width * columns + 0.6, height * rows + 0.5), squeeze=False)
    flat = list(axes.flat)
    for axis, domain in zip(flat, domains, strict=False):
        axis.set_title(domains_of_collm.title(domain))
    for axis in flat[len(domains) :]:
        axis.set_axis_off()
    return figure, flat


def _finished(figure: Any, handles: Sequence[Any], columns: int = 3) -> Any:
    """Legend below all panels."""
    columns = min(columns, max(1, int(figure.get_figwidth() // 2)))
    room = 0.2 * math.ceil(len(handles) / columns) / figure.get_figheight()
    figure.tight_layout(rect=(0, room, 1, 1))
    figure.legend(handles=handles, loc="lower center", ncol=columns, frameon=False)
    return figure


def _domains(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["domain"] for row in rows))


def _curve(axis: Any, rows: Sequence[Row], x: str, y: str, by: Callable[[Row], Any] | None = None, **style: Any) -> Any:
    """A line of means over seeds of `y` against `x`; `by` says which rows share a point, default: those of one x."""
    points: dict[Any, list[Row]] = {}
    for row in rows:
        points.setdefault(by(row) if by else row[x], []).append(row)
    places = [mean([row[x] for row in own]) for own in points.values()]
    heights = [mean([row[y] for row in own]) for own in points.values()]
    bars = [half_width([row[y] for row in own]) for own in points.values()]
    bars = [0.0 if math.isnan(bar) else bar for bar in bars]
    return axis.errorbar(places, heights, yerr=bars, capsize=2, markersize=3, linewidth=1, **style)


def headroom(rows: Sequence[Row]) -> Any:
    """Mean and best of N against the benchmark's range."""
    from matplotlib import pyplot

    domains = _domains(rows)
    figure, axis = pyplot.subplots(figsize=(7.5, 0.32 * len(domains) + 1.2))
    for place, domain in enumerate(domains):
        own = [row for row in rows if row["domain"] == domain]
        shares = {name: [_share(row, row[name]) for row in own] for name in ("mean", "best_of_4", "best")}
        axis.plot([mean(shares["mean"]), mean(shares["best"])], [place, place], color="#888888", linewidth=3)
        for name, marker, colour in (("mean", "o", "#333333"), ("best_of_4", "|", "#333333"), ("best", ">", "#d62728")):
            axis.plot(
                mean(shares[name]), place, marker, color=colour, label=name.replace("_", " ") if not place else None
            )
    axis.set_yticks(range(len(domains)), [domains_of_collm.title(domain) for domain in domains])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("reward of a test task, as a share of the benchmark's range")
    samples = rows[0]["samples"]
    axis.set_title(f"Mean (dot), best of 4 (bar) and best of {samples} (triangle) sampled episodes of a task")
    return _finished(figure, axis.get_legend_handles_labels()[0])


def _share(row: Row, reward: float) -> float:
    return (reward - row["lowest"]) / (row["highest"] - row["lowest"])


def gradient_noise(rows: Sequence[Row]) -> Any:
    """Alignment of two independent gradients against joint samples, settings of the paper: normalised, TD(0) or K."""
    domains = _domains(rows)
    figure, axes = _panels(domains)
    handles: dict[str, Any] = {}
    steps = max(row.get("critic_steps", 0) for row in rows)
    kinds: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("MAGRPO, K = 2", {"method": "magrpo", "generations": 2}, {"fmt": "o:"}),
        ("MAGRPO, K = 4", {"method": "magrpo", "generations": 4}, {"fmt": "s-"}),
    ]
    for method in ("collm_dc", "collm_cc"):
        for trace, fmt in ((0.0, "o:"), (1.0, "s-")):
            label = f"{ROWS[method].label}, lambda {trace:.0f}, critic after {steps} steps"
            kinds.append((label, {"method": method, "td_lambda": trace, "critic_steps": steps}, {"fmt": fmt}))
    for axis, domain in zip(axes, domains, strict=False):
        for label, wanted, style in kinds:
            own = _with(rows, domain=domain, normalised=True, **wanted)
            if own:
                colour = COLOURS[wanted["method"]]
                size = lambda row: round(math.log2(row["batch"]))  # noqa: E731
                handles[label] = _curve(axis, own, "batch", "alignment", size, color=colour, label=label, **style)
        axis.set_xscale("log", base=2)
        axis.axhline(0.0, color="black", linewidth=0.5)
        axis.set_xlabel("joint samples in a gradient")
    axes[0].set_ylabel("|E g|² / E|g|²")
    return _finished(figure, list(handles.values()), 2)


def critic_fit(rows: Sequence[Row]) -> Any:
    """Explained variance of unseen episodes' returns against critic steps."""
    domains = _domains(rows)
    figure, axes = _panels(domains)
    handles: dict[str, Any] = {}
    for axis, domain in zip(axes, domains, strict=False):
        of_domain = _with(rows, domain=domain)
        for reads in ("joint", "local"):
            for changes, fmt in (
                ({"critic": "v", "informed": True, "td_lambda": 0.0}, "o-"),
                ({"critic": "v", "informed": True, "td_lambda": 1.0}, "s--"),
                ({"critic": "v", "informed": False}, "x:"),
                ({"critic": "q"}, "^-."),
            ):
                own = _with(of_domain, reads=reads, **changes)
                label = f"{READS[reads]}, {str(changes['critic']).upper()}"
                label += "" if changes.get("informed", True) else ", not told turn and last reward"
                label += ", lambda 1" if changes.get("td_lambda") else ""
                if own:
                    style = {"fmt": fmt, "color": COLOURS[reads], "label": label}
                    handles[label] = _curve(axis, own, "steps", "explained", **style)
        axis.axhline(mean([row["ceiling"] for row in of_domain]), color="black", linewidth=0.8, linestyle="--")
        axis.set_xscale("symlog", base=2, linthresh=4)
        axis.set_xlim(left=0)
        steps = sorted({row["steps"] for row in of_domain})
        axis.set_xticks(steps, [str(step) for step in steps])
        axis.set_ylim(-0.5, 1.0)
        axis.set_xlabel("critic steps")
    axes[0].set_ylabel("explained variance of unseen returns")
    return _finished(figure, list(handles.values()), 1 if len(domains) < 3 else 3)


def update_shares(rows: Sequence[Row]) -> Any:
    """Shares of |A| x tokens by sign and length, and of the squared gradients' norms."""
    rows = [row for row in rows if row["sign"] != "all"]
    domains = _domains(rows)
    figure, axes = _panels(domains, 2.0)
    names = [(sign, length) for sign in ("negative", "positive") for length in ("short", "middle", "long")]
    shades = ["#fcae91", "#fb6a4a", "#cb181d", "#bdd7e7", "#6baed6", "#2171b5"]
    handles: list[Any] = []
    for axis, domain in zip(axes, domains, strict=False):
        bars = [(m, part) for m in ("magrpo", "collm_dc", "collm_cc") for part in ("pressure", "power")]
        left = [0.0] * len(bars)
        handles = []
        for (sign, length), shade in zip(names, shades, strict=True):
            own = [
                mean([r[part] for r in _with(rows, domain=domain, method=m, sign=sign, length=length)])
                for m, part in bars
            ]
            drawn = axis.barh(range(len(bars)), own, left=left, color=shade, label=f"{sign}, {length}")
            left = [before + more for before, more in zip(left, own, strict=True)]
            handles.append(drawn)
        axis.set_yticks(
            range(len(bars)), [f"{ROWS[m].label}: {'|A| x tokens' if p == 'pressure' else p}" for m, p in bars]
        )
        axis.invert_yaxis()
        axis.axvline(0.5, color="black", linewidth=0.5)
    for axis in axes[: len(domains)]:
        if axis.get_subplotspec() is not None and not axis.get_subplotspec().is_first_col():
            axis.set_yticklabels([])
    return _finished(figure, handles, 6)


def _with(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows that have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


FIGURES: dict[str, Callable[[Sequence[Row]], Any]] = {
    "headroom": headroom,
    "gradient_noise": gradient_noise,
    "critic_fit": critic_fit,
    "update_shares": update_shares,
}


if __name__ == "__main__":
    sys.exit(cli.run(main))
