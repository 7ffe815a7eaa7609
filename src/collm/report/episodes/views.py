"""What a turn's record shows: a flat world, a house, a program with its tests, answers to a question, or plain facts.

The kind follows from what a record holds, not from the name of its domain, so that a domain of one's own is drawn
like the one it resembles. Owners are agents from 0; None where a record does not say who placed a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

AIR = "air"
Cell = tuple[int, int, int]
Owners = dict[Cell, int]


def views(records: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any] | None]:
    """One view per turn of an episode, in order; None for a turn whose record was not kept.

    Worlds have `built`, a list of [x, y, z, block, owner]: the agent whose block of that sort stands there, in this
    turn or an earlier one.
    """
    owners: Owners = {}
    made: list[dict[str, Any] | None] = []
    for record in records:
        if record is None:
            made.append(None)
        elif "built" in record and "targets" in record:
            owners = _owners(owners, record)
            made.append(_world(record, owners))
        elif "program" in record:
            made.append({"kind": "program", **_chosen(record, PROGRAM)})
        elif "letters" in record:
            made.append({"kind": "answers", **_chosen(record, ANSWERS)})
        else:
            made.append({"kind": "facts", "facts": dict(record)})
    return made


PROGRAM = ("program", "checks", "errors", "passed", "tests", "timeouts", "loaded", "problem")
ANSWERS = ("letters", "confidences", "formed", "joint_answer", "answer")
WORLD = ("targets", "size", "from", "accepted", "rejected", "attacks", "alive", "kills", "hits")


def _chosen(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _world(record: Mapping[str, Any], owners: Mapping[Cell, int]) -> dict[str, Any]:
    built = [[x, y, z, block, owners.get((x, y, z))] for x, y, z, block in record["built"]]
    kind = "house" if len(record["size"]) == 3 else "wall"
    return {"kind": kind, **_chosen(record, WORLD), "built": built}


def _owners(before: Owners, record: Mapping[str, Any]) -> Owners:
    """Who placed each block that stands: the last agent to write a cell, agents' commands in order."""
    owners = dict(before)
    for agent, cells in _placed(record):
        for cell, block in cells:
            if block == AIR:
                owners.pop(cell, None)
            else:
                owners[cell] = agent
    standing = {(x, y, z) for x, y, z, _ in record["built"]}
    return {cell: agent for cell, agent in owners.items() if cell in standing}


def _placed(record: Mapping[str, Any]) -> Iterator[tuple[int, list[tuple[Cell, str]]]]:
    """Cells that each agent wrote, in order: single blocks (`placed`) or boxes (`filled`)."""
    for agent, commands in enumerate(record.get("placed", [])):
        yield agent, [((x, y, z), block) for x, y, z, block in commands]
    for agent, boxes in enumerate(record.get("filled", [])):
        yield agent, [(cell, box[6]) for box in boxes for cell in _cells(box)]


def _cells(box: Sequence[Any]) -> Iterator[Cell]:
    x, y, z, right, top, far = box[:6]
    for height in range(y, top + 1):
        for depth in range(z, far + 1):
            for column in range(x, right + 1):
                yield column, height, depth
