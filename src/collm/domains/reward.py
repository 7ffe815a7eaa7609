"""Another reward than a domain's own: its parts weighted, and parts of a function of the user's.

Every domain has three options beside its own: `weights`, a factor by part; `reward`, a function as "module:function";
and `reward_mode`, whether its parts join the domain's (one of the same name takes that part's place) or are all there
is. Metrics stay those of the domain, so that settings with different rewards can be compared. Without these options a
domain is what its class makes it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from collm.common import modules
from collm.common.errors import ConfigError, ContractError, RowError
from collm.domains.base import Domain, Move, Step
from collm.domains.contract import TOLERANCE, is_finite
from collm.domains.options import COMMON, nearest
from collm.domains.parts import Range

SCHEMA: dict[str, Any] = {
    "weights": {
        "type": "object",
        "additionalProperties": {"type": "number"},
        "default": {},
        "description": "Factors of reward parts by name; parts without one count as they are.",
    },
    "reward": {
        "type": ["string", "null"],
        "default": None,
        "description": 'A function of your own that returns reward parts, as "module:function"; null: none.',
    },
    "reward_mode": {
        "type": "string",
        "enum": ["add", "replace"],
        "default": "add",
        "description": "Whether the parts of `reward` join the domain's, or are the whole reward.",
    },
}  # of the three options


@dataclass(frozen=True)
class PlayedTurn:
    """What a reward function is given: one joint action, played and scored by the domain.

    Attributes:
        row: the fields of the task; in `score.py` those of the case.
        answers: one per agent, without thoughts; "" for none.
        turn: from 0.
        parts: of the domain's reward by name, unweighted.
        metrics: of the domain by name; empty in `score.py`.
        record: what the domain keeps of the turn, such as the tests that failed; in `score.py` the case's components.
        done: the domain ends the episode here, whatever its horizon.
    """

    row: Mapping[str, Any]
    answers: tuple[str, ...]
    turn: int
    parts: Mapping[str, float]
    metrics: Mapping[str, float]
    record: Mapping[str, Any]
    done: bool


RewardFunction = Callable[[PlayedTurn], Mapping[str, float]]
_Function = TypeVar("_Function", bound=RewardFunction)


def reward_parts(**ranges: Range) -> Callable[[_Function], _Function]:
    """Declare the parts that a reward function returns, each with its least and greatest value.

    Raises:
        ConfigError: no part, or a range that is none.
    """
    if not ranges:
        raise ConfigError("reward_parts() names no part; write each with its range, like reward_parts(brief=(0, 0.5))")
    for name, pair in ranges.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(map(is_finite, pair)) and pair[0] <= pair[1]):
            raise ConfigError(f"reward_parts({name}={pair!r}): write the least and the greatest value, like (0, 0.5)")

    def declared(function: _Function) -> _Function:
        function.__dict__["reward_parts"] = dict(ranges)
        return function

    return declared


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of this module that are not at their defaults."""
    return {key: options[key] for key in COMMON if key in options and options[key] != COMMON[key]}


