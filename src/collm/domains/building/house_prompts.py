"""Wording of the HouseBuild observations: the task, the threat, the feedback of each mode, and the follow-up turns.

Everything here is a pure function of the house, of one agent's own role and of what the environment told that agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from collm.domains.building.house_world import Box, House, layer_rectangles, solid_boxes
from collm.domains.building.str_build_prompts import lasting, order

SYSTEM = "You build houses in a block world. Reply with commands only."
_FORMAT = "/fill x1 y1 z1 x2 y2 z2 block"
_DAMAGE = "/damage @e[type=spider,limit=1]"


@dataclass(frozen=True)
class Role:
    """What one agent is told about itself: its place among `agents`, its share of the commands and its quotas (None:
    none), whether the world persists, how the target is listed, and the arms: health, attack (0: no `/damage`)."""

    agent: int
    agents: int
    limit: int
    quotas: Mapping[str, int] | None
    persistent: bool
    target: str
    player_hp: int
    player_attack: int
    attack_range: tuple[int, int]
    spiders: int


def task_text(house: House, role: Role, feedback: Mapping[str, Any] | None) -> str:
    """The task as told at the first turn; without `feedback` the spiders' attacks are given as a range."""
    team = f"You are builder {role.agent + 1} of {role.agents}." if role.agents > 1 else "You are the only builder."
    lines = [f"{team} Build this house of filled boxes, x1 y1 z1 x2 y2 z2 block:", target_text(house, role.target)]
    ranges = (f"{axis} {low} to {high}" for axis, low, high in zip("xyz", house.low, house.high, strict=True))
    lines.append(f"Box: {', '.join(ranges)}. All other cells are air.")
    threat = threat_text(role, feedback)
    if threat:
        lines.append(threat)
    if role.agents > 1:
        share = "half, the other builder builds" if role.agents == 2 else f"one in {role.agents}, the others build"
        lines.append(f"Build about {share} the rest. " + order(role.agent, role.agents))
    lines.append(lasting(role.persistent))
    lines.append(f"One command per line, at most {role.limit}, no other text:\n{_FORMAT}")
    lines.append(blocks_text(house, role))
    return "\n".join(lines)


def brief(
    boxes: Iterable[Box],
    role: Role,
    feedback: Mapping[str, Any] | None,
    turn: int = 0,
    last_response: str | None = None,
) -> str:
    """The task in as few words as there can be: the boxes of all shares, spiders, and who one is; at a later turn its
    number, and the agent's own last reply if given. It ends with a line break, on which an answer can follow.
    """
    lines = [f"Turn {turn + 1}."] if turn else []
    if last_response is not None:
        lines.append(f"Your last reply:\n{last_response}")
    lines += map(str, boxes)
    attacks = [attack for attack, _ in feedback["spiders"]] if feedback else role.spiders * [role.attack_range[0]]
    if attacks:
        lines.append(f"Spiders: {' + '.join(map(str, attacks))}.")
    lines.append(f"Builder {role.agent + 1}.")
    return "\n".join(lines) + "\n"


def target_text(house: House, target: str) -> str:
    """The solid cells, `boxes`: one box per line; `layers`: one line per y with the rectangles of that layer."""
    if target == "boxes":
        return "\n".join(map(str, solid_boxes(house)))
    layers = groupby(layer_rectangles(house), key=lambda box: box.low[1])
    return "\n".join(f"y={y}: {_boxes(boxes)}" for y, boxes in layers)


def _boxes(boxes: Iterable[Box]) -> str:
    return ", ".join(f"({box})" for box in boxes)


def blocks_text(house: House, role: Role) -> str:
    """The blocks one may use, with the quotas if there are any; "" in no case."""
    if role.quotas is None:
        return f"Blocks: {', '.join(house.inventory)}; air clears."
    limits = ", ".join(f"{block} {role.quotas[block]}" for block in house.inventory)
    return f"Your blocks and most cells of each per turn: {limits}; air is free."


