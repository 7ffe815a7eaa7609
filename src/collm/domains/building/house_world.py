"""The block world of HouseBuild: houses, quotas, the command grammar, the simulator, spiders and what is counted.

Coordinates: x = character of a row, y = height (layers are listed bottom up), z = row of a layer. Sources: paper
sections 6.1, E.3, F.3 and the released HouseBuild code. Pure functions without randomness.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from collm.domains.building.letter_world import AIR, Cell, World, block_name, command_lines


@dataclass(frozen=True)
class Box:
    """A filled box: both corners belong to it, `low` has the smaller coordinates."""

    low: Cell
    high: Cell
    block: str

    @property
    def volume(self) -> int:
        """Number of cells."""
        return _volume(self.low, self.high)

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells, y before z before x."""
        for y, z, x in itertools.product(*(range(self.low[axis], self.high[axis] + 1) for axis in (1, 2, 0))):
            yield x, y, z

    def __str__(self) -> str:
        return f"{' '.join(map(str, (*self.low, *self.high)))} {self.block}"


@dataclass(frozen=True)
class House:
    """A target: its bounding box, the blocks of its inventory without air, and its solid cells by y, z, x."""

    low: Cell
    high: Cell
    inventory: tuple[str, ...]
    solid: tuple[tuple[Cell, str], ...]

    @property
    def volume(self) -> int:
        """Cells of the bounding box, air included."""
        return _volume(self.low, self.high)

    def holds(self, cell: Cell) -> bool:
        """Whether a cell lies inside the bounding box."""
        return all(low <= value <= high for low, value, high in zip(self.low, cell, self.high, strict=True))


def corner(coordinates: Iterable[int]) -> Cell:
    """Three coordinates as a cell."""
    x, y, z = coordinates
    return x, y, z


def _volume(low: Cell, high: Cell) -> int:
    return (high[0] - low[0] + 1) * (high[1] - low[1] + 1) * (high[2] - low[2] + 1)


def build_house(low: Cell, layers: Sequence[Sequence[str]], inventory: Mapping[str, str]) -> House:
    """The house of `layers` (from y = low[1] up, each a list of rows) whose characters `inventory` names."""
    names = {character: block_name(block) for character, block in inventory.items()}
    solid = tuple(
        ((low[0] + x, low[1] + y, low[2] + z), names[character])
        for y, rows in enumerate(layers)
        for z, row in enumerate(rows)
        for x, character in enumerate(row)
        if names[character] not in AIR
    )
    high = (low[0] + len(layers[0][0]) - 1, low[1] + len(layers) - 1, low[2] + len(layers[0]) - 1)
    blocks = tuple(dict.fromkeys(block for block in names.values() if block not in AIR))
    return House(low, high, blocks, solid)


@functools.lru_cache(maxsize=512)
def layer_rectangles(house: House) -> tuple[Box, ...]:
    """The solid cells as flat boxes, layer by layer: runs along x, merged over equal consecutive rows."""
    runs: list[Box] = []
    for (x, y, z), block in house.solid:
        if runs and runs[-1].block == block and runs[-1].high == (x - 1, y, z):
            runs[-1] = Box(runs[-1].low, (x, y, z), block)
        else:
            runs.append(Box((x, y, z), (x, y, z), block))
    merged: list[Box] = []
    open_ones: dict[tuple[int, int, int, str], int] = {}  # y, x span, block -> number of the last such rectangle
    for run in runs:
        (first, y, z), (last, _, _) = run.low, run.high
        number = open_ones.get((y, first, last, run.block))
        if number is not None and merged[number].high[2] == z - 1:
            merged[number] = Box(merged[number].low, run.high, run.block)
        else:
            open_ones[y, first, last, run.block] = len(merged)
            merged.append(run)
    return tuple(sorted(merged, key=reading_order))


def reading_order(box: Box) -> tuple[int, int, int]:
    """Sort key: y, z, x of the low corner."""
    return box.low[1], box.low[2], box.low[0]


