"""Pictures of houses: one row per world, an isometric view and then every layer from the ground up.

The pictures put x to the right, z away from the viewer (row 0 of a layer is the front) and y up. In the layers a
block of another sort than wanted has a coloured border, a missing block is a dashed field in its colour, and a block
where air should be is hatched.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from collm.common.errors import DataError
from collm.domains import title
from collm.domains.base import Domain
from collm.report.figures import STYLE
from collm.report.results import Results
from collm.report.worlds import GROUND, TARGET, World, block_colours, final_panels

MATERIALS = {
    "white_concrete": "#FFFFFF",
    "sandstone": "#E6D9A8",
    "bricks": "#B4553F",
    "obsidian": "#2A1F3D",
    "oak_log": "#6E5230",
    "stone": "#8C939B",
    "stone_bricks": "#767C83",
    "cobblestone": "#5E6A66",
    "stone_stairs": "#B4BCC4",
    "oak_stairs": "#C99A5B",
    "planks": "#E0A34E",
    "iron_block": "#DDE6EA",
}
FIGURE_WIDTH = 10.5  # inches
_VIEW = 2.0  # width of the isometric view, in layers
_SHADES = {"top": 1.0, "front": 0.86, "right": 0.7}

Cell = tuple[int, int, int]


@matplotlib.rc_context({**STYLE, "axes.grid": False})
def houses(panels: Sequence[World], heading: str) -> Figure:
    """The target of the first world, then every world; `record` as `collm.domains.house_build` documents it.

    Of a record are read from [x, y, z], size [x, y, z], targets and built, both lists of [x, y, z, block].
    Raises DataError if there is no world, or worlds of different houses.
    """
    if not panels:
        raise DataError("no world to draw; evaluate a method first")
    first = panels[0].record
    if any(panel.record[key] != first[key] for panel in panels for key in ("from", "size", "targets")):
        raise DataError("worlds of different houses do not go in one figure; draw one task at a time")
    rows = [World("Target", f"{len(first['targets'])} blocks", {**first, "built": first["targets"]}), *panels]
    width, height, depth = first["size"]
    unit = FIGURE_WIDTH / (_VIEW + height)
    tall = max(0.8 * _VIEW * unit * _slope(width, height, depth), unit * depth / width)
    figure = Figure(figsize=(FIGURE_WIDTH, len(rows) * (tall + 0.42) + 1.1), layout="constrained")
    grid = figure.subplots(len(rows), height + 1, squeeze=False, width_ratios=[_VIEW, *[1.0] * height])
    colours = block_colours(rows, MATERIALS)
    for world, line in zip(rows, grid, strict=True):
        _isometric(line[0], world, colours)
        for y, axes in enumerate(line[1:], start=first["from"][1]):
            _layer(axes, world.record, y, colours)
            if world is rows[0]:
                axes.set_title(f"y = {y}", fontsize=8)
    figure.legend(handles=_handles(colours), loc="outside lower center", ncols=min(8, len(colours) + 3))
    figure.suptitle(heading, fontsize=11)
    return figure


def final_houses(results: Results, domain: Domain) -> Figure:
    """Final world of every method on the first test task: first seed, first sample, nothing chosen."""
    panels, task = final_panels(results, domain)
    where = "first test task, first seed, first sample; x to the right, z away, y up"
    return houses(panels, f"{title(domain.name)}: final worlds of {task} ({where})")


def _slope(width: int, height: int, depth: int) -> float:
    """Height over width of the isometric view."""
    return (height + 0.5 * (width + depth)) / (math.cos(math.pi / 6) * (width + depth))


def _blocks(cells: Iterable[Sequence[Any]]) -> dict[Cell, str]:
    return {(x, y, z): block for x, y, z, block in cells}


def _handles(colours: Mapping[str, str]) -> list[Patch]:
    handles = [Patch(facecolor=colour, edgecolor="#555555", label=block) for block, colour in colours.items()]
    handles.append(Patch(facecolor=GROUND, edgecolor=TARGET, linewidth=1.6, label="another block is wanted"))
    handles.append(Patch(facecolor=GROUND, edgecolor=TARGET, linestyle=":", linewidth=1.2, label="missing block"))
    handles.append(Patch(facecolor=GROUND, edgecolor="#333333", hatch="////", linewidth=0, label="extra block"))
    return handles


def _isometric(axes: Axes, world: World, colours: Mapping[str, str]) -> None:
    """Cubes from back to front; faces behind another block are left out."""
    record = world.record
    built = _blocks(record["built"])
    (x0, y0, z0), (width, _, depth) = record["from"], record["size"]
    ground = [(x0, y0, z0), (x0 + width, y0, z0), (x0 + width, y0, z0 + depth), (x0, y0, z0 + depth)]
    axes.add_patch(Polygon([_project(corner) for corner in ground], facecolor=GROUND, linewidth=0, zorder=0))
    order = sorted(built, key=lambda cell: (cell[0] - cell[2] + cell[1], cell))
    for rank, (x, y, z) in enumerate(order, start=1):
        near, far, right, top = z, z + 1, x + 1, y + 1
        faces = {
            "top": ((x, top, z), [(x, top, near), (right, top, near), (right, top, far), (x, top, far)]),
            "front": ((x, y, z - 1), [(x, y, near), (right, y, near), (right, top, near), (x, top, near)]),
            "right": ((right, y, z), [(right, y, near), (right, y, far), (right, top, far), (right, top, near)]),
        }
        colour = to_rgb(colours[built[x, y, z]])
        for face, (neighbour, corners) in faces.items():
            if neighbour not in built:
                shade = tuple(_SHADES[face] * part for part in colour)
                points = [_project(corner) for corner in corners]
                cube = Polygon(
                    points, facecolor=shade, edgecolor="#4A4A4A", linewidth=0.35, joinstyle="round", zorder=rank
                )
                axes.add_patch(cube)
    spans = [(low, low + size) for low, size in zip(record["from"], record["size"], strict=True)]
    x_values, y_values = zip(*(_project(corner) for corner in itertools.product(*spans)), strict=True)
    axes.set_xlim(min(x_values) - 0.2, max(x_values) + 0.2)
    axes.set_ylim(min(y_values) - 0.2, max(y_values) + 0.2)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(f"{world.name}\n{world.note}" if world.note else world.name, fontsize=9)


def _project(point: tuple[float, float, float]) -> tuple[float, float]:
    """x runs to the right and down, z to the right and up, y up; the viewer stands before low z and high x."""
    x, y, z = point
    return math.cos(math.pi / 6) * (x + z), y + 0.5 * (z - x)


def _layer(axes: Axes, record: Mapping[str, Any], y: int, colours: Mapping[str, str]) -> None:
    """One layer from above, the front row at the bottom."""
    (x0, _, z0), (width, _, depth) = record["from"], record["size"]
    built, targets = _blocks(record["built"]), _blocks(record["targets"])
    axes.add_patch(Rectangle((x0, z0), width, depth, facecolor=GROUND, linewidth=0, zorder=0))
    for z in range(z0, z0 + depth):
        for x in range(x0, x0 + width):
            _cell(axes, (x, z), built.get((x, y, z)), targets.get((x, y, z)), colours)
    axes.set_xlim(x0 - 0.1, x0 + width + 0.1)
    axes.set_ylim(z0 - 0.1, z0 + depth + 0.1)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _cell(
    axes: Axes, place: tuple[int, int], block: str | None, target: str | None, colours: Mapping[str, str]
) -> None:
    if block is not None:
        dark = block == "obsidian"
        axes.add_patch(
            Rectangle(
                place,
                1,
                1,
                facecolor=colours[block],
                edgecolor="#CCCCCC" if dark and target is None else "#555555",
                linewidth=0.3,
                hatch="/////" if target is None else None,
                zorder=1,
            )
        )
    if target is not None and block != target:
        x, z = place
        style = {"linestyle": ":", "linewidth": 1.0} if block is None else {"linewidth": 1.3}
        colour = (*to_rgb(colours.get(target, GROUND)), 0.35) if block is None else "none"
        axes.add_patch(
            Rectangle((x + 0.08, z + 0.08), 0.84, 0.84, facecolor=colour, edgecolor=TARGET, zorder=2, **style)
        )
