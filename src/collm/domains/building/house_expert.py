"""Scripted play for HouseBuild: a planner that respects the quotas, and noisy builders that follow its plan."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence

from collm.domains.building.house_world import Box, House, corner, reading_order, solid_boxes

KILL = "/kill"

# Chances per command at noise 1; what is left over is played right.
_DROP, _MOVE, _RECOLOUR, _EXTRA, _FORGET_KILL = 0.3, 0.2, 0.1, 0.1, 0.8


def plan(house: House, agents: int, quotas: Mapping[str, int] | None) -> tuple[tuple[Box, ...], ...]:
    """Per agent the boxes it fills, in reading order; together they are the house and no quota is exceeded.

    Per block the largest box goes to the agent with the most cells of that block left to fill; a box that fits
    nobody's quota is halved along its longest side. As the quotas of all agents cover the need, single cells always
    fit: the two cells of a door, of which each agent may place one, end up with two agents.
    """
    shares: list[list[Box]] = [[] for _ in range(agents)]
    by_block: dict[str, list[Box]] = {}
    for box in solid_boxes(house):
        by_block.setdefault(box.block, []).append(box)
    for turn, (block, boxes) in enumerate(by_block.items()):
        need = sum(box.volume for box in boxes)
        left = [need if quotas is None else quotas[block]] * agents
        waiting = [(-box.volume, reading_order(box), box) for box in boxes]
        heapq.heapify(waiting)
        while waiting:
            box = heapq.heappop(waiting)[2]
            # On a tie the agents take turns from block to block, so that neither gets all the single boxes.
            agent = max(range(agents), key=lambda index: (left[index], (index + turn) % agents))
            if box.volume <= left[agent]:
                left[agent] -= box.volume
                shares[agent].append(box)
            else:
                for half in halves(box):
                    heapq.heappush(waiting, (-half.volume, reading_order(half), half))
    for share in shares if agents > 2 else ():  # more builders than boxes: one cell is placed by two of them
        if not share and any(shares):
            cell = next(box for taken in shares for box in taken).low
            block = next(block for there, block in house.solid if there == cell)
            share.append(Box(cell, cell, block))
    return tuple(tuple(sorted(share, key=reading_order)) for share in shares)


def halves(box: Box) -> tuple[Box, Box]:
    """The box cut in two across its longest side; it must have more than one cell."""
    spans = [high - low for low, high in zip(box.low, box.high, strict=True)]
    axis = spans.index(max(spans))
    middle = box.low[axis] + spans[axis] // 2
    first_high, second_low = list(box.high), list(box.low)
    first_high[axis], second_low[axis] = middle, middle + 1
    return Box(box.low, corner(first_high), box.block), Box(corner(second_low), box.high, box.block)


def answer(planned: Sequence[Box], kills: bool, house: House, limit: int, rng: random.Random, noise: float) -> str:
    """One agent's reply: `/kill` first if it is the one that `kills`, then its planned fills.

    With noise some fills are dropped, moved by a cell, made of another block or joined by a stray one, and the
    `/kill` is forgotten. Never more than `limit` lines; never empty if anything was planned.
    """
    lines = [KILL] if kills and rng.random() >= noise * _FORGET_KILL else []
    for box in planned:
        fate = rng.random()
        if fate >= noise * _DROP:
            if fate < noise * (_DROP + _MOVE):
                box = _moved(box, house, rng)
            elif fate < noise * (_DROP + _MOVE + _RECOLOUR):
                box = Box(box.low, box.high, rng.choice(house.inventory))
            lines.append(f"/fill {box}")
        if rng.random() < noise * _EXTRA:
            stray = corner(rng.randint(low, high) for low, high in zip(house.low, house.high, strict=True))
            lines.append(f"/fill {Box(stray, stray, rng.choice(house.inventory))}")
    if not lines and planned:
        lines = [f"/fill {planned[0]}"]
    return "\n".join(lines[:limit])


def _moved(box: Box, house: House, rng: random.Random) -> Box:
    """The box shifted by one cell inside the bounding box, itself where there is no room."""
    choices = []
    for axis in range(3):
        for step in (-1, 1):
            low, high = list(box.low), list(box.high)
            low[axis] += step
            high[axis] += step
            moved = Box(corner(low), corner(high), box.block)
            if house.holds(moved.low) and house.holds(moved.high):
                choices.append(moved)
    return rng.choice(choices) if choices else box