@functools.lru_cache(maxsize=512)
def solid_boxes(house: House) -> tuple[Box, ...]:
    """The solid cells as disjoint boxes of one block each, grown greedily, in reading order of their low corners."""
    left = dict(house.solid)
    boxes = []
    for cell, block in house.solid:
        if cell in left:
            grown = (_grow(cell, block, axes, left) for axes in itertools.permutations((0, 2, 1)))
            best = max(grown, key=lambda box: box.volume)
            for taken in best.cells:
                del left[taken]
            boxes.append(best)
    return tuple(boxes)


def _grow(cell: Cell, block: str, axes: Sequence[int], left: Mapping[Cell, str]) -> Box:
    """The box from `cell` grown along one axis after the other as far as only `block` is met."""
    low, high = cell, list(cell)
    for axis in axes:
        while True:
            start = list(low)
            start[axis] = high[axis] + 1
            end = list(high)
            end[axis] += 1
            slab = Box(corner(start), corner(end), block)
            if any(left.get(other) != block for other in slab.cells):
                break
            high = end
    return Box(low, corner(high), block)


def quotas(house: House, agents: int) -> dict[str, int]:
    """Cells of each block that one agent may fill in a turn: ceil(count / n) + floor(count / (2 n))."""
    need = Counter(block for _, block in house.solid)
    return {block: -(-need[block] // agents) + need[block] // (2 * agents) for block in house.inventory}


@dataclass(frozen=True)
class Rules:
    """What one agent may do in a turn: blocks besides air, number of commands, cells per block (None: no quotas) and
    the highest amount of a `/damage` line (0: no such command)."""

    blocks: frozenset[str]
    limit: int
    quotas: Mapping[str, int] | None
    damage: int = 0


@dataclass
class Orders:
    """One agent's accepted commands in order, the cells it used of each block, and the number of rejected lines."""

    fills: list[Box] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    kill: bool = False
    hits: list[int] = field(default_factory=list)
    used: Counter = field(default_factory=Counter)
    rejected: int = 0


def parse_orders(text: str, house: House, rules: Rules) -> Orders:
    """Read one answer, a command per line (see `letter_world.command_lines`).

    `kill` with any tail; `fill x1 y1 z1 x2 y2 z2 block` of exactly eight words with both corners inside the box; where
    the rules allow it `damage @e[type=spider,...] amount`. A fill is charged with its whole volume, whatever it
    overwrites; one that would exceed the quota is dropped whole and costs nothing. Air and blocks without a quota are
    free. Lines after `rules.limit` accepted commands are rejected; rejected lines cost nothing.
    """
    orders = Orders()
    for command in command_lines(text):
        if len(orders.lines) >= rules.limit or not _accept(command, house, rules, orders):
            orders.rejected += 1
    return orders


def _accept(command: Sequence[str], house: House, rules: Rules, orders: Orders) -> bool:
    verb = command[0].lower()
    if verb == "kill":
        orders.kill = True
        orders.lines.append("/kill")
        return True
    if verb == "damage" and rules.damage:
        amount = _damage(command, rules.damage)
        if amount:
            orders.hits.append(amount)
            orders.lines.append(f"/damage {command[1]} {amount}")
        return bool(amount)
    box = _fill(command, house, rules.blocks) if verb == "fill" else None
    if box is None:
        return False
    if rules.quotas is not None and box.block in rules.quotas:
        if orders.used[box.block] + box.volume > rules.quotas[box.block]:
            return False
        orders.used[box.block] += box.volume
    orders.fills.append(box)
    orders.lines.append(f"/fill {box}")
    return True


def _fill(command: Sequence[str], house: House, blocks: frozenset[str]) -> Box | None:
    if len(command) != 8:
        return None
    try:
        numbers = [int(word) for word in command[1:7]]
    except ValueError:
        return None
    first, second = corner(numbers[:3]), corner(numbers[3:])
    block = block_name(command[7])
    if not (house.holds(first) and house.holds(second)) or (block not in blocks and block != "air"):
        return None
    return Box(corner(map(min, first, second)), corner(map(max, first, second)), block)


def _damage(command: Sequence[str], highest: int) -> int:
    """The amount of a damage command at one spider, 0 if it is not valid."""
    if len(command) < 3 or not (command[1].startswith("@e[") and command[1].endswith("]")):
        return 0
    if not {"type=spider", "type=minecraft:spider"} & set(command[1][3:-1].split(",")):
        return 0
    try:
        amount = int(command[2])
    except ValueError:
        return 0
    return amount if 0 < amount <= highest else 0


def build(world: Mapping[Cell, str], fills: Iterable[Box]) -> World:
    """The world after the fills, in order: the last write wins and air clears."""
    built = dict(world)
    for box in fills:
        if box.block in AIR:
            for cell in box.cells:
                built.pop(cell, None)
        else:
            built.update(dict.fromkeys(box.cells, box.block))
    return built


Spider = tuple[float, float]
"""Attack and health of one living spider."""


def fight(spiders: Iterable[Spider], team: Iterable[Orders]) -> list[Spider]:
    """The spiders that live on: none after any `/kill`; a hit takes health from the first one that still lives."""
    team = list(team)
    alive = [] if any(orders.kill for orders in team) else [list(spider) for spider in spiders]
    for amount in itertools.chain.from_iterable(orders.hits for orders in team):
        target = next((spider for spider in alive if spider[1] > 0), None)
        if target is not None:
            target[1] -= amount
    return [(attack, health) for attack, health in alive if health > 0]


@dataclass(frozen=True)
class Counts:
    """What the reward needs to know of a world.

    `matching`: cells of the box whose block is the target's, air included; `covered`: the solid ones of them;
    `shape`: solid cells that hold any block; `extra`: blocks where air should be.
    """

    cells: int
    solid: int
    matching: int
    covered: int
    shape: int
    extra: int

    @property
    def match(self) -> float:
        """Matching share of all cells in [0, 1]."""
        return self.matching / self.cells

    @property
    def coverage(self) -> float:
        """Share of the solid cells that hold their own block, in [0, 1]."""
        return self.covered / self.solid if self.solid else 0.0

    @property
    def iou(self) -> float:
        """Built and wanted over built or wanted cells, whatever the block, in [0, 1]; 0 if both are empty."""
        union = self.solid + self.extra
        return self.shape / union if union else 0.0


def count(house: House, world: Mapping[Cell, str]) -> Counts:
    """Compare a world (all inside the box) with the house."""
    covered = sum(world.get(cell) == block for cell, block in house.solid)
    shape = sum(cell in world for cell, _ in house.solid)
    extra = len(world) - shape
    solid = len(house.solid)
    return Counts(house.volume, solid, house.volume - solid - extra + covered, covered, shape, extra)


def spider_share(damage: float, player_hp: float) -> float:
    """min(1, D / HP); 0 without damage or without a health to lose."""
    return min(1.0, damage / player_hp) if damage > 0 and player_hp > 0 else 0.0


def reward_parts(counts: Counts, share: float, profile: str, agents: int) -> dict[str, float]:
    """The named parts of the joint reward; `share` is `spider_share` of the spiders that were not killed.

    `released`: match - 0.1 share, at most 1; a single agent is never bitten.
    `paper` (appendix F.3): 2 covered / total - 1.5 extra / total - 0.2 share, at most 2. Inferred: `total` are the
    solid cells in both terms, a cell is covered by its own block only, and a single agent is bitten too.
    """
    if profile == "released":
        weight = 0.1 if agents > 1 else 0.0
        return {"match": counts.match, "spiders": 0.0 - weight * share}
    extra = counts.extra / counts.solid if counts.solid else 0.0
    return {"coverage": 2.0 * counts.coverage, "extra": 0.0 - 1.5 * extra, "spiders": 0.0 - 0.2 * share}
