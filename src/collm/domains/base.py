"""What every domain offers: the records that travel through the pipeline and the abstract class Domain.

A domain knows its data, its prompts, its simulator and its reward. It imports no torch, no model and no method, so
that rewards can be computed in worker processes and read line by line against the paper.
"""

from __future__ import annotations

import copy
import json
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains.options import Option, check_options
from collm.domains.parts import RewardParts
from collm.domains.thoughts import without_thoughts

__all__ = [
    "PROFILES",
    "Demonstration",
    "Domain",
    "Exchange",
    "Fault",
    "Message",
    "Metric",
    "Move",
    "Question",
    "RawRow",
    "RowError",
    "Step",
    "Task",
    "answer_field",
    "embedded_path",
    "printable",
    "require",
    "require_integer",
    "require_text",
]

Message = dict[str, str]
"""One chat message: {"role": "system" | "user" | "assistant", "content": text}."""

Fault = Literal["empty", "unparsed"]
"""Why a response is no answer: nothing is left of it without blanks and thoughts; or nothing that was asked for is in
it."""

PROFILES = ("paper", "released")
"""Reward profiles: `paper` follows the paper's appendix F, `released` the released code (comlrl domains)."""


@dataclass(frozen=True)
class Task:
    """One row of a processed data set; `fields` is JSON-able and holds all that prompts and rewards need."""

    id: str
    domain: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A task that a person asks of a trained team.

    `unscored` says why no reward can be computed and what to add; None: it can. `silent`: neither can what the
    environment would say after a turn, so that only the first one can be played.
    """

    task: Task
    unscored: str | None = None
    silent: bool = False


@dataclass(frozen=True)
class Exchange:
    """One past turn of ONE agent: what it saw and what it answered."""

    observation: tuple[Message, ...]
    response: str


@dataclass(frozen=True)
class Step:
    """What the environment returns for one joint action.

    `parts` are the named reward parts and sum to `reward` (raw, unshifted, shared by all agents). `feedback[i]` is
    what the environment tells agent i before the next turn; `world` is the state handed to the next step; `record`
    is kept with evaluation samples. The last three are JSON-able. `done`: the episode ends here, whatever its horizon.
    """

    parts: dict[str, float]
    reward: float
    metrics: dict[str, float]
    feedback: tuple[Any, ...]
    world: Any
    record: dict[str, Any]
    done: bool = False


@dataclass(frozen=True)
class Move:
    """One joint action in its world, to be scored; the arguments of `Domain.step`."""

    task: Task
    turn: int
    joint_action: Sequence[str | None]
    world: Any


@dataclass(frozen=True)
class Metric:
    """How one entry of `Step.metrics` is labelled in tables and figures.

    With `draws` k above 1 it is no such entry but made from entry `of` over a task's samples: the chance in per cent
    that one of k drawn samples has it above 0 (pass@k); tables leave it out where a task has fewer samples.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    in_table: bool = True
    draws: int = 1
    of: str = ""


@dataclass(frozen=True)
class Demonstration:
    """One supervised example for the warm-start: the messages agent `agent` sees at `turn` and a response."""

    task: str
    agent: int
    turn: int
    messages: tuple[Message, ...]
    response: str


@dataclass(frozen=True)
class RawRow:
    """One row as read from its source; `origin` is "file.jsonl:12" (lines count from 1) for error messages."""

    fields: dict[str, Any]
    origin: str


