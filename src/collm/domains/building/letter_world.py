"""The block world of StrBuild: letters as targets, the command grammar, the simulator and what is counted in it.

Coordinates: x = column (0 left), y = height (0 bottom; grids are listed top row first, y = 4), z = one fixed plane.
A world is a dict cell -> block without air. Sources: paper sections 6.1, E.3, F.3 and the released StrBuild code.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Cell = tuple[int, int, int]
World = dict[Cell, str]

HEIGHT = 5
GLYPH_WIDTH = 5
SPARSEST = 5  # one cell in so many of a drawing is a target, at least
AIR = frozenset({"air", "cave_air", "void_air"})

# Five rows of five bits per letter, top row first, the left column in the high bit.
_FONT = {
    letter: tuple(int(row, 16) for row in rows.split())
    for letter, rows in {
        "A": "0E 11 1F 11 11",
        "B": "1E 11 1E 11 1E",
        "C": "0F 10 10 10 0F",
        "D": "1E 11 11 11 1E",
        "E": "1F 10 1E 10 1F",
        "F": "1F 10 1E 10 10",
        "G": "0F 10 17 11 0E",
        "H": "11 11 1F 11 11",
        "I": "1F 04 04 04 1F",
        "J": "07 02 02 12 0C",
        "K": "11 12 1C 12 11",
        "L": "10 10 10 10 1F",
        "M": "11 1B 15 11 11",
        "N": "11 19 15 13 11",
        "O": "0E 11 11 11 0E",
        "P": "1E 11 1E 10 10",
        "Q": "0E 11 11 13 0F",
        "R": "1E 11 1E 12 11",
        "S": "0F 10 0E 01 1E",
        "T": "1F 04 04 04 04",
        "U": "11 11 11 11 0E",
        "V": "11 11 11 0A 04",
        "W": "11 11 15 1B 11",
        "X": "11 0A 04 0A 11",
        "Y": "11 0A 04 04 04",
        "Z": "1F 02 04 08 1F",
    }.items()
}
LETTERS = "".join(_FONT)

_LIST_MARK = re.compile(r"^(?:[-*]+|\d+[.)])\s*")
_LANGUAGE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Grid:
    """A drawn string: `rows` top row first ("#" target, "." background), targets in reading order, one plane z."""

    rows: tuple[str, ...]
    targets: tuple[Cell, ...]
    z: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    @property
    def height(self) -> int:
        """Number of rows: 5 for letters."""
        return len(self.rows)

    @property
    def background(self) -> int:
        """Number of cells that are no targets."""
        return self.width * self.height - len(self.targets)

    @property
    def corner(self) -> Cell:
        """The highest coordinates inside the box; the lowest are (0, 0, z)."""
        return max(0, self.width - 1), self.height - 1, self.z

    def holds(self, cell: Cell) -> bool:
        """Whether the cell lies inside the box."""
        x, y, z = cell
        return 0 <= x <= self.corner[0] and 0 <= y < self.height and z == self.z


@functools.lru_cache(maxsize=1024)
def render(text: str, spacing: int, z: int = 0) -> Grid:
    """Draw `text` (upper-cased; characters other than A-Z are blank) with `spacing` empty columns between letters.

    A text that `is_drawing` is its own picture.
    """
    if is_drawing(text):
        return _grid(tuple(text.split("/")), z)
    glyphs = [_FONT.get(letter, (0,) * HEIGHT) for letter in text.strip().upper()]
    gap = "." * spacing
    rows = tuple(
        gap.join(f"{glyph[row]:0{GLYPH_WIDTH}b}".replace("0", ".").replace("1", "#") for glyph in glyphs)
        for row in range(HEIGHT)
    )
    return _grid(rows, z)


def is_drawing(text: str) -> bool:
    """Whether a text is the rows of a picture, "#./##": top row first, of one width, at most as large as a letter."""
    rows = text.split("/")
    return (
        set(text) <= {"#", ".", "/"}
        and "#" in text
        and len(rows) <= HEIGHT
        and {len(row) for row in rows} <= {len(rows[0])}
        and len(rows[0]) <= GLYPH_WIDTH
    )


def _grid(rows: tuple[str, ...], z: int) -> Grid:
    targets = tuple(
        (x, len(rows) - 1 - row, z) for row, line in enumerate(rows) for x, mark in enumerate(line) if mark == "#"
    )
    return Grid(rows, targets, z)


def scribble(rng: random.Random, z: int = 0) -> Grid:
    """A drawing as wide as one letter whose cells are random, about half of them targets (at least four)."""
    while True:
        rows = tuple("".join(rng.choice(".#") for _ in range(GLYPH_WIDTH)) for _ in range(HEIGHT))
        if sum(row.count("#") for row in rows) >= 4:
            return _grid(rows, z)


def dense(drawing: str) -> bool:
    """Whether a drawing has enough targets to be a task."""
    return drawing.count("#") * SPARSEST >= len(drawing.replace("/", ""))


def worst_extra_ratio(spacing: int) -> float:
    """The most background cells per target that a string of A-Z or a dense drawing can have (for the lowest reward)."""
    fewest = min(sum(row.bit_count() for row in glyph) for glyph in _FONT.values())
    return max(SPARSEST - 1.0, (HEIGHT * (GLYPH_WIDTH + spacing) - fewest) / fewest)


def block_name(block: str) -> str:
    """A block id without surrounding blanks and without the prefix "minecraft:"."""
    return block.strip().removeprefix("minecraft:")


def family(block: str) -> str:
    """The texture family by which neighbours are compared; blocks outside the known families stand for themselves."""
    name = block.lower()
    if name.endswith(("_planks", "_wood")):
        return "wood"
    if name in ("stone", "cobblestone", "stone_bricks") or name.endswith(("_stone", "_stone_bricks")):
        return "stone"
    if name.endswith("_concrete"):
        return "concrete"
    return name


def parse_commands(text: str, grid: Grid, blocks: Iterable[str], limit: int) -> tuple[list[tuple[Cell, str]], int]:
    """The accepted (cell, block) commands of one answer, in order, and the number of rejected lines.

    One command per line: an optional list mark, an optional slash, `setblock` in any case, three whole numbers, a
    block of one's own `blocks` or air; further words are ignored. If the text holds a closed code fence, only the
    first one counts. Lines after `limit` accepted commands are rejected. Rejected lines cost nothing.
    """
    allowed = {block_name(block) for block in blocks} | {"air"}
    accepted: list[tuple[Cell, str]] = []
    rejected = 0
    for command in command_lines(text):
        parsed = _command(command, grid, allowed) if len(accepted) < limit else None
        if parsed is None:
            rejected += 1
        else:
            accepted.append(parsed)
    return accepted, rejected


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every line that is not empty, without list mark and slash; of the first code fence if one closes."""
    for line in _fenced(text).splitlines():
        command = _LIST_MARK.sub("", line.strip()).removeprefix("/").split()
        if command:
            yield command


