"""What HouseBuild tells each agent after a turn, in each of the six feedback modes.

A message holds facts about the house, the shared world and the agent's own accepted commands, no other agent's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collm.domains.building.house_world import Box, House, Orders, layer_rectangles
from collm.domains.building.letter_world import Cell, World

MODES = ("score", "position", "perfect", "position_modification", "rect_modification", "resource_schedule")
_BORDER = 2  # of two agents: layers up to the third are agent 1's in rect_modification, then agent 2's (released code)


def feedback(
    options: Mapping[str, Any],
    house: House,
    built: World,
    team: Sequence[Orders],
    quotas: Mapping[str, int] | None,
    reward: tuple[float, float],
) -> list[dict[str, Any]]:
    """One JSON-able message per agent; `reward` is what the team got and the best possible.

    score: the reward. position: nothing of the turn, the prompt lists all solid cells. perfect: solid cells with
    another block than theirs, dealt alternately, and to the last agent the extras. position_modification: the first
    `wrong_cells` cells of any kind, to both. rect_modification: rectangles of the agent's layers with a wrong cell.
    resource_schedule: rectangles that its remaining quota still allows. The last two add its own accepted commands.
    """
    mode, most = options["feedback"], options["wrong_cells"]
    agents = range(len(team))
    if mode == "score":
        return [{"reward": reward[0], "best": reward[1]} for _ in agents]
    if mode == "position":
        return [{} for _ in agents]
    wrong = [[*cell, block] for cell, block in house.solid if built.get(cell) != block]
    targets = {cell for cell, _ in house.solid}
    extras = sorted((cell for cell in built if cell not in targets), key=_order)
    if mode == "perfect":
        clear = [list(cell) for cell in extras]
        last = len(team) - 1
        return [{"place": wrong[agent :: len(team)], "clear": clear if agent == last else []} for agent in agents]
    if mode == "position_modification":
        cells = sorted([*wrong, *([*cell, "air"] for cell in extras)], key=_order)
        return [{"cells": cells[:most], "wrong": len(cells)} for _ in agents]
    missing = {tuple(cell[:3]) for cell in wrong}
    boxes = [box for box in layer_rectangles(house) if any(cell in missing for cell in box.cells)]
    if mode == "rect_modification":
        return [_rectangles(agent, team, house, boxes, extras, most) for agent in agents]
    return [_schedule(orders, boxes, quotas or {}) for orders in team]


def _order(cell: Sequence[Any]) -> tuple[int, int, int]:
    return cell[1], cell[0], cell[2]


def _rectangles(
    agent: int, team: Sequence[Orders], house: House, boxes: Sequence[Box], extras: Sequence[Cell], most: int
) -> dict[str, Any]:
    """The rectangles and at most `most` extras of the agent's layers; a single agent has all layers."""
    low, high = house.low[1], house.high[1]
    border = min(low + _BORDER, high)
    if len(team) == 2:
        low, high = (low, border) if agent == 0 else (border, high)
    elif len(team) > 2:  # about the same number of layers each
        layers, bottom = high - low + 1, low
        low, high = bottom + layers * agent // len(team), bottom + max(layers * (agent + 1) - 1, 0) // len(team)
    return {
        "layers": [low, high],
        "boxes": [str(box) for box in boxes if low <= box.low[1] <= high],
        "clear": [list(cell) for cell in extras if low <= cell[1] <= high][:most],
        "own": list(team[agent].lines),
    }


def _schedule(orders: Orders, boxes: Sequence[Box], quotas: Mapping[str, int]) -> dict[str, Any]:
    """Largest rectangles first while the quota lasts, then the largest part of one that did not fit."""
    left = {block: number - orders.used[block] for block, number in quotas.items()}
    chosen, refused = [], []
    remaining = dict(left)
    for box in sorted(boxes, key=lambda box: -box.volume):
        if box.volume <= remaining[box.block]:
            remaining[box.block] -= box.volume
            chosen.append(str(box))
        else:
            refused.append(box)
    parts = [part for box in refused if (part := _part(box, remaining[box.block]))]
    partial = max(parts, key=lambda box: box.volume, default=None)
    return {"own": list(orders.lines), "left": left, "boxes": chosen, "partial": str(partial) if partial else ""}


def _part(box: Box, room: int) -> Box | None:
    """The largest rectangle of at most `room` cells at the low corner of a flat box, None if not one cell fits."""
    width, depth = box.high[0] - box.low[0] + 1, box.high[2] - box.low[2] + 1
    sizes = [(x, min(depth, room // x)) for x in range(1, min(width, room) + 1)]
    if not sizes:
        return None
    x, z = max(sizes, key=lambda size: size[0] * size[1])
    return Box(box.low, (box.low[0] + x - 1, box.high[1], box.low[2] + z - 1), box.block)
