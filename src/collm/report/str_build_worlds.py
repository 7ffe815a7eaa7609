"""Pictures of flat worlds (StrBuild): blocks in the colour of their material, target cells outlined, extras hatched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from collm.common.errors import DataError
from collm.domains import title
from collm.domains.base import Domain
from collm.report.figures import STYLE
from collm.report.results import Results
from collm.report.worlds import GROUND, TARGET, World, block_colours, final_panels

MATERIALS = {
    "oak_planks": "#D9A05B",
    "stone": "#8C939B",
    "white_concrete": "#FFFFFF",
    "obsidian": "#2A1F3D",
}
FIGURE_WIDTH = 9.2  # inches


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
    colours = block_colours(panels, MATERIALS)
    for world, axes in zip(panels, grid.flat, strict=False):
        _draw(axes, world, colours)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = [Patch(facecolor=colours[block], edgecolor="#555555", label=block) for block in colours]
    handles.append(Patch(facecolor=GROUND, edgecolor=TARGET, linewidth=1.6, label="target cell"))
    handles.append(Patch(facecolor=GROUND, edgecolor="#333333", hatch="////", linewidth=0, label="extra block"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    figure.suptitle(heading, fontsize=11)
    return figure


def final_worlds(results: Results, domain: Domain) -> Figure:
    """Final world of every method on the first test task: first seed, first sample, nothing chosen."""
    panels, task = final_panels(results, domain)
    where = "first test task, first seed, first sample; x to the right, y up"
    return worlds(panels, f"{title(domain.name)}: final worlds of {task} ({where})")


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
    columns, rows = range(0, width, 5), range(0, height, 2)
    axes.set_xticks([place + 0.5 for place in columns], [str(place) for place in columns])
    axes.set_yticks([place + 0.5 for place in rows], [str(place) for place in rows])
    axes.tick_params(length=0, labelsize=6.5, labelcolor="#7A7A7A", pad=1)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{world.name}\n{world.note}" if world.note else world.name, fontsize=9)