def _command(command: Sequence[str], grid: Grid, allowed: set[str]) -> tuple[Cell, str] | None:
    if command[0].lower() != "setblock" or len(command) < 5:
        return None
    try:
        x, y, z = (int(number) for number in command[1:4])
    except ValueError:
        return None
    block = block_name(command[4])
    return ((x, y, z), block) if block in allowed and grid.holds((x, y, z)) else None


def _fenced(text: str) -> str:
    """The inside of the first code fence, without a language word on its first line; the text itself if none."""
    pieces = text.strip().split("```", 2)
    if len(pieces) < 3:
        return text
    inside = pieces[1].strip()
    first, newline, rest = inside.partition("\n")
    return rest if newline and _LANGUAGE.fullmatch(first.strip()) else inside


def limits(total: int, agents: int) -> tuple[int, ...]:
    """Commands each agent may use: an equal share of `total`, at least one, and the remainder to the first."""
    share = max(1, total // agents)
    return (share + total % agents, *[share] * (agents - 1))


def apply(world: Mapping[Cell, str], commands: Iterable[tuple[Cell, str]]) -> World:
    """The world after the commands, in order: the last write wins and air clears a cell."""
    built = dict(world)
    for cell, block in commands:
        if block in AIR:
            built.pop(cell, None)
        else:
            built[cell] = block
    return built


@dataclass(frozen=True)
class Counts:
    """What the reward needs to know of a world.

    `pairs`: side neighbours (in x and y) that are both built, `same_pairs`: those of one texture family; blocks off
    the target count too. `missing_palettes`: agents whose blocks do not all stand somewhere in the world.
    """

    targets: int
    background: int
    covered: int
    extra: int
    pairs: int
    same_pairs: int
    missing_palettes: int

    @property
    def coverage(self) -> float:
        """Covered share of the targets in [0, 1]; the material does not matter."""
        return self.covered / self.targets if self.targets else 0.0

    @property
    def adjacency(self) -> float:
        """Same-texture share of the neighbour pairs in [0, 1], 0 without pairs."""
        return self.same_pairs / self.pairs if self.pairs else 0.0

    @property
    def iou(self) -> float:
        """Built and wanted over built or wanted cells in [0, 1]; 0 if both are empty."""
        union = self.targets + self.extra
        return self.covered / union if union else 0.0


def count(grid: Grid, world: Mapping[Cell, str], palettes: Sequence[Sequence[str]]) -> Counts:
    """Count coverage, extras, neighbours and palettes; `palettes[i]` are the blocks of agent i (air is skipped)."""
    covered = sum(cell in world for cell in grid.targets)
    families = {cell: family(block) for cell, block in world.items()}
    pairs = same = 0
    for (x, y, z), texture in families.items():
        for neighbour in ((x + 1, y, z), (x, y + 1, z)):
            if neighbour in families:
                pairs += 1
                same += families[neighbour] == texture
    present = set(world.values())
    missing = sum(not {block_name(b) for b in palette} - AIR <= present for palette in palettes)
    return Counts(len(grid.targets), grid.background, covered, len(world) - covered, pairs, same, missing)


def reward_parts(counts: Counts, profile: str) -> dict[str, float]:
    """The named parts of the joint reward; their sum is at most 2.

    `released`: 2 cov - 1.5 extra / background - 1.0 adj - 0.25 per agent with an incomplete palette.
    `paper` (appendix F.3): 2 cov - 1.5 extra / targets - 0.5 adj, no palette part. Two readings are inferred. The
    paper divides the extras by "total", the symbol it also uses for the targets in the coverage term; and its
    neighbour term prints 2 * total pairs in the denominator, which amounts to the weight 0.5.
    """
    divisor = counts.background if profile == "released" else counts.targets
    extra = counts.extra / divisor if divisor else 0.0
    weight = 1.0 if profile == "released" else 0.5
    parts = {
        "coverage": 2.0 * counts.coverage,
        "extra": 0.0 - 1.5 * extra,
        "adjacency": 0.0 - weight * counts.adjacency,
    }
    if profile == "released":
        parts["palette"] = 0.0 - 0.25 * counts.missing_palettes
    return parts