class Domain(RewardParts):
    """One benchmark: data, prompts, deterministic simulator, reward, demonstrations.

    `options` are the keys of `domain.<name>.options`, declared in `declared_options`; unknown or ill-typed ones raise
    ConfigError. `num_agents` is one of `team_sizes` (None: any), 1 for the single-agent baselines; not given, it is
    `team_size()`. `max_turns` is the longest horizon the domain allows (None: any).
    """

    name: ClassVar[str]
    title: ClassVar[str]  # in tables and figures; by default the name with a capital and blanks
    licence: ClassVar[str]  # of the rows that ship; `collm.data.licences` says which one a manifest states
    public_licence: ClassVar[str] = ""  # of the public data set; empty: not stated
    generated_licence: ClassVar[str] = ""  # of generated rows; empty: `licence`
    hub: tuple[str, str | None] | None = None  # data set and its configuration on the hub
    embedded_origin: ClassVar[str] = "shipped with collm"
    generated_label: ClassVar[str] = ""  # how tables call test rows of the generator that are not the benchmark's own
    metrics: ClassVar[tuple[Metric, ...]]
    caution: ClassVar[str] = ""  # what the main metric does not see, said wherever it is shown
    source_field: ClassVar[str] = ""  # of tasks: the text that responses retell; set where responses are prose
    max_turns: ClassVar[int | None] = None
    team_sizes: ClassVar[tuple[int, ...] | None] = (1, 2)
    declared_options: ClassVar[tuple[Option, ...]] = ()
    roles: tuple[str, ...]
    max_reward: float
    min_reward: float

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "name" in vars(cls) and "title" not in vars(cls):
            cls.title = cls.name.replace("_", " ").capitalize()

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int | None = None) -> None:
        num_agents = self.team_size() if num_agents is None else num_agents
        if profile not in PROFILES:
            raise ConfigError(f"profile {profile!r} is unknown; allowed are {', '.join(PROFILES)}")
        if num_agents < 1 or (self.team_sizes is not None and num_agents not in self.team_sizes):
            allowed = " and ".join(map(str, self.team_sizes or ("1 or more",)))
            raise ConfigError(
                f"{self.name}: {num_agents} agents are not possible; allowed are {allowed} "
                f"(domain.{self.name}.team.num_agents)"
            )
        self.profile = profile
        self.num_agents = num_agents
        self.options = check_options(self.name, options, self.declared_options)

    @classmethod
    def team_size(cls) -> int:
        """Agents of a team of which nothing else is said: the largest of `team_sizes`, or two where any number does."""
        return max(cls.team_sizes) if cls.team_sizes else 2

    @classmethod
    def default_options(cls) -> dict[str, Any]:
        """Every option of the domain with its default, fresh."""
        return {option.name: copy.copy(option.default) for option in cls.declared_options}

    @classmethod
    def option(cls, name: str) -> Option:
        """The declaration of one option."""
        return next(option for option in cls.declared_options if option.name == name)

    @property
    @abstractmethod
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default slices of the rows to train and to test on, by source: {"hub" | "path" | "embedded": (train, test)}.

        See `data.prepare.parse_slices` for what a slice may be; a source without an entry needs `data.train` and
        `data.test` in the configuration.
        """

    @abstractmethod
    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """Rows that ship with the project (or are generated from `seed`), by split name."""

    @abstractmethod
    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """The same from a folder laid out like the public data collection; DataError lists what was looked for."""

    @abstractmethod
    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Rows of the hub data set, reduced to the fields this domain uses."""

    @abstractmethod
    def task(self, row: RawRow, index: int) -> Task:
        """Validate one row; RowError names its origin, the field and what is expected."""

    def question(self, text: str) -> Question:
        """What a person asks, as a task: a row of the domain as a JSON object, or else as `asked` reads it.

        Raises:
            RowError: it is neither; says how this domain is asked.
        """
        if not text.lstrip().startswith("{"):
            return self.asked(text.strip())
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise RowError(f"the question begins like a JSON object and is none ({error})") from None
        return Question(self.task(RawRow(fields, "the question"), 0))

    def asked(self, text: str) -> Question:
        """A task made of words; RowError where there is no such manner, as by default."""
        raise RowError(f"{self.name} is asked by a row of its data, a JSON object like {{...}}, and not by words")

    @abstractmethod
    def key(self, task: Task) -> str:
        """Identity of the content, for the check that train and test do not overlap."""

    @abstractmethod
    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """The messages agent `agent` sees at `turn` (from 0).

        `history` holds that agent's own exchanges only and `feedback` what the environment told it after the last
        turn, so no other agent's text can come in (the paper's decentralised execution, section 3.2).
        """

    @abstractmethod
    def start(self, task: Task, seed: int) -> Any:
        """The world of a fresh episode (JSON-able)."""

    def briefing(self, task: Task, world: Any) -> tuple[Any, ...]:
        """What the environment tells each agent of a fresh world before the first turn; by default nothing (None)."""
        return (None,) * self.num_agents

    @abstractmethod
    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Score one joint action (one response per agent; None counts as empty text). Never raises on any text."""

    def fault(self, task: Task, agent: int, text: str | None) -> Fault | None:
        """Why the response of agent `agent` is no answer; None: it is one, right or wrong. Never raises on any text.

        Nothing that is learnt depends on it: it tells a reader of metrics what a low reward comes from.
        """
        answer = "" if text is None else without_thoughts(text)
        if not answer.strip():
            return "empty"
        return None if self.understands(task, agent, answer) else "unparsed"

    def understands(self, task: Task, agent: int, answer: str) -> bool:
        """Whether a text that is not empty holds something that agent `agent` was asked for; by default any does."""
        return True

    def steps(self, moves: Sequence[Move]) -> list[Step]:
        """`step` for many moves at once, for domains that can score them side by side."""
        return [self.step(move.task, move.turn, move.joint_action, move.world) for move in moves]

    def ready(self, sandbox: str = "refuse") -> None:
        """Start what scoring needs in this process; called once, early. By default nothing.

        `sandbox`: what to do where model-written code cannot be shut in, see `collm.sandbox.shared.start`.
        """
        return None

    def withheld(self, task: Task) -> str | None:
        """Why a task must not be trained on (it is dropped from the training split and listed); None: it may."""
        return None

    @abstractmethod
    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """Warm-start examples made from this task alone; `noise` in [0, 1] degrades them (0: best play)."""

    @abstractmethod
    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """Plain text about this task on which a scratch model can be pre-trained."""

    @abstractmethod
    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Reward and components of one case in the golden format; RowError on a missing or ill-typed field."""

    def check_joint_action(self, joint_action: Sequence[str | None]) -> list[str]:
        """One answer per agent without its thoughts, None as ""; ValueError on another number (a programming error)."""
        if len(joint_action) != self.num_agents:
            raise ValueError(f"{self.name}: {len(joint_action)} responses for {self.num_agents} agents")
        return ["" if text is None else without_thoughts(text) for text in joint_action]

    def scripted_episode(
        self, task: Task, turns: int, world: Any, answer: Callable[[int, int, Any], str]
    ) -> list[Demonstration]:
        """One example per agent and turn, in playing order, of an episode from `world` until it is done.

        `answer(turn, agent, world)` gives that agent's response.
        """
        feedback = self.briefing(task, world)
        histories: list[list[Exchange]] = [[] for _ in self.roles]
        episode = []
        for turn in range(turns):
            for agent, history in enumerate(histories):
                seen = tuple(self.observe(task, agent, turn, history, feedback[agent]))
                response = answer(turn, agent, world)
                episode.append(Demonstration(task.id, agent, turn, seen, response))
                history.append(Exchange(seen, response))
            result = self.step(task, turn, [history[-1].response for history in histories], world)
            if result.done:
                break
            world, feedback = result.world, result.feedback
        return episode

    def _last_response(self, task: Task, turn: int, history: Sequence[Exchange]) -> str:
        """The agent's answer of the turn before, printable and without thoughts; ValueError if there is none."""
        if not history:
            raise ValueError(f"turn {turn} of {task.id} needs the agent's own history")
        return printable(without_thoughts(history[-1].response))