def without_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a domain without those of this module that change nothing."""
    return {key: value for key, value in options.items() if key not in COMMON or value != COMMON[key]}


def build(kind: type[Domain], options: Mapping[str, Any], profile: str = "paper", agents: int | None = None) -> Domain:
    """A domain with its options, and with another reward where they ask for one.

    Raises:
        ConfigError: an option, a part, a function or a number of agents that cannot be; says what can.
    """
    unknown = [key for key in options if key not in COMMON and key not in kind.default_options()]
    if unknown:
        allowed = [*kind.default_options(), *COMMON]
        key = f"domain.{kind.name}.options.{unknown[0]}"
        raise ConfigError(f"{key}: unknown option; {nearest(unknown[0], allowed)}")
    own = {key: value for key, value in options.items() if key not in COMMON}
    asked, number = changed(options), kind.team_size() if agents is None else agents
    if not asked:
        return kind(own, profile, number)
    return _rewarded(kind)(own, profile, number, {**COMMON, **asked})


def load(place: Any, key: str) -> RewardFunction:
    """The function "module:function", which declares its parts.

    Raises:
        ConfigError: module or function is not there, or it declares no parts.
    """
    module, _, name = place.partition(":") if isinstance(place, str) else ("", "", "")
    if not module or not name:
        raise ConfigError(f'{key}: {place!r} is no function; write it as "module:function", like my_rewards:brief')
    there = vars(modules.load(module, key))
    found: Any = there.get(name)
    if not callable(found):
        functions = [word for word, value in there.items() if hasattr(value, "reward_parts")]
        raise ConfigError(f"{key}: module {module!r} has no function {name!r}; {nearest(name, functions)}")
    if not hasattr(found, "reward_parts"):
        raise ConfigError(
            f"{key}: {place} does not say which parts it returns; write @reward_parts(NAME=(LEAST, GREATEST)) of "
            "collm.domains.reward above it"
        )
    function: RewardFunction = found
    return function


@dataclass(frozen=True)
class RewardedStep(Step):
    """A step whose reward is the one that was asked for."""


class RewardedDomain(Domain):
    """What is put before a class (see `_rewarded`) so that its steps and cases pay another reward."""

    kind: ClassVar[type[Domain]]

    def __init__(self, options: Mapping[str, Any], profile: str, num_agents: int | None, asked: Mapping[str, Any]):
        self.kind.__init__(self, options, profile, num_agents)
        self._where = f"domain.{self.name}.options"
        self._mode = asked["reward_mode"]
        self._place = asked["reward"]
        if self._mode not in SCHEMA["reward_mode"]["enum"]:
            raise ConfigError(f"{self._where}.reward_mode: {self._mode!r} is unknown; allowed are add and replace")
        if self._place is None and self._mode != COMMON["reward_mode"]:
            raise ConfigError(
                f"{self._where}.reward_mode is {self._mode} without a reward that could replace the domain's; set "
                f"{self._where}.reward to a function, or leave reward_mode out"
            )
        self._function = None if self._place is None else load(self._place, f"{self._where}.reward")
        self._weights = self._checked_weights(asked["weights"])
        self._set_ranges()

    @property
    def _added(self) -> dict[str, Range]:
        """Ranges of the function's parts."""
        return {} if self._function is None else dict(vars(self._function)["reward_parts"])

    def _checked_weights(self, weights: Any) -> dict[str, float]:
        key, replaced = f"{self._where}.weights", self._mode == "replace"
        if not isinstance(weights, Mapping):
            raise ConfigError(f"{key}: {weights!r} is no mapping; write factors by part, like {{NAME: 0.5}}")
        if weights and not self.parts and not replaced:
            raise ConfigError(
                f"{key}: {self.kind.__module__}.{self.kind.__qualname__} declares no reward parts; write parts = "
                "{NAME: (LEAST, GREATEST)} in the class, or leave weights out"
            )
        known = [*({} if replaced else self.parts), *self._added]
        for name, factor in weights.items():
            if name not in known and (replaced or not self.knows_part(name)):
                why = "reward_mode replace leaves the function's parts alone" if replaced else f"profile {self.profile}"
                raise ConfigError(f"{key}.{name}: unknown part; {nearest(str(name), known)} ({why})")
            if not is_finite(factor) or isinstance(factor, bool):
                raise ConfigError(f"{key}.{name} is {factor!r}; write a finite number")
        return {name: float(factor) for name, factor in weights.items()}

    def _set_ranges(self) -> None:
        """Parts and bounds of the reward that is paid."""
        own, added = self.parts, self._added
        kept = {} if self._mode == "replace" else {name: pair for name, pair in own.items() if name not in added}
        ranges = {**kept, **added}
        if self._mode == "add" and not self._weights and not set(own) & set(added):
            self.min_reward += math.fsum(low for low, _ in added.values())
            self.max_reward += math.fsum(high for _, high in added.values())
        else:
            ranges = {name: _scaled(pair, self._weights.get(name, 1.0)) for name, pair in ranges.items()}
            self.min_reward = math.fsum(low for low, _ in ranges.values())
            self.max_reward = math.fsum(high for _, high in ranges.values())
        self.own_parts, self.parts = own, ranges if own or self._mode == "replace" else {}

    def step(self, task: Any, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """The domain's step with the other reward."""
        move = Move(task, turn, joint_action, world)
        return self._paid(move, self.kind.step(self, task, turn, joint_action, world))

    def steps(self, moves: Sequence[Move]) -> list[Step]:
        """The domain's steps with the other reward."""
        return [self._paid(move, step) for move, step in zip(moves, self.kind.steps(self, moves), strict=True)]

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """The case with the other reward; `parts` beside its components sum to it."""
        reward, components = self.kind.score_case(self, inputs)
        earned, returned = self.case_parts(components, self.own_parts) or {"reward": reward}, {}
        if self._function is not None:
            answers = tuple(text or "" for text in self.case_answers(inputs))
            turn = PlayedTurn(self.case_row(inputs), answers, 0, earned, {}, components, True)
            try:
                returned = self._called(turn, "the case")
            except ContractError as error:
                raise RowError(str(error)) from error
        parts = self._joined(earned, returned)
        return math.fsum(parts.values()), {**components, "parts": parts}

    def _paid(self, move: Move, step: Step) -> Step:
        if isinstance(step, RewardedStep):  # one of the domain's methods called the other
            return step
        returned = {}
        record = {**step.record, "domain_parts": dict(step.parts)}
        if self._function is not None:
            answers = tuple(self.check_joint_action(move.joint_action))
            fields = (step.parts, step.metrics, step.record, step.done)
            turn = PlayedTurn(move.task.fields, answers, move.turn, *fields)
            returned = self._called(turn, f"task {move.task.id}, turn {move.turn + 1}")
            record["function_parts"] = returned
        parts = self._joined(step.parts, returned)
        reward = math.fsum(parts.values())
        feedback = tuple(_told(message, reward) for message in step.feedback)
        return RewardedStep(parts, reward, step.metrics, feedback, step.world, record, step.done)

    def _joined(self, own: Mapping[str, float], returned: Mapping[str, float]) -> dict[str, float]:
        """All parts, weighted."""
        if self._mode == "add" and not self.own_parts and (twice := [name for name in returned if name in own]):
            raise ContractError(
                f"{self._where}.reward: {self._place} returned part {twice[0]!r}, which the domain has and does not "
                "declare; write `parts` in its class, or give yours another name"
            )
        parts = dict(returned) if self._mode == "replace" else {**own, **returned}
        return {
            name: self._weights[name] * value + 0.0 if name in self._weights else value for name, value in parts.items()
        }

    def _called(self, turn: PlayedTurn, place: str) -> dict[str, float]:
        """What the function returns for a turn; ContractError, which names it, where that cannot be used."""
        where = f"{self._where}.reward: {self._place} ({place})"
        assert self._function is not None
        try:
            returned: Any = self._function(turn)
        except Exception as error:
            raise ContractError(
                f"{where} raises {type(error).__name__}: {error}; it has to return its parts whatever agents answer"
            ) from error
        if not isinstance(returned, Mapping):
            raise ContractError(f"{where} returned {returned!r}; return a dict of numbers by part")
        if set(returned) != set(self._added):
            raise ContractError(
                f"{where} returned the parts {_names(returned)}; it declares {_names(self._added)}: return each of them"
            )
        for name, (low, high) in self._added.items():
            value = returned[name]
            slack = TOLERANCE * max(1.0, abs(low), abs(high))
            if not is_finite(value) or not low - slack <= value <= high + slack:
                raise ContractError(
                    f"{where} returned {value!r} for part {name!r}; return a finite number from {low:g} to {high:g}, "
                    "or declare another range"
                )
        return {name: float(returned[name]) for name in self._added}


@functools.cache
def _rewarded(kind: type[Domain]) -> type[RewardedDomain]:
    """`kind` with the methods of `RewardedDomain` before its own; messages call it by the name of `kind`."""
    names = {"kind": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    metaclass: Any = type(kind)
    made: type[RewardedDomain] = metaclass(kind.__name__, (RewardedDomain, kind), names)
    return made


def _scaled(pair: Range, factor: float) -> Range:
    low, high = sorted(factor * value + 0.0 for value in pair)
    return low, high


def _told(message: Any, reward: float) -> Any:
    """Feedback with the reward that was paid, where it is a dict that tells one."""
    return {**message, "reward": reward} if isinstance(message, dict) and "reward" in message else message


def _names(parts: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, parts)) or "none"
