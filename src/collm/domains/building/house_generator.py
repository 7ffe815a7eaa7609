"""Further houses for HouseBuild in the published schema, from a seed: other sizes, roofs and materials, or huts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from collm.common.errors import ConfigError
from collm.domains.building.house_huts import draw_hut
from collm.domains.building.house_rows import content_key
from collm.domains.building.house_world import build_house

SHAPES = ("houses", "huts")
ROOFS = ("flat", "gable", "steep", "x_slope", "hip")

# Letter in the rows: blocks it may stand for, the published one first.
_MATERIALS = {
    "C": ("white_concrete", "sandstone", "bricks"),
    "O": ("obsidian", "oak_log", "stone"),
    "S": ("stone_stairs", "oak_stairs"),
    "B": ("stone_bricks", "cobblestone"),
    "D": ("planks", "iron_block"),
}
_ATTEMPTS = 200

Layer = list[list[str]]


def further_houses(
    seed: int, number: int, size: Sequence[int], taken: Iterable[str], shape: str = "houses"
) -> list[dict[str, Any]]:
    """`number` rows of distinct houses whose walls measure `size` = [low, high] cells; none has a key in `taken`.

    `shape` is one of SHAPES; huts have a size of their own. The same seed gives the same houses, and a larger number
    only appends. ConfigError if so many are not found.
    """
    huts = shape == "huts"
    used, rng = set(taken), random.Random(f"house_build huts {seed}" if huts else f"house_build {seed}")
    rows: list[dict[str, Any]] = []
    while len(rows) < number:
        for _ in range(_ATTEMPTS):
            row = draw_hut(rng) if huts else _draw(rng, size)
            row["task_id"] = f"house_build_generated_{len(rows):04d}"
            key = content_key(build_house((0, 0, 0), _rows(row), row["inventory"]))
            if key not in used:
                break
        else:
            found = "huts; ask for fewer" if huts else f"houses of size {list(size)}; ask for fewer or a wider range"
            raise ConfigError(f"domain.house_build.options.generated: found only {len(rows)} different {found}")
        used.add(key)
        rows.append(row)
    return rows


def _rows(row: dict[str, Any]) -> list[list[str]]:
    return [layer["rows"] for layer in row["target_spec"]["layers"]]


def _draw(rng: random.Random, size: Sequence[int]) -> dict[str, Any]:
    """One row: floor, walls with a door in front, eaves, and a roof of one or two layers."""
    width, depth = max(4, rng.randint(*size)), rng.randint(*size)
    storeys = rng.randint(2, 4)
    roof = rng.choice(ROOFS)
    front = "D" * rng.choice([n for n in (1, 2) if n <= width - 3])
    place = rng.randint(1, width - 2 - len(front)) if rng.random() < 0.5 else (width - len(front)) // 2
    layers = [_floor(width, depth)]
    layers += [_walls(width, depth, y, storeys, place, len(front)) for y in range(1, storeys + 1)]
    layers.append(_full(width, depth, "B"))
    layers[-1][0] = layers[-1][-1] = ["S"] * width
    roofs = [_roof(roof, width, depth, step) for step in range(1, rng.randint(1, 2) + 1)]
    layers += [layer for layer in roofs if any(set(row) != {"A"} for row in layer)]
    mix = {letter: blocks[0] if rng.random() < 0.6 else rng.choice(blocks) for letter, blocks in _MATERIALS.items()}
    count = Counter(character for layer in layers for row in layer for character in row)
    inventory = {letter: block for letter, block in mix.items() if count[letter]} | {"A": "air"}
    box = [width, len(layers), depth + 2]
    return {
        "inventory": inventory,
        "count": {letter: count[letter] for letter in inventory},
        "target_spec": {
            "type": "y_layers",
            "size": box,
            "layers": [{"y": y, "rows": ["".join(row) for row in layer]} for y, layer in enumerate(layers)],
        },
        "bbox": {"from": [0, 0, 0], "to": [edge - 1 for edge in box]},
        "variant": roof,
    }


def _full(width: int, depth: int, letter: str) -> Layer:
    """A layer of one letter; the first and the last row are the overhang of the roof."""
    return [[letter] * width for _ in range(depth + 2)]


def _floor(width: int, depth: int) -> Layer:
    layer = _full(width, depth, "C")
    layer[0], layer[-1] = ["A"] * width, ["A"] * width
    return layer


def _walls(width: int, depth: int, y: int, storeys: int, place: int, door: int) -> Layer:
    """Walls with pillars at the corners; the door stands at y = 1, open above it up to the lintel."""
    layer = _full(width, depth, "A")
    for z in range(1, depth + 1):
        if z in (1, depth):
            layer[z] = ["O", *["C"] * (width - 2), "O"]
        else:
            layer[z][0] = layer[z][-1] = "C"
    if y == 1 or y < storeys:
        letter = "D" if y == 1 else "A"
        layer[1][place : place + door] = [letter] * door
    return layer


def _roof(kind: str, width: int, depth: int, step: int) -> Layer:
    """Roof layer `step` (from 1) above the eaves."""
    layer = _full(width, depth, "A")
    rows = depth + 2
    if kind == "flat":
        return _full(width, depth, "B")
    if kind == "x_slope":
        for row in layer:
            inner = range(step - 1, width - step + 1)
            for x in inner:
                edge = min(x - inner.start, inner.stop - 1 - x)
                row[x] = "S" if edge < 1 else "B"
        return layer
    margin = step if kind in ("gable", "hip") else 2 * step
    side = step if kind == "hip" else 0
    inner_z, inner_x = range(margin, rows - margin), range(side, width - side)
    for z in inner_z:
        for x in inner_x:
            rim = z in (inner_z.start, inner_z.stop - 1) and len(inner_z) > 1
            rim = rim or (kind == "hip" and x in (inner_x.start, inner_x.stop - 1) and len(inner_x) > 2)
            layer[z][x] = "S" if rim else "B"
    return layer
