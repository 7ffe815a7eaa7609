"""Scripted play for StrBuild: the reference colouring, noisy experts, and further strings to build."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterable, Sequence

from collm.common.errors import ConfigError
from collm.domains.building.letter_world import LETTERS, Cell, Grid, render

Command = tuple[Cell, str]

# Chances per command at noise 1; what is left over is played right.
_DROP, _MOVE, _RECOLOUR, _EXTRA = 0.3, 0.25, 0.15, 0.25

CELLS = (3, 4, 5)  # of a generated drawing
_TWO_PALETTES = (("a", "b"), ("c", "d"))


def plan(grid: Grid, palettes: Sequence[Sequence[str]]) -> tuple[tuple[Command, ...], ...]:
    """The reference colouring: per agent its (cell, block) commands in reading order; joint reward 2, the maximum.

    (Under profile `released` some drawings hold too few cells for all blocks, and their maximum is lower.)

    The targets are a checkerboard of the two agents and each agent alternates its blocks, so that no side neighbours
    are alike and every block is used. (The released code ties the block to the same parity as the agent; its
    reference uses one block per agent and scores 1.5.) Where one colour of the board holds too few targets for the
    palette (a lone X has no odd cell), columns alternate between the agents and each agent's blocks change with y.
    One agent alone plays both halves. More than two share them: of a half, which is one palette's, each of its builders
    has every so many-th cell in reading order, and at least one, which two builders may then both place.
    """
    if len(palettes) > 2:
        halves = plan(grid, palettes[:2])
        return tuple(
            _dealt(halves[agent % 2], agent // 2, len(palettes[agent % 2 :: 2])) for agent in range(len(palettes))
        )
    if len(palettes) == 1:
        half = (len(palettes[0]) + 1) // 2
        both = plan(grid, (palettes[0][:half], palettes[0][half:]))
        merged = {cell: block for commands in both for cell, block in commands}
        return (tuple((cell, merged[cell]) for cell in grid.targets),)
    shares: tuple[list[Command], ...] = ([], [])
    for cell in grid.targets:
        share = shares[(cell[0] + cell[1]) % 2]
        palette = palettes[(cell[0] + cell[1]) % 2]
        share.append((cell, palette[len(share) % len(palette)]))
    if all(len(share) >= len(palette) for share, palette in zip(shares, palettes, strict=True)):
        return tuple(map(tuple, shares))
    shares = ([], [])
    for cell in grid.targets:
        colour = cell[0] + 2 * cell[1]
        palette = palettes[colour % 2]
        shares[colour % 2].append((cell, palette[colour // 2 % len(palette)]))
    return tuple(map(tuple, shares))


def _dealt(half: tuple[Command, ...], place: int, builders: int) -> tuple[Command, ...]:
    return half[place::builders] or half[-1:]


def noisy(planned: Sequence[Command], blocks: Sequence[str], grid: Grid, rng: random.Random, noise: float) -> str:
    """One agent's answer: its planned commands of which some are dropped, moved, recoloured or joined by extras."""
    played: list[Command] = []
    for cell, block in planned:
        fate = rng.random()
        if fate >= noise * _DROP:
            if fate < noise * (_DROP + _MOVE):
                cell = _neighbour(cell, grid, rng)
            elif fate < noise * (_DROP + _MOVE + _RECOLOUR):
                block = rng.choice([other for other in blocks if other != block])
            played.append((cell, block))
        if rng.random() < noise * _EXTRA:
            anywhere = (rng.randint(0, grid.corner[0]), rng.randint(0, grid.corner[1]), grid.z)
            played.append((anywhere, rng.choice(blocks)))
    return command_text(played or planned[:1])


def _neighbour(cell: Cell, grid: Grid, rng: random.Random) -> Cell:
    x, y, z = cell
    around = [(x - 1, y, z), (x + 1, y, z), (x, y - 1, z), (x, y + 1, z)]
    return rng.choice([other for other in around if grid.holds(other)])


def command_text(commands: Iterable[Command]) -> str:
    """One line per command in the format of the prompt."""
    return "\n".join(f"/setblock {x} {y} {z} {block}" for (x, y, z), block in commands)


@functools.cache
def drawings() -> tuple[str, ...]:
    """All drawings of `CELLS` cells in a box of three by three in which two builders both have a cell to build."""
    pictures = []
    for cells in itertools.product(".#", repeat=9):
        rows = "/".join("".join(cells[start : start + 3]) for start in (0, 3, 6))
        if cells.count("#") in CELLS and all(plan(render(rows, 0), _TWO_PALETTES)):
            pictures.append(rows)
    return tuple(pictures)


def further_strings(seed: int, number: int, lengths: Sequence[int], taken: Iterable[str]) -> list[str]:
    """`number` distinct strings of A-Z, none in `taken`, their lengths drawn from `lengths`; length 0: a drawing.

    The same seed gives the same strings, and a larger number only appends. ConfigError if there are not that many.
    """
    used = set(taken)
    pictures = [picture for picture in drawings() if picture not in used] if 0 in lengths else []
    random.Random(seed).shuffle(pictures)
    room = {n: len(LETTERS) ** n - sum(len(word) == n for word in used) for n in dict.fromkeys(lengths) if n}
    room |= {0: len(pictures)} if pictures else {}
    if number > sum(room.values()):
        raise ConfigError(
            f"domain.str_build.options.generated: {number} strings of {', '.join(map(str, room))} letters are not "
            f"possible, only {sum(room.values())}; ask for fewer or for a higher difficulty"
        )
    rng = random.Random(seed)
    strings: list[str] = []
    while len(strings) < number:
        length = rng.choice([n for n in lengths if room.get(n)])
        word = "".join(rng.choices(LETTERS, k=length)) if length else pictures[room[0] - 1]
        if word not in used:
            used.add(word)
            room[length] -= 1
            strings.append(word)
    return strings
