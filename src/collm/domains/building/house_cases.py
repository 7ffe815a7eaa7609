"""Cases of HouseBuild in the golden format: house, blocks, limits, spiders and completions, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collm.common.errors import RowError
from collm.domains.base import answer_field, require, require_integer
from collm.domains.building.house_rows import check_inventory, check_layers
from collm.domains.building.house_world import House, Rules, build_house, quotas
from collm.domains.building.letter_world import AIR, block_name, limits


@dataclass(frozen=True)
class Case:
    """One case: `rules` and `texts` per agent, `attacks` per spider."""

    house: House
    rules: tuple[Rules, ...]
    texts: tuple[str, ...]
    attacks: tuple[float, ...]
    player_hp: float


def read_case(inputs: Mapping[str, Any], damage: int) -> Case:
    """Check the fields of a case; `damage` is the highest amount of `/damage` (0: no such command).

    Raises:
        RowError: names the field and what is expected.
    """
    agents = require_integer(inputs, "num_agents", 1)
    house = _house(require(inputs, "task", (dict,), "an object with inventory, layers_by_y and the box"))
    shares = limits(require_integer(inputs, "max_commands", 1), agents)
    limited = require(inputs, "limited_resource", (bool,), "true or false")
    allowed = quotas(house, agents) if limited else None
    rules = tuple(
        Rules(_blocks(inputs, f"block_agent{number}"), share, allowed, damage)
        for number, share in enumerate(shares, start=1)
    )
    texts = tuple(answer_field(inputs, f"completion{number}") for number in range(1, agents + 1))
    hp = require(inputs, "player_hp", (int, float), "a number of at least 0")
    if not 0 <= hp < float("inf"):
        raise RowError(f"field 'player_hp' is {hp}; expected a number of at least 0")
    return Case(house, rules, texts, _attacks(inputs), hp)


def _attacks(inputs: Mapping[str, Any]) -> tuple[float, ...]:
    expected = "a list of numbers of at least 0"
    attacks = require(inputs, "spider_attacks", (list,), expected)
    if not all(type(value) in (int, float) and 0 <= value < float("inf") for value in attacks):
        raise RowError(f"field 'spider_attacks' is {str(attacks)[:80]}; expected {expected}")
    return tuple(attacks)


def _house(task: Mapping[str, Any]) -> House:
    inventory = check_inventory(require(task, "inventory", (dict,), "an object that names a block for each character"))
    layers = require(task, "layers_by_y", (dict,), "an object of rows by y")
    try:
        by_y = {int(y): rows for y, rows in layers.items()}
    except ValueError as error:
        raise RowError(f"field 'layers_by_y' has a key that is no whole number ({error})") from error
    lowest, rows = check_layers(by_y, inventory, "", "layers_by_y")
    corners = []
    for name in ("local_bbox_from", "local_bbox_to"):
        corner = require(task, name, (list,), "three whole numbers")
        if len(corner) != 3 or any(type(value) is not int for value in corner):
            raise RowError(f"field {name!r} is {str(corner)[:80]}; expected three whole numbers")
        corners.append(tuple(corner))
    house = build_house(corners[0], rows, inventory)
    if lowest != corners[0][1] or house.high != corners[1]:
        raise RowError(
            f"field 'local_bbox_to' is {list(corners[1])}; the layers from y = {lowest} end at {list(house.high)}"
        )
    return house


def _blocks(inputs: Mapping[str, Any], field: str) -> frozenset[str]:
    expected = "a list of block names"
    blocks = require(inputs, field, (list,), expected)
    if not all(isinstance(block, str) for block in blocks):
        raise RowError(f"field {field!r} is {str(blocks)[:80]}; expected {expected}")
    return frozenset(map(block_name, blocks)) - AIR
