"""Huts for HouseBuild: a floor, a wall and sometimes a pillar, small enough for a model made from scratch."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from collm.domains.building.house_world import Box

LETTERS = "PQR"  # of the floor, the wall and the pillar
BLOCKS = ("stone", "planks", "bricks", "oak_log", "sandstone", "iron_block")
EDGES = (2, 3)  # cells along a side of the floor
HEIGHTS = (1, 2)  # cells of a wall or a pillar above the floor


def draw_hut(rng: random.Random) -> dict[str, Any]:
    """One row in the published schema, without its id: two or three boxes, each of a block of its own."""
    blocks = rng.sample(BLOCKS, len(LETTERS))
    boxes = _boxes(rng, blocks)
    width, depth = boxes[0].high[0] + 1, boxes[0].high[2] + 1
    height = max(box.high[1] for box in boxes) + 1
    letters = {cell: LETTERS[blocks.index(box.block)] for box in boxes for cell in box.cells}
    layers = [["".join(letters.get((x, y, z), "A") for x in range(width)) for z in range(depth)] for y in range(height)]
    count = Counter("".join(row for rows in layers for row in rows))
    inventory = {letter: block for letter, block in zip(LETTERS, blocks, strict=True) if count[letter]} | {"A": "air"}
    return {
        "inventory": inventory,
        "count": {letter: count[letter] for letter in inventory},
        "target_spec": {
            "type": "y_layers",
            "size": [width, height, depth],
            "layers": [{"y": y, "rows": rows} for y, rows in enumerate(layers)],
        },
        "bbox": {"from": [0, 0, 0], "to": [width - 1, height - 1, depth - 1]},
        "variant": "hut",
    }


def _boxes(rng: random.Random, blocks: list[str]) -> list[Box]:
    """Floor, wall, and in half of the huts a pillar where the wall leaves room."""
    width, depth = rng.choice(EDGES), rng.choice(EDGES)
    floor = Box((0, 0, 0), (width - 1, 0, depth - 1), blocks[0])
    top = rng.choice(HEIGHTS)
    if rng.random() < 0.5:
        z = rng.randrange(depth)
        wall = Box((0, 1, z), (width - 1, top, z), blocks[1])
    else:
        x = rng.randrange(width)
        wall = Box((x, 1, 0), (x, top, depth - 1), blocks[1])
    boxes = [floor, wall]
    if rng.random() < 0.5:
        taken = {(x, z) for x, _, z in wall.cells}
        x, z = rng.choice([(x, z) for x in range(width) for z in range(depth) if (x, z) not in taken])
        boxes.append(Box((x, 1, z), (x, rng.choice(HEIGHTS), z), blocks[2]))
    return boxes