def threat_text(role: Role, feedback: Mapping[str, Any] | None) -> str:
    """The living spiders, their attacks and the remedy; "" if none lives."""
    if feedback is None:
        number = role.spiders
        low, high = role.attack_range
        facts = f"each attacks for {low} to {high}"
    else:
        number = len(feedback["spiders"])
        attacks = [attack for attack, _ in feedback["spiders"]]
        facts = f"attack {' + '.join(map(str, attacks))} = {sum(attacks)}"
    if not number:
        return ""
    text = f"{number} spider{'s' * (number > 1)}, {facts}; you have {role.player_hp} HP. One line /kill removes them"
    if role.player_attack:
        health = "" if feedback is None else f" of {', '.join(str(health) for _, health in feedback['spiders'])} health"
        text += f", {_DAMAGE} {role.player_attack} hits one{health}"
    return text + "."


def follow_up(
    house: House,
    role: Role,
    turn: int,
    feedback: Mapping[str, Any] | None,
    original: str | None,
    own_response: str | None,
) -> str:
    """The user text of a later turn: turn number (from 1), feedback, the task again, the agent's own last reply."""
    pieces = [f"Turn {turn + 1}. {feedback_text(house, role, feedback)}".rstrip()]
    if original is not None:
        pieces.append(original)
    else:
        pieces.append("\n".join(filter(None, (threat_text(role, feedback), blocks_text(house, role), _rules(role)))))
    if own_response is not None:
        pieces.append(f"Your last reply:\n{own_response}")
    return "\n\n".join(pieces)


def _rules(role: Role) -> str:
    return f"At most {role.limit} commands, one per line: {_FORMAT}"


def feedback_text(house: House, role: Role, feedback: Mapping[str, Any] | None) -> str:
    """What the environment said, in words; "" if nothing."""
    if feedback is None or "mode" not in feedback:
        return ""
    mode = feedback["mode"]
    if mode == "score":
        return f"The reward of the last turn was {feedback['reward']:.4f}, the best is {feedback['best']:g}."
    if mode == "position":
        return _position_text(house, role)
    text = {"perfect": _perfect_text, "position_modification": _cells_text}.get(mode, _boxes_text)(role, feedback)
    return text if role.persistent else f"{text} The world is empty again: send your right commands once more, too."


def _position_text(house: House, role: Role) -> str:
    number = len(house.solid)
    by_row = sorted(house.solid, key=lambda item: (house.inventory.index(item[1]), item[0][1], item[0][2]))
    rows = groupby(by_row, key=lambda item: (item[1], item[0][1], item[0][2]))
    listed = "\n".join(f"{block} {y} {z}: {' '.join(str(cell[0]) for cell, _ in row)}" for (block, y, z), row in rows)
    advice = f"\nTake about {max(1, number // 2)} of these {number} cells." if role.agents > 1 else ""
    return f"Solid cells, each line block y z: x values.\n{listed}{advice}"


def _perfect_text(role: Role, feedback: Mapping[str, Any]) -> str:
    text = "No cell lacks its block."
    if feedback["place"]:
        text = f"Your share of the wrong cells: {cells_text(feedback['place'])}."
    if feedback["clear"]:
        text += f" {_air(role)}: {cells_text(feedback['clear'])}."
    return text


def _cells_text(role: Role, feedback: Mapping[str, Any]) -> str:
    if not feedback["cells"]:
        return "All cells are right."
    return f"{feedback['wrong']} cells are wrong, the first should be: {cells_text(feedback['cells'])}."


def _boxes_text(role: Role, feedback: Mapping[str, Any]) -> str:
    rectangles = feedback["mode"] == "rect_modification"
    if rectangles:
        low, high = feedback["layers"]
        text = f"Rectangles of layers y {low} to {high} with wrong cells"
    else:
        text = "Largest missing rectangles that fit what you had left"
    text += f": {', '.join(feedback['boxes'])}." if feedback["boxes"] else ": none."
    if rectangles and feedback["clear"]:
        text += f" {_air(role)}: {cells_text(feedback['clear'])}."
    if not rectangles and feedback["partial"]:
        text += f" A part that fits: {feedback['partial']}."
    if not rectangles:
        left = ", ".join(f"{block} {number}" for block, number in feedback["left"].items())
        text += f" You had left: {left}."
    return f"{text} Your accepted commands: {'; '.join(feedback['own']) or 'none'}."


def _air(role: Role) -> str:
    return "Set to air" if role.persistent else "Leave empty"


def cells_text(cells: Sequence[Sequence[Any]]) -> str:
    """Cells as "x y z" or "x y z block", separated by semicolons."""
    return "; ".join(" ".join(map(str, cell)) for cell in cells)
