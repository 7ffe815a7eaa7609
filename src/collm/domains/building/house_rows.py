"""Rows of HouseBuild in the published schema: checked, and turned into houses.

A row is {"task_id", "inventory": {character: block}, "target_spec": {"type": "y_layers", "size": [x, y, z],
"layers": [{"y", "rows"}]}} and maybe "count" {character: number}, "bbox" {"from", "to"} and "variant". A row of a
layer is a text along x, rows follow each other along z.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from collm.common.errors import RowError
from collm.domains.base import RawRow, require
from collm.domains.building.house_world import House, build_house
from collm.domains.building.letter_world import AIR, Cell, block_name

EMPTIEST = 16
"""A box of more than so many cells per solid cell is refused; it bounds the lowest reward."""

_WIDEST = 32
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)
_BLOCK = re.compile(r"[a-z0-9_]{1,64}")


def house_fields(row: RawRow) -> dict[str, Any]:
    """The fields of a task: name, variant, inventory, from (low corner) and layers (rows from the lowest y up).

    Raises:
        RowError: names the origin of the row, the field and what is expected.
    """
    fields, origin = row.fields, row.origin
    name = require(fields, "task_id", (str,), "a name of letters, digits, _, . and -", origin)
    if not _NAME.fullmatch(name):
        raise RowError(f"{origin}: field 'task_id' is {name[:40]!r}; expected a name of letters, digits, _, . and -")
    variant = require({"variant": None, **fields}, "variant", (str, type(None)), "a text or null", origin) or ""
    inventory = check_inventory(require(fields, "inventory", (dict,), _INVENTORY, origin), origin)
    _check_counts(fields, inventory, origin)
    spec = require(fields, "target_spec", (dict,), "an object with type, size and layers", origin)
    if spec.get("type") != "y_layers":
        raise RowError(f"{origin}: field 'target_spec.type' is {spec.get('type')!r}; expected 'y_layers'")
    lowest, layers = _layers(require(spec, "layers", (list,), "a list of layers", origin), inventory, origin)
    size = [len(layers[0][0]), len(layers), len(layers[0])]
    if "size" in spec and spec["size"] != size:
        raise RowError(f"{origin}: field 'target_spec.size' is {spec['size']!r}; the layers are {size}")
    corner = _corner(fields.get("bbox"), lowest, size, origin)
    kept = {"name": name, "variant": variant, "inventory": inventory, "from": corner, "layers": layers}
    house = house_of(kept)
    if len(house.solid) * EMPTIEST < house.volume:
        raise RowError(
            f"{origin}: field 'target_spec.layers' has {len(house.solid)} solid of {house.volume} cells; "
            f"expected at least one in {EMPTIEST}, cut the box to the house"
        )
    return kept


def drawn(text: str) -> dict[str, Any]:
    """A row of a house in letters: layers from the ground up with // between, their rows with / between.

    B stands for stone bricks, P for planks, C for white concrete, O for obsidian and . for air.

    Raises:
        RowError: another character is in it.
    """
    layers = [[row.strip() for row in layer.strip().strip("/").split("/")] for layer in text.split("//")]
    unknown = sorted(set("".join(row for layer in layers for row in layer)) - set(DRAWN))
    if unknown or not any(row for layer in layers for row in layer):
        blocks = ", ".join(f"{character} {block}" for character, block in DRAWN.items())
        raise RowError(
            f"the question is no house ({text[:40]!r}); draw its layers from the ground up, as in "
            f"'BBB/BPB/BBB//BBB/B.B/BBB' (of {blocks}), or give a row of the data as a JSON object"
        )
    spec = {"type": "y_layers", "layers": [{"y": y, "rows": rows} for y, rows in enumerate(layers)]}
    used = {character: DRAWN[character] for layer in layers for row in layer for character in row}
    return {"task_id": "question", "inventory": used, "target_spec": spec}


DRAWN = {"B": "stone_bricks", "P": "planks", "C": "white_concrete", "O": "obsidian", ".": "air"}
_INVENTORY = "an object that names a block for each character"


def check_inventory(inventory: Mapping[str, Any], origin: str = "") -> dict[str, str]:
    """The inventory, {character: block}, if keys are single characters and values block names; RowError otherwise."""
    where = f"{origin}: " if origin else ""
    for character, block in inventory.items():
        if len(character) != 1 or not isinstance(block, str) or not _BLOCK.fullmatch(block_name(block)):
            raise RowError(f"{where}field 'inventory' has {character!r}: {block!r}; expected {_INVENTORY}")
    if not {block_name(block) for block in inventory.values()} - AIR:
        raise RowError(f"{where}field 'inventory' names no block besides air; expected {_INVENTORY}")
    return dict(inventory)


def _check_counts(fields: Mapping[str, Any], inventory: Mapping[str, str], origin: str) -> None:
    """Counts are informative, quotas come from the layers; but none may be negative or of an unknown block."""
    counts = fields.get("count")
    if counts is None:
        return
    if not isinstance(counts, dict):
        raise RowError(f"{origin}: field 'count' is of type {type(counts).__name__}; expected a number per character")
    for character, number in counts.items():
        if character not in inventory:
            raise RowError(f"{origin}: field 'count' has {character!r}, which is not in the inventory")
        if type(number) is not int or number < 0:
            raise RowError(f"{origin}: field 'count' has {character!r}: {number!r}; expected a number of at least 0")


def _layers(entries: Sequence[Any], inventory: Mapping[str, str], origin: str) -> tuple[int, list[list[str]]]:
    """The lowest y and the rows of every layer from there up."""
    by_y: dict[int, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict) or type(entry.get("y")) is not int:
            raise RowError(f"{origin}: field 'target_spec.layers' has an entry without a whole number y")
        if entry["y"] in by_y:
            raise RowError(f"{origin}: field 'target_spec.layers' has layer y = {entry['y']} twice")
        by_y[entry["y"]] = entry.get("rows")
    return check_layers(by_y, inventory, origin, "target_spec.layers")


def check_layers(
    by_y: Mapping[int, Any], inventory: Mapping[str, str], origin: str, field: str
) -> tuple[int, list[list[str]]]:
    """The lowest y and the layers from there up if none is missing and all have the same shape; RowError otherwise."""
    where = f"{origin}: field {field!r}" if origin else f"field {field!r}"
    if not by_y:
        raise RowError(f"{where} is empty; expected at least one layer")
    lowest = min(by_y)
    if max(by_y) - lowest + 1 != len(by_y):
        missing = next(y for y in range(lowest, max(by_y)) if y not in by_y)
        raise RowError(f"{where} has no layer y = {missing}; expected every y from {lowest} to {max(by_y)}")
    shapes = set()
    for y, rows in sorted(by_y.items()):
        if not isinstance(rows, list) or not rows or not all(isinstance(row, str) and row for row in rows):
            raise RowError(f"{where}: layer y = {y} needs rows, a list of texts that are not empty")
        shapes |= {(len(rows), len(row)) for row in rows}
        if len(shapes) > 1:
            raise RowError(f"{where}: layer y = {y} is ragged; expected the same number of rows and characters in all")
        unknown = sorted(set("".join(rows)) - set(inventory))
        if unknown:
            raise RowError(f"{where}: layer y = {y} uses {unknown[0]!r}, which is not in the inventory")
    if max(len(by_y), *next(iter(shapes))) > _WIDEST:
        raise RowError(f"{where} is longer than {_WIDEST} cells in one direction; expected a smaller house")
    return lowest, [list(by_y[y]) for y in sorted(by_y)]


def _corner(bbox: Any, lowest: int, size: Sequence[int], origin: str) -> list[int]:
    """The low corner of the box: of `bbox` if there is one, which must fit, else x = z = 0 and the lowest layer."""
    if bbox is None:
        return [0, lowest, 0]
    ends: list[Any] = [bbox.get(end) if isinstance(bbox, dict) else None for end in ("from", "to")]
    if not all(isinstance(end, list) and len(end) == 3 and all(type(n) is int for n in end) for end in ends):
        raise RowError(f"{origin}: field 'bbox' is {str(bbox)[:80]}; expected from and to of three whole numbers")
    low, high = ends
    if low[1] != lowest or [b - a + 1 for a, b in zip(low, high, strict=True)] != list(size):
        raise RowError(
            f"{origin}: field 'bbox' goes from {low} to {high}; the layers start at y = {lowest}, their size is {size}"
        )
    return low


def house_of(fields: Mapping[str, Any]) -> House:
    """The house of a task's fields."""
    layers = tuple(map(tuple, fields["layers"]))
    return _cached(tuple(fields["from"]), layers, tuple(fields["inventory"].items()))


@functools.lru_cache(maxsize=1024)
def _cached(low: Cell, layers: tuple[tuple[str, ...], ...], inventory: tuple[tuple[str, str], ...]) -> House:
    return build_house(low, layers, dict(inventory))


def content_key(house: House) -> str:
    """The same text for houses of the same blocks in the same cells of the same box, whatever their letters."""
    cells = [[*cell, block] for cell, block in house.solid]
    return json.dumps([house.low, house.high, cells], separators=(",", ":"))
