"""Wording of the StrBuild observations: the task, the feedback of each mode, and the follow-up turns.

Everything here is a pure function of the grid, of one agent's own role and of what the environment told that agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from collm.domains.building.letter_world import Grid

SYSTEM = "You build letters in a block world. Reply with commands only."
_FORMAT = "/setblock x y z block"


@dataclass(frozen=True)
class Role:
    """What one agent is told about itself: its place among `agents`, its blocks and its share of the commands."""

    agent: int
    agents: int
    blocks: tuple[str, ...]
    limit: int
    persistent: bool


def task_text(grid: Grid, role: Role, show_grid: bool, list_cells: bool = False) -> str:
    """The task as told at the first turn; without `show_grid` and `list_cells` the target appears only in later
    feedback."""
    team = f"You are builder {role.agent + 1} of {role.agents}." if role.agents > 1 else "You are the only builder."
    lines = [team]
    if show_grid:
        lines[0] += (
            f" Build the # cells of this grid and no others."
            f" Each line starts with its y, x counts from 0 at the left, z is {grid.z}."
        )
        lines.append(grid_text(grid))
    if list_cells:
        lines.append(f"Target cells as x y z, row by row:\n{cells_text(grid)}")
    width = grid.corner[0]
    lines.append(f"Box: x 0 to {width}, y 0 to {grid.corner[1]}, z {grid.z}.")
    lines.append(f"Your blocks: {', '.join(role.blocks)}. Use each of them; air clears a cell.")
    if role.agents > 1:
        lines.append(_share(role) + order(role.agent, role.agents))
    lines.append("Side neighbours must not have the same texture.")
    lines.append(lasting(role.persistent))
    lines.append(f"One command per line, at most {role.limit}, no other text:\n{_FORMAT}")
    return "\n".join(lines)


def brief(grid: Grid, role: Role, turn: int = 0, last_response: str | None = None) -> str:
    """The task in as few words as there can be; at a later turn its number, and the agent's own last reply if given.

    It ends with a line break, so that without a chat template the answer begins on a line of its own.
    """
    lines = [f"Turn {turn + 1}."] if turn else []
    if last_response is not None:
        lines.append(f"Your last reply:\n{last_response}")
    lines += [cells_text(grid), f"Your blocks: {', '.join(role.blocks)}."]
    if role.agents > 2:  # two builders know each other by their blocks
        lines.append(f"Builder {role.agent + 1} of {role.agents}.")
    return "\n".join(lines) + "\n"


def lasting(persistent: bool) -> str:
    """What becomes of the blocks between turns (HouseBuild says the same)."""
    if persistent:
        return "Blocks stay from turn to turn."
    return "The world restarts empty each turn: always send all your commands."


def builders(agents: int) -> tuple[str, ...]:
    """Names of the builders of a team (HouseBuild has the same)."""
    named = ("first_builder", "second_builder", *(f"builder_{number}" for number in range(3, agents + 1)))
    return ("builder",) if agents == 1 else named


def order(agent: int, agents: int) -> str:
    """Whose commands run after whose, told to the builder at place `agent` from 0 (HouseBuild says the same)."""
    if agents > 2:
        before = f"Your commands run after those of {'builder 1' if agent == 1 else 'the builders before you'}"
        after = "later builders' run after yours and overwrite them."
        return (
            f"{before} and overwrite them."
            if agent == agents - 1
            else f"{before}; {after}"
            if agent
            else after.capitalize()
        )
    if agent:
        return "Your commands run last and overwrite those of builder 1."
    return "Builder 2's commands run after yours and overwrite them."


def _share(role: Role) -> str:
    if role.agents == 2:
        return "Place about half of the target cells, the other builder places the rest. "
    return f"Place about one in {role.agents} of the target cells, the other builders place the rest. "


def grid_text(grid: Grid) -> str:
    """One line per row, top row first: its y, then one mark per cell, separated by blanks."""
    return "\n".join(f"{grid.height - 1 - index} {' '.join(row)}" for index, row in enumerate(grid.rows))


def targets_text(grid: Grid) -> str:
    """All target cells, top row first: "4: 0 2 3" says that row y = 4 has targets at x = 0, 2 and 3."""
    rows = groupby(grid.targets, key=lambda cell: cell[1])
    return "\n".join(f"{y}: {' '.join(str(cell[0]) for cell in cells)}" for y, cells in rows)


def cells_text(grid: Grid) -> str:
    """All target cells as a command names them, one line per row, top row first."""
    rows = groupby(grid.targets, key=lambda cell: cell[1])
    return "\n".join(", ".join(f"{x} {y} {z}" for x, y, z in cells) for _, cells in rows)


def follow_up(grid: Grid, role: Role, turn: int, feedback: Any, original: str | None, own_response: str | None) -> str:
    """The user text of a later turn: turn number (from 1), feedback, the task again, the agent's own last reply."""
    words = feedback_text(grid, role, feedback, complete=original is None)
    pieces = [f"Turn {turn + 1}. {words}".rstrip()]
    if original is not None:
        pieces.append(original)
    if own_response is not None:
        pieces.append(f"Your last reply:\n{own_response}")
    return "\n\n".join(pieces)


def feedback_text(grid: Grid, role: Role, feedback: Mapping[str, Any] | None, complete: bool) -> str:
    """What the environment said, in words; `complete` adds blocks, rule and format for prompts without the task."""
    if feedback is None:
        return ""
    mode = feedback["mode"]
    if mode == "score":
        text = f"The reward of the last turn was {feedback['reward']:.4f}, the best is 2."
    elif mode == "position":
        text = _position_text(grid, role)
    else:
        text = _perfect_text(role, feedback)
    if complete:
        text += (
            f"\nYour blocks: {', '.join(role.blocks)}. Side neighbours must not have the same texture."
            f" At most {role.limit} commands, one per line: {_FORMAT}"
        )
    return text


def _position_text(grid: Grid, role: Role) -> str:
    number = len(grid.targets)
    advice = f" Take about {max(1, number // role.agents)} of these {number} cells." if role.agents > 1 else ""
    return f"Target cells, each line y: x values.\n{targets_text(grid)}\n{advice.strip()}".rstrip()


def _perfect_text(role: Role, feedback: Mapping[str, Any]) -> str:
    place, clear = feedback["place"], feedback["clear"]
    text = f"Your wrong cells: {_cells(place)}." if place else "All your cells are right."
    if clear:
        text += f" {'Set to air' if role.persistent else 'Leave empty'}: {_cells(clear)}."
    if not role.persistent:
        text += " The world is empty again: send your right cells once more, too."
    return text


def _cells(cells: Sequence[Sequence[Any]]) -> str:
    return "; ".join(" ".join(map(str, cell)) for cell in cells)
