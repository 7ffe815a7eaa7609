"""Walks for navigate: reading instructions, where they end, and seeded instructions in the public task's form."""

from __future__ import annotations

import random
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from collm.common.errors import ConfigError
from collm.domains.base import RawRow

QUESTION = "If you follow these instructions, do you return to the starting point?"
FACING = "Always face forward"
_STEPS = re.compile(r"Take (\d{1,4}) steps?(?: (forward|backward|left|right))?", re.ASCII)
_SIDE_NAMES = ("forward", "right", "backward", "left")  # by quarter turns clockwise from straight on
_SIDES: dict[str | None, int] = {None: 0, **{name: quarters for quarters, name in enumerate(_SIDE_NAMES)}}
_TURNS = {"Turn right": 1, "Turn around": 2, "Turn left": 3}
_MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))  # by heading: ahead, right, back, left
_SHARE = 0.5  # of walks that end where they began
_DRAWS = 10_000  # of instructions, until they return or do not: one walk of three with turns in 300 or so does
_ATTEMPTS = 200  # walks drawn in a row, until one is new
KINDS = ("both", "facing", "turning")

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


def legs(instructions: Sequence[Instruction]) -> list[tuple[int, int, Place]]:
    """Of each instruction that moves its steps, where they go (by heading), and the place (right, ahead) after it.

    All is seen from the start as it faces.
    """
    heading, right, ahead = 0, 0, 0
    gone = []
    for steps, turn in instructions:
        if not steps:
            heading += turn
            continue
        direction = (heading + turn) % 4
        x, y = _MOVES[direction]
        right, ahead = right + steps * x, ahead + steps * y
        gone.append((steps, direction, (right, ahead)))
    return gone


def places(instructions: Sequence[Instruction]) -> list[Place]:
    """Place after each instruction that moves, see `legs`."""
    return [place for _, _, place in legs(instructions)]


def working(instructions: Sequence[Instruction], steps: bool = False) -> str:
    """Where a walk goes: its places one after another as "right,ahead", then a full stop.

    With `steps` each place comes after what leads to it, with a sign before every number: longer, but each part is a
    copy from the question or one sum, and all have the same number of tokens.
    """
    if not steps:
        return " ".join(f"{right},{ahead}" for right, ahead in places(instructions) or [(0, 0)]) + "."
    parts = [f"{count} {_SIDE_NAMES[to]} {right:+d},{ahead:+d}" for count, to, (right, ahead) in legs(instructions)]
    return " ".join(["Here", *parts]) + "."


@dataclass(frozen=True)
class Walks:
    """Which walks are generated.

    Attributes:
        least, most: instructions of a walk.
        reach: most steps that one instruction takes.
        kinds: one of `KINDS`: facing = "Take 3 steps left", always facing forward; turning = "Turn left. Take 3 steps".
    """

    least: int = 3
    most: int = 8
    reach: int = 10
    kinds: str = "both"


def generate(seed: int, count: int, walks: Walks) -> list[RawRow]:
    """`count` different walks as rows {"input", "target"}; about half return, of every length; answers are computed.

    Lengths that run dry of either kind are left out, so that the length tells nothing.

    Raises:
        ConfigError: there are not so many different ones of these `walks`.
    """
    rng = random.Random(f"navigate {seed}")
    lengths = list(range(walks.least, walks.most + 1))
    taken: dict[str, bool] = {}
    while len(taken) < count:
        if not lengths:
            raise ConfigError(
                f"domain.navigate.options.generated: {count} different walks of {walks.least} to {walks.most} "
                f"instructions and at most {walks.reach} steps each were not found, only {len(taken)}; lower "
                "generated, or raise steps or reach"
            )
        returns = rng.random() < _SHARE
        question, length = _walk(rng, returns, walks, lengths, taken)
        if question is None:
            lengths.remove(length)
        else:
            taken[question] = returns
    return [
        RawRow({"input": f"{walk}\nOptions:\n- Yes\n- No", "target": "Yes" if returns else "No"}, f"generated:{number}")
        for number, (walk, returns) in enumerate(taken.items(), start=1)
    ]


def _walk(
    rng: random.Random, returns: bool, walks: Walks, lengths: Sequence[int], taken: Container[str]
) -> tuple[str | None, int]:
    """A new walk that returns or not, as asked for, and its length; None instead of it if none was found."""
    facing, length = _facing(rng, walks.kinds), rng.choice(lengths)
    for _ in range(_ATTEMPTS):
        drawn = _drawn(rng, returns, facing, length, walks.reach)
        if drawn is None:
            break
        parts = [_text(steps, turn, facing) for steps, turn in drawn]
        question = f"{QUESTION} {'. '.join([FACING, *parts] if facing else parts)}."
        if question not in taken:
            return question, length
        facing = _facing(rng, walks.kinds)
    return None, length


def _facing(rng: random.Random, kinds: str) -> bool:
    return kinds == "facing" or (kinds == "both" and rng.random() < 0.5)


def _drawn(rng: random.Random, returns: bool, facing: bool, length: int, reach: int) -> list[Instruction] | None:
    """Instructions, drawn again until they return or not; None if they never do."""
    for _ in range(_DRAWS):
        drawn = [_instruction(rng, facing, reach) for _ in range(length)]
        visited = places(drawn)
        if visited and (visited[-1] == (0, 0)) == returns:
            return drawn
    return None


def _instruction(rng: random.Random, facing: bool, reach: int) -> Instruction:
    if facing:
        return rng.randint(1, reach), rng.randrange(4)
    return (0, rng.randint(1, 3)) if rng.random() < 0.4 else (rng.randint(1, reach), 0)


def _text(steps: int, turn: int, facing: bool) -> str:
    if not steps:
        return next(text for text, quarters in _TURNS.items() if quarters == turn)
    side = f" {_SIDE_NAMES[turn]}" if facing else ""
    return f"Take {steps} step{'s' if steps > 1 else ''}{side}"


def fields_of(row: RawRow) -> dict[str, Any]:
    """Split `input` into question and options (lines "- Yes" after "Options:"; without them Yes and No)."""
    text = row.fields["input"]
    question, _, listed = text.partition("Options:")
    options = [line.strip()[2:].strip() for line in listed.splitlines() if line.strip().startswith("- ")]
    return {"question": question.strip(), "choices": options or ["Yes", "No"]}
