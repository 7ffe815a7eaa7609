"""A base for benchmarks of one's own: rows are dicts, and four short methods say the rest (docs/new_domain.md).

    class Rhyme(RowDomain):
        rows(seed)                               -> {"train": [row, ...], "test": [row, ...]}
        prompt(row, agent)                       -> what an agent is asked, a text
        score(row, texts)                        -> named parts of the reward, one dict
        best(row, agent)                         -> a right answer, for the warm start

Everything else of `Domain` follows from them and can be written over: `told` for feedback between turns, `measures`
for metrics that are no reward.
"""

from __future__ import annotations

import json
import math
import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from collm.common.errors import DataError, RowError
from collm.domains.base import Demonstration, Domain, Exchange, Message, Metric, RawRow, Step, Task, require

SPLITS = ("train", "test")


class RowDomain(Domain):
    """A benchmark whose task is one row, a dict of JSON values with the keys `fields`.

    `team_sizes` is any number unless the class says otherwise, and agents are called `agent_1`, `agent_2`, ... unless
    it has `roles`. The metric is the reward.
    """

    fields: ClassVar[tuple[str, ...]]
    team_sizes = None
    metrics = (Metric("reward", "Reward", "", higher_is_better=True),)
    roles: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int | None = None) -> None:
        super().__init__(options, profile, num_agents)
        named = tuple(f"agent_{number}" for number in range(1, self.num_agents + 1))
        self.roles = self.roles if len(self.roles) == self.num_agents else named

    @abstractmethod
    def rows(self, seed: int) -> dict[str, list[dict[str, Any]]]:
        """Rows by split: `train` and `test`."""

    @abstractmethod
    def prompt(self, row: Mapping[str, Any], agent: int) -> str:
        """What agent `agent` is asked; the other agents' prompts may differ."""

    @abstractmethod
    def score(self, row: Mapping[str, Any], texts: Sequence[str]) -> dict[str, float]:
        """Parts of the reward, by name; their sum lies in [min_reward, max_reward] whatever the texts say."""

    @abstractmethod
    def best(self, row: Mapping[str, Any], agent: int) -> str:
        """An answer that earns much, to be imitated in the warm start."""

    def told(self, row: Mapping[str, Any], texts: Sequence[str], agent: int) -> str:
        """What the environment tells an agent before another turn; nothing that another agent wrote."""
        return "Try once more."

    def measures(self, row: Mapping[str, Any], texts: Sequence[str]) -> dict[str, float]:
        """Metrics by name; those that the class declares."""
        return {"reward": math.fsum(self.score(row, texts).values())}

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """All rows of `rows`, and all of a folder's two files."""
        counts = {split: len(rows) for split, rows in self.rows(0).items()}
        train, test = (f"{split}[0:{counts.get(split, 0)}]" for split in SPLITS)
        return {"embedded": (train, test)}

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The rows of the class."""
        return {
            split: [RawRow(dict(row), f"{self.name} {split}:{line}") for line, row in enumerate(rows, start=1)]
            for split, rows in self.rows(seed).items()
        }

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """Rows of FOLDER/<name>/train.jsonl and test.jsonl, one JSON object a line; name slices for them."""
        splits = {}
        for split in SPLITS:
            file = folder / self.name / f"{split}.jsonl"
            if not file.is_file():
                raise DataError(f"{file} is missing; {self.name} reads {self.name}/train.jsonl and test.jsonl there")
            lines = file.read_text(encoding="utf-8").splitlines()
            splits[split] = [
                RawRow(_object(line, f"{self.name}/{split}.jsonl:{number}"), f"{self.name}/{split}.jsonl:{number}")
                for number, line in enumerate(lines, start=1)
                if line.strip()
            ]
        return splits

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Rows of a hub data set, all of their keys."""
        return [RawRow(dict(row), f"{split}:{number}") for number, row in enumerate(rows, start=1)]

    def task(self, row: RawRow, index: int) -> Task:
        """A row that has all of `fields`."""
        kinds, expected = (str, int, float, bool, list, dict), "a value"
        fields = {name: require(row.fields, name, kinds, expected, row.origin) for name in self.fields}
        return Task(f"{self.name}_{index:04d}", self.name, fields)

    def key(self, task: Task) -> str:
        """The row as JSON."""
        return json.dumps(task.fields, sort_keys=True)

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """The prompt; from the second turn on also the agent's own last answer and what it was told."""
        text = self.prompt(task.fields, agent)
        if turn:
            text += f"\n\nYour last answer:\n{self._last_response(task, turn, history)}\n\n{feedback}"
        return [{"role": "user", "content": text}]

    def start(self, task: Task, seed: int) -> None:
        """Nothing: a row has no state."""
        return None

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Score the answers of this turn."""
        row, texts = task.fields, self.check_joint_action(joint_action)
        parts = self.score(row, texts)
        feedback = tuple(self.told(row, texts, agent) for agent in range(self.num_agents))
        return Step(parts, math.fsum(parts.values()), self.measures(row, texts), feedback, None, {})

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """The best answers; with chance `noise` each loses its last word."""
        return [
            Demonstration(
                task.id,
                agent,
                0,
                tuple(self.observe(task, agent, 0, (), None)),
                _shortened(self.best(task.fields, agent), rng.random() < noise),
            )
            for agent in range(self.num_agents)
        ]

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """Every agent's prompt with its best answer."""
        agents = range(self.num_agents)
        return [f"{self.prompt(task.fields, agent)}\n\n{self.best(task.fields, agent)}" for agent in agents]

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score a row with `completions`, one text per agent."""
        texts = require(inputs, "completions", (list,), "a list of texts, one per agent")
        if len(texts) != self.num_agents or not all(isinstance(text, (str, type(None))) for text in texts):
            raise RowError(f"field 'completions' does not hold {self.num_agents} texts; expected one per agent")
        row = self.task(RawRow(dict(inputs), "the case"), 0).fields
        parts = self.score(row, self.check_joint_action(texts))
        return math.fsum(parts.values()), dict(parts)

    def case_parts(self, components: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
        """The components, which are the parts."""
        return {name: components[name] for name in (*names,) or components}


def _object(line: str, origin: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RowError(f"{origin}: no JSON object ({error})") from None
    if not isinstance(row, dict):
        raise RowError(f"{origin}: a JSON {type(row).__name__}; expected an object")
    return row


def _shortened(text: str, shorter: bool) -> str:
    return text.rsplit(None, 1)[0] if shorter and len(text.split()) > 1 else text
