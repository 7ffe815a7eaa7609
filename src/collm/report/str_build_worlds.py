"""Pictures of built worlds: blocks in the colour of their material, target cells outlined, extras hatched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.domains.base import Domain
from collm.methods.registry import ROWS
from collm.report.figures import STYLE
from collm.report.results import Results, title

MATERIALS = {
    "oak_planks": "#D9A05B",
    "stone": "#8C939B",
    "white_concrete": "#FFFFFF",
    "obsidian": "#2A1F3D",
}
OTHERS = ("#009E73", "#56B4E9", "#CC79A7", "#F0E442")  # blocks without a colour of their own, by name
TARGET, GROUND = "#C3005B", "#D3DCE6"
FIGURE_WIDTH = 9.2  # inches


@dataclass(frozen=True)
class World:
    """A final world: `record` has targets [[x, y, z], ...], built [[x, y, z, block], ...], size [w, h]."""

    name: str
    note: str
    record: Mapping[str, Any]


@matplotlib.rc_context({**STYLE, "axes.grid": False})
def worlds(panels: Sequence[World], heading: str) -> Figure:
    """One front view per world, x to the right and y up, with a legend of materials and marks.

    Raises DataError if there is no world, or one is not flat (blocks at more than one depth z).
    """
    if not panels:
        raise DataError("no world to draw; evaluate a method first")
    width, height = (max(int(world.record["size"][axis]) for world in panels) for axis in (0, 1))
    columns = 1 if width > 6 * height else min(len(panels), 2 if width > 2 * height else 4)
    rows = math.ceil(len(panels) / columns)
    panel_height = FIGURE_WIDTH / columns * height / width
    figure = Figure(figsize=(FIGURE_WIDTH, rows * (panel_height + 0.55) + 1.0), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = _colours(panels)
    for world, axes in zip(panels, grid.flat, strict=False):
        _draw(axes, world, colours)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = [Patch(facecolor=colours[block], edgecolor="#555555", label=block) for block in colours]
    handles.append(Patch(facecolor=GROUND, edgecolor=TARGET, linewidth=1.6, label="target cell"))
    hatched = {"hatch": "////", "linewidth": 0, "label": "extra block"}
    handles.append(Patch(facecolor=GROUND, edgecolor="#333333", **hatched))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    figure.suptitle(heading, fontsize=11)
    return figure


def final_worlds(results: Results, domain: Domain) -> Figure:
    """Final world of every method on the first test task: first seed, first sample, nothing chosen."""
    panels, task = final_panels(results, domain)
    where = "first test task, first seed, first sample; x to the right, y up"
    return worlds(panels, f"{title(domain.name)}: final worlds of {task} ({where})")


def final_panels(results: Results, domain: Domain) -> tuple[list[World], str]:
    """The last turn's record of every method on the first test task (first seed, first sample), and that task's id.

    Raises DataError if a method has no sample of the task.
    """
    panels, task = [], None
    for method in results.methods(domain.name):
        frame = results.of(domain.name, method)
        task = frame["task"].iloc[0] if task is None else task
        path = results.folders[domain.name, method, int(frame["seed"].min())] / "samples.jsonl"
        row = next((row for row in read_jsonl(path) if row["task"] == task), None)
        if row is None:
            raise DataError(f"{path} has no sample of task {task!r}; evaluate all methods on the same split")
        shown = [metric for metric in domain.metrics if metric.in_table]
        values = [f"{metric.label} {row['metrics'][metric.name]:.0f} {metric.unit}" for metric in shown]
        note = ", ".join(values)
        panels.append(World(ROWS[method].label, note, row["record"]))
    return panels, task


def _colours(panels: Sequence[World]) -> dict[str, str]:
    blocks = {str(cell[3]) for world in panels for cell in world.record["built"]}
    strange = sorted(blocks - set(MATERIALS))
    known = {block: colour for block, colour in MATERIALS.items() if block in blocks}
    return known | {block: OTHERS[index % len(OTHERS)] for index, block in enumerate(strange)}


def _draw(axes: Axes, world: World, colours: Mapping[str, str]) -> None:
    record = world.record
    depths = {cell[2] for cell in [*record["targets"], *record["built"]]}
    if len(depths) > 1:
        raise DataError(f"the world of {world.name} has depths {sorted(depths)}; only flat ones are drawn")
    width, height = record["size"][:2]
    target = {(x, y) for x, y, _ in record["targets"]}
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=GROUND, linewidth=0, zorder=0))
    for x, y, _, block in record["built"]:
        extra = (x, y) not in target
        dark = block == "obsidian"
        axes.add_patch(
            Rectangle(
                (x, y),
                1,
                1,
                facecolor=colours[block],
                edgecolor="#DDDDDD" if extra and dark else "#555555",
                linewidth=0.4,
                hatch="////" if extra else None,
                zorder=1,
            )
        )
    for x, y in sorted(target):
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor=TARGET, linewidth=1.4, zorder=2))
    axes.set_xlim(-0.15, width + 0.15)
    axes.set_ylim(-0.15, height + 0.15)
    axes.set_aspect("equal")
    axes.set_xticks([place + 0.5 for place in range(0, width, 5)], range(0, width, 5))
    axes.set_yticks([place + 0.5 for place in range(0, height, 2)], range(0, height, 2))
    axes.tick_params(length=0, labelsize=6.5, labelcolor="#7A7A7A", pad=1)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{world.name}\n{world.note}" if world.note else world.name, fontsize=9)
