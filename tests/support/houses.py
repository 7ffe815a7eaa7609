"""A small house, the published ones and short episodes, for the tests of HouseBuild."""

from __future__ import annotations

import random
from typing import Any

from collm.domains.base import RawRow, Task
from collm.domains.building.house_build import HouseBuild

PAPER = HouseBuild({}, "paper")
HUT = {
    "task_id": "hut",
    "inventory": {"P": "planks", "B": "stone_bricks", "A": "air"},
    "target_spec": {
        "type": "y_layers",
        "size": [4, 3, 3],
        "layers": [
            {"y": 0, "rows": ["BBBB", "BBBB", "BBBB"]},
            {"y": 1, "rows": ["PAAP", "PAAP", "PPPP"]},
            {"y": 2, "rows": ["PPPP", "PPPP", "PPPP"]},
        ],
    },
    "bbox": {"from": [0, 0, 0], "to": [3, 2, 2]},
}


def hut(domain: HouseBuild = PAPER, **changes: Any) -> Task:
    """A hut of 4 x 3 x 3 cells, 32 of them solid."""
    return domain.task(RawRow(HUT | changes, "here:1"), 0)


def published(domain: HouseBuild = PAPER) -> list[Task]:
    """The ten published houses."""
    return [domain.task(row, index) for index, row in enumerate(domain.embedded(0)["paper"])]


def world(*spiders: tuple[int, int]) -> dict[str, Any]:
    """An empty world with these spiders (attack, health)."""
    return {"cells": [], "spiders": [list(spider) for spider in spiders], "fresh": [list(spider) for spider in spiders]}


def first_turn(domain: HouseBuild, task: Task, seed: int, noise: float) -> list[str]:
    """The scripted builders' answers at the first turn."""
    return [demo.response for demo in domain.demonstrations(task, random.Random(seed), noise) if demo.turn == 0]
