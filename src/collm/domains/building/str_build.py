"""StrBuild: two builders with two blocks each write a string into a block world (paper sections 6.1, E.3 and F.3).

Each turn both answer with `/setblock` lines; builder 1's commands run first, builder 2's overwrite. The reward per
profile is `letter_world.reward_parts`. Choices of this project where the sources differ or are silent:

* The target grid stands in the first prompt, as in the paper (the released configuration hides it; `show_grid`).
* `world: reset` empties the world at every turn, as the released code does, and every prompt says so; `persistent`
  keeps the blocks, which the paper's wording suggests.
* `feedback: perfect` compares with a colouring that uses all blocks and reaches the maximum (`str_build_expert.plan`).
  With `world: reset` an answer that only repairs the listed cells loses all others, so the prompt asks for the right
  cells once more; prefer `persistent` with this mode.
* One agent alone gets all four blocks (inferred from section 6.2; the released reward gives it the first two).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains import readers
from collm.domains.base import (
    Demonstration,
    Domain,
    Exchange,
    Message,
    Metric,
    Question,
    RawRow,
    Step,
    Task,
    require_text,
)
from collm.domains.building import str_build_prompts
from collm.domains.building.letter_world import (
    Grid,
    World,
    apply,
    count,
    dense,
    is_drawing,
    limits,
    parse_commands,
    render,
    reward_parts,
    scribble,
    worst_extra_ratio,
)
from collm.domains.building.str_build_cases import components, read_case
from collm.domains.building.str_build_expert import command_text, further_strings, noisy, plan
from collm.domains.options import Option

PAPER_STRINGS = (
    ("I", 1),
    ("C", 1),
    ("M", 1),
    ("L", 1),
    ("MC", 2),
    ("CM", 2),
    ("LI", 3),
    ("LLM", 3),
    ("ICML", 3),
    ("CLIM", 3),
)
BLOCKS = (("oak_planks", "stone"), ("white_concrete", "obsidian"))
FEEDBACK = ("position", "score", "perfect")
WORLDS = ("reset", "persistent")
WORDINGS = ("full", "brief")
HORIZON = 4
_LONGEST = 16
_PRACTICE = 6  # random drawings per task in the text that scratch models are made of
_STRING = re.compile(rf"[A-Z]{{1,{_LONGEST}}}")


class StrBuild(Domain):
    """Agents place blocks to form a string of letters, each with half of the block types.

    Of more than two builders the odd ones have the first half of the types and the even ones the second.
    """

    name = "str_build"
    title = "StrBuild"
    licence = "the paper's ten strings MIT (released code); generated strings MIT (this project)"
    hub = None
    team_sizes = None
    max_reward = 2.0
    metrics = (
        Metric("iou", "IoU", "%", higher_is_better=True),
        Metric("adjacency", "Adj", "%", higher_is_better=False),
        Metric("coverage", "Coverage", "%", higher_is_better=True),
    )
    declared_options = (
        Option("feedback", "position", "What agents are told between turns.", choices=FEEDBACK),
        Option("world", "reset", "reset: every turn starts empty (released); persistent: blocks stay.", choices=WORLDS),
        Option("show_grid", True, "Draw the target in the first prompt."),
        Option("list_cells", False, "Name the coordinates of the target cells in the first prompt."),
        Option(
            "wording",
            "full",
            "brief: the target cells, one's blocks and one's last reply alone, for scratch models, which cannot read "
            "instructions; show_grid, list_cells, feedback and the two repeat_ options then change no prompt.",
            choices=WORDINGS,
        ),
        Option("repeat_prompt", True, "Follow-up prompts repeat the first prompt."),
        Option("repeat_response", True, "Follow-up prompts quote the agent's own last response."),
        Option("spacing", 2, "Empty columns between letters.", minimum=0, maximum=8),
        Option("max_commands", 300, "Commands accepted per team and turn.", minimum=2),
        Option("generated", 0, "Further strings from the seeded generator, never one of the ten.", minimum=0),
        Option(
            "difficulty", [1, 2], "Numbers of letters of generated strings; 0: small drawings.", minimum=0, maximum=8
        ),
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self._check_values()
        self.roles = str_build_prompts.builders(num_agents)
        self.blocks = (BLOCKS[0] + BLOCKS[1],) if num_agents == 1 else tuple(BLOCKS[n % 2] for n in range(num_agents))
        self.limits = limits(self.options["max_commands"], num_agents)
        if profile == "released":
            self.min_reward = -1.5 - 1.0 - 0.25 * num_agents
        else:
            self.min_reward = -1.5 * worst_extra_ratio(self.options["spacing"]) - 0.5

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: eight of the paper's strings and the generated ones train, two test."""
        train = "paper[0:8]+generated" if self.options["generated"] else "paper[0:8]"
        return {"embedded": (train, "paper[8:10]"), "path": (train, "paper[8:10]")}

    def _check_values(self) -> None:
        lengths, option = self.options["difficulty"], self.option("difficulty")
        if not lengths or any(type(n) is not int or not option.within(n) for n in lengths):
            raise ConfigError(
                f"domain.str_build.options.difficulty: {lengths!r} is not a list of letter counts from "
                f"{option.minimum} to {option.maximum}"
            )

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """Split `paper`: the ten strings in file order; split `generated`: further ones, never one of those ten."""
        rows = [
            RawRow({"string": string, "difficulty": difficulty}, f"embedded:{number}")
            for number, (string, difficulty) in enumerate(PAPER_STRINGS, start=1)
        ]
        return self._with_generated(rows, seed)

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/str_build/data.csv (columns string, difficulty) as split `paper`, and the generated strings."""
        rows = readers.read_splits(self.name, folder, {"paper": ("str_build/data.csv",)})["paper"]
        return self._with_generated(rows, seed)

    def _with_generated(self, rows: list[RawRow], seed: int) -> dict[str, list[RawRow]]:
        splits = {"paper": rows}
        if self.options["generated"]:
            taken = {string for string, _ in PAPER_STRINGS} | {_canonical(row.fields.get("string")) for row in rows}
            strings = further_strings(seed, self.options["generated"], self.options["difficulty"], taken)
            splits["generated"] = [
                RawRow({"string": string, "difficulty": _letters(string)}, f"generated:{number}")
                for number, string in enumerate(strings, start=1)
            ]
        return splits

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """There is no hub set: always DataError."""
        raise DataError("str_build has no data set on the hub; set data.source to embedded or path")

    def task(self, row: RawRow, index: int) -> Task:
        """Needs `string` of 1 to 16 letters A-Z (any case), or a drawing; `difficulty` is a whole number or missing.

        A drawing is written as its rows, "#.#/.#.", of which a fifth of the cells or more are targets.
        """
        string = _canonical(require_text(row.fields, "string", row.origin))
        if not (is_drawing(string) and dense(string)) and not _STRING.fullmatch(string):
            raise RowError(
                f"{row.origin}: field 'string' is {string[:40]!r}; expected 1 to {_LONGEST} letters from A to Z, or "
                "the rows of a drawing like '#.#/.#.', at most 5 by 5 and with a # in every fifth cell or more"
            )
        difficulty = row.fields.get("difficulty")
        try:
            difficulty = _letters(string) if difficulty in (None, "") else int(difficulty)
        except (TypeError, ValueError, OverflowError) as error:
            raise RowError(f"{row.origin}: field 'difficulty' is {difficulty!r}; expected a whole number") from error
        return Task(f"{self.name}_{index:04d}", self.name, {"string": string, "difficulty": difficulty})

    def asked(self, text: str) -> Question:
        """A word, or the rows of a drawing, one a line or with / between."""
        return Question(self.task(RawRow({"string": "/".join(text.split())}, "the question"), 0))

    def key(self, task: Task) -> str:
        """The string."""
        return task.fields["string"]

    def grid(self, task: Task) -> Grid:
        """The rendered target of a task."""
        return render(task.fields["string"], self.options["spacing"])

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """System text and one user text; from the second turn on with the turn number, the feedback and, by option,
        the task and the agent's own last response. `feedback` None (nothing was told) leaves only the turn number.
        """
        grid, role = self.grid(task), self._role(agent)
        if self.options["wording"] == "brief":
            response = self._last_response(task, turn, history) if turn else None
            return [{"role": "user", "content": str_build_prompts.brief(grid, role, turn, response)}]
        text = self._task_text(grid, role)
        if turn:
            response = self._last_response(task, turn, history)
            original = text if self.options["repeat_prompt"] else None
            quoted = response if self.options["repeat_response"] else None
            text = str_build_prompts.follow_up(grid, role, turn, feedback, original, quoted)
        return [{"role": "system", "content": str_build_prompts.SYSTEM}, {"role": "user", "content": text}]

    def _task_text(self, grid: Grid, role: str_build_prompts.Role) -> str:
        return str_build_prompts.task_text(grid, role, self.options["show_grid"], self.options["list_cells"])

    def _role(self, agent: int) -> str_build_prompts.Role:
        persistent = self.options["world"] == "persistent"
        return str_build_prompts.Role(agent, self.num_agents, self.blocks[agent], self.limits[agent], persistent)

    def start(self, task: Task, seed: int) -> list[Any]:
        """The empty world; `seed` is not used."""
        return []

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Run the commands of all agents in order and score what stands; worlds are lists of [x, y, z, block]."""
        texts = self.check_joint_action(joint_action)
        grid = self.grid(task)
        before = {(x, y, z): block for x, y, z, block in world}
        built, accepted, rejected = _run(grid, before, texts, self.blocks, self.limits)
        counts = count(grid, built, self.blocks)
        parts = reward_parts(counts, self.profile)
        reward = sum(parts.values())
        cells = [[*cell, block] for cell, block in sorted(built.items())]
        record = {
            "built": cells,
            "targets": [list(cell) for cell in grid.targets],
            "size": [grid.width, len(grid.rows)],
            "accepted": accepted,
            "rejected": rejected,
            "placed": self._placed(grid, texts),
        }
        metrics = {
            "iou": 100.0 * counts.iou,
            "adjacency": 100.0 * counts.adjacency,
            "coverage": 100.0 * counts.coverage,
        }
        kept = cells if self.options["world"] == "persistent" else []
        return Step(parts, reward, metrics, self._feedback(grid, built, reward), kept, record)

    def _placed(self, grid: Grid, texts: Sequence[str]) -> list[list[list[Any]]]:
        """The accepted commands of every agent in order, as [x, y, z, block]; air clears."""
        agents = zip(texts, self.blocks, self.limits, strict=True)
        orders = [parse_commands(text, grid, blocks, limit)[0] for text, blocks, limit in agents]
        return [[[*cell, block] for cell, block in commands] for commands in orders]

    def understands(self, task: Task, agent: int, answer: str) -> bool:
        """Whether one of its lines is a command that the world accepts."""
        return bool(parse_commands(answer, self.grid(task), self.blocks[agent], self.limits[agent])[0])

    def _feedback(self, grid: Grid, built: World, reward: float) -> tuple[dict[str, Any], ...]:
        mode = self.options["feedback"]
        if mode == "position":
            return tuple({"mode": mode} for _ in self.roles)
        if mode == "score":
            return tuple({"mode": mode, "reward": reward} for _ in self.roles)
        targets = set(grid.targets)
        extras = [list(cell) for cell in sorted(built) if cell not in targets]
        wrong = [
            [[*cell, block] for cell, block in planned if built.get(cell) != block]
            for planned in plan(grid, self.blocks)
        ]
        last = self.num_agents - 1
        return tuple(
            {"mode": mode, "place": place, "clear": extras if agent == last else []}
            for agent, place in enumerate(wrong)
        )

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """An episode of four turns played by scripted experts: one example per agent and turn, in playing order."""
        grid = self.grid(task)
        planned = plan(grid, self.blocks)

        def answer(turn: int, agent: int, world: Any) -> str:
            return noisy(planned[agent], self.blocks[agent], grid, rng, noise)

        return self.scripted_episode(task, HORIZON, self.start(task, 0), answer)

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The grid with its target cells, single rows with theirs, the targets as commands, random drawings built.

        With brief wording only what builders are asked and answer. Of a task that is a drawing itself nothing but its
        own cells is built, as there are few drawings.
        """
        grid = self.grid(task)
        drawn = is_drawing(task.fields["string"])
        if self.options["wording"] == "brief":
            return [text for target in ([grid] if drawn else [grid, scribble(rng)]) for text in self._practice(target)]
        lines = str_build_prompts.grid_text(grid).splitlines()
        cells = dict(line.split(": ") for line in str_build_prompts.targets_text(grid).splitlines())
        drills = [f"{line}\n{line[0]}: {cells.get(line[0], '')}".rstrip() for line in lines]
        rng.shuffle(drills)
        blocks = [block for palette in BLOCKS for block in palette]
        commands = command_text((cell, rng.choice(blocks)) for cell in grid.targets)
        return [
            f"{str_build_prompts.grid_text(grid)}\n{str_build_prompts.targets_text(grid)}",
            "\n\n".join(drills),
            f"{str_build_prompts.grid_text(grid)}\n{commands}",
            *(text for _ in range(_PRACTICE) for text in self._practice(grid if drawn else scribble(rng))),
        ]

    def _practice(self, grid: Grid) -> list[str]:
        """What each agent is asked and answers for a target."""
        texts = []
        for agent, commands in enumerate(plan(grid, self.blocks)):
            role, answer = self._role(agent), command_text(commands)
            brief = self.options["wording"] == "brief"
            asked = str_build_prompts.brief(grid, role) if brief else f"{self._task_text(grid, role)}\n"
            texts.append(asked + answer)
        return texts

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score a case that brings its own string, spacing, plane, blocks, limit and number of agents."""
        case = read_case(inputs)
        built, accepted, rejected = _run(case.grid, {}, case.texts, case.blocks, case.limits)
        counts = count(case.grid, built, case.blocks)
        parts = reward_parts(counts, self.profile)
        return sum(parts.values()), {**parts, **components(counts, parts), "accepted": accepted, "rejected": rejected}


def _canonical(string: Any) -> str:
    return string.strip().upper() if isinstance(string, str) else ""


def _letters(string: str) -> int:
    """The difficulty of a string that none was given for."""
    return 0 if is_drawing(string) else len(string)


def _run(
    grid: Grid, world: World, texts: Sequence[str], blocks: Sequence[Sequence[str]], shares: Sequence[int]
) -> tuple[World, list[int], list[int]]:
    """The world after all agents' commands, first agent first, and the accepted and rejected lines of each."""
    accepted, rejected = [], []
    for text, palette, limit in zip(texts, blocks, shares, strict=True):
        commands, refused = parse_commands(text, grid, palette, limit)
        world = apply(world, commands)
        accepted.append(len(commands))
        rejected.append(refused)
    return world, accepted, rejected
