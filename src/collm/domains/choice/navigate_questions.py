"""Walks for navigate: reading instructions, where they end, and seeded instructions in the public task's form."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from collm.domains.base import RawRow

QUESTION = "If you follow these instructions, do you return to the starting point?"
FACING = "Always face forward"
_STEPS = re.compile(r"Take (\d{1,4}) steps?(?: (forward|backward|left|right))?", re.ASCII)
_SIDES = {None: 0, "forward": 0, "right": 1, "backward": 2, "left": 3}  # quarter turns clockwise from straight on
_TURNS = {"Turn right": 1, "Turn around": 2, "Turn left": 3}
_MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))  # by heading: ahead, right, back, left
_SHARE = 0.5  # of walks that end where they began

Place = tuple[int, int]
Instruction = tuple[int, int]  # steps and the side they go to; or 0 and a turn; both in quarter turns clockwise


def parse(question: str) -> list[Instruction] | None:
    """The instructions of a walk; None if one is not of the known forms."""
    instructions: list[Instruction] = []
    for part in re.split(r"[.?]\s*", question.replace(QUESTION, "").strip()):
        match = _STEPS.fullmatch(part)
        if match:
            instructions.append((int(match[1]), _SIDES[match[2]]))
        elif part in _TURNS:
            instructions.append((0, _TURNS[part]))
        elif part and part != FACING:
            return None
    return instructions


def places(instructions: Sequence[Instruction]) -> list[Place]:
    """Place (right, ahead), seen from the start as it faces, after each instruction that moves."""
    heading, right, ahead, visited = 0, 0, 0, []
    for steps, turn in instructions:
        if not steps:
            heading += turn
            continue
        x, y = _MOVES[(heading + turn) % 4]
        right, ahead = right + steps * x, ahead + steps * y
        visited.append((right, ahead))
    return visited


def working(visited: Sequence[Place]) -> str:
    """The places one after another as "right,ahead", then a full stop: where a walk goes, in the fewest words."""
    return " ".join(f"{right},{ahead}" for right, ahead in visited or [(0, 0)]) + "."


def generate(seed: int, count: int) -> list[RawRow]:
    """`count` different walks as rows {"input", "target"}; about half return, answers are computed."""
    rng = random.Random(f"navigate {seed}")
    rows: list[RawRow] = []
    taken: set[str] = set()
    while len(rows) < count:
        question, answer = _walk(rng)
        if question not in taken:
            taken.add(question)
            text = f"{question}\nOptions:\n- Yes\n- No"
            rows.append(RawRow({"input": text, "target": answer}, f"generated:{len(rows) + 1}"))
    return rows


def _walk(rng: random.Random) -> tuple[str, str]:
    """Instructions of one of the two kinds, drawn again until they return or not, as decided beforehand."""
    returns, facing, length = rng.random() < _SHARE, rng.random() < 0.5, rng.randint(3, 8)
    while True:
        drawn = [_instruction(rng, facing) for _ in range(length)]
        visited = places(drawn)
        if visited and (visited[-1] == (0, 0)) == returns:
            break
    parts = [_text(steps, turn, facing) for steps, turn in drawn]
    return f"{QUESTION} {'. '.join([FACING, *parts] if facing else parts)}.", "Yes" if returns else "No"


def _instruction(rng: random.Random, facing: bool) -> Instruction:
    if facing:
        return rng.randint(1, 10), rng.randrange(4)
    return (0, rng.randint(1, 3)) if rng.random() < 0.4 else (rng.randint(1, 10), 0)


def _text(steps: int, turn: int, facing: bool) -> str:
    if not steps:
        return next(text for text, quarters in _TURNS.items() if quarters == turn)
    side = next(f" {text}" for text, quarters in _SIDES.items() if text and quarters == turn) if facing else ""
    return f"Take {steps} step{'s' if steps > 1 else ''}{side}"


def fields_of(row: RawRow) -> dict[str, Any]:
    """Split `input` into question and options (lines "- Yes" after "Options:"; without them Yes and No)."""
    text = row.fields["input"]
    question, _, listed = text.partition("Options:")
    options = [line.strip()[2:].strip() for line in listed.splitlines() if line.strip().startswith("- ")]
    return {"question": question.strip(), "choices": options or ["Yes", "No"]}