def embedded_path(name: str) -> Path:
    """Where a file that ships with the package stands; DataError if it does not."""
    path = Path(str(resources.files("collm.domains").joinpath("embedded", name)))
    if not path.is_file():
        raise DataError(f"{name} is missing from the installed package; install collm again")
    return path


def require(fields: Mapping[str, Any], field: str, kinds: tuple[type, ...], expected: str, origin: str = "") -> Any:
    """The value of `field` if it is there and of one of `kinds` (bool is no int); RowError otherwise."""
    where = f"{origin}: " if origin else ""
    if field not in fields:
        raise RowError(f"{where}field {field!r} is missing; expected {expected}")
    value = fields[field]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise RowError(f"{where}field {field!r} is of type {type(value).__name__}; expected {expected}")
    return value


def answer_field(fields: Mapping[str, Any], field: str) -> str:
    """The answer in a response that a case brings, a text or null, without its thoughts; RowError otherwise."""
    return without_thoughts(require(fields, field, (str, type(None)), "a text or null") or "")


def require_text(fields: Mapping[str, Any], field: str, origin: str) -> str:
    """A text that is not blank, from `fields`; RowError otherwise."""
    value = require(fields, field, (str,), "a text that is not empty", origin)
    if not value.strip():
        raise RowError(f"{origin}: field {field!r} is empty; expected a text that is not empty")
    return value


def require_integer(fields: Mapping[str, Any], field: str, lowest: int, origin: str = "") -> int:
    """A whole number of at least `lowest`, from `fields`; RowError otherwise."""
    expected = f"a whole number of at least {lowest}"
    value = require(fields, field, (int,), expected, origin)
    if value < lowest:
        raise RowError(f"{origin + ': ' if origin else ''}field {field!r} is {value}; expected {expected}")
    return value


def printable(text: str) -> str:
    """`text` as it can be encoded in UTF-8: lone surrogates become "?", so that no tokenizer or file refuses it."""
    return text.encode("utf-8", "replace").decode("utf-8")
