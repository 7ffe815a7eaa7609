"""What is known about a joint answer before it runs, and how running it becomes reward parts."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from collm.domains.parts import Range, RewardParts
from collm.sandbox import Verdict

AUX_DEFINED, MAIN_DEFINED, SYNTAX, AUX_USED, NOT_WRAPPER, IGNORED = 0.4, 0.6, 0.5, 0.5, 1.0, -0.5
TESTS = 1.0
OWN_KINDS = ("TimeLimit", "Died", "Skipped", "Malformed", "Unsendable", "Opaque", "SetupFailed", "TooLong", "Lost")


COMPLETION = "_completion"  # after an agent's role, the field of a case that holds its answer
GOLDEN = {
    "tests": "test_reward",
    "aux_used": "aux_used_bonus",
    "not_wrapper": "not_wrapper_bonus",
    "ignored_call": "ignored_deduction",
}  # parts that golden rows call otherwise


@dataclass(frozen=True)
class Helper:
    """One helper of a joint answer."""

    defined: bool  # it is there and returns something
    used: bool  # the main function calls it
    ignored: bool  # ... and loses the value of a call


@dataclass(frozen=True)
class Reading:
    """One joint answer as a profile reads it; `source` is the program to run if `problem` is None."""

    helpers: tuple[Helper, ...]  # in the order of their agents; none beside one agent alone
    main_defined: bool
    problem: str | None  # why the program is no Python
    source: str
    hands_on: bool  # the main function does nothing but hand on what helpers return

    @property
    def wrapper(self) -> bool:
        """Whether the main function adds nothing to a helper; to join the values of two is work."""
        return self.hands_on and sum(helper.used for helper in self.helpers) < 2

    @property
    def runs(self) -> bool:
        """Whether the cascade reaches the tests."""
        return self.main_defined and self.problem is None


@dataclass(frozen=True)
class Outcome:
    """Tests of one joint answer: how many there are, passed, ended by a time limit; `run`: the program loaded."""

    passed: int
    total: int
    timeouts: int = 0
    run: bool = False

    @classmethod
    def of(cls, verdict: Verdict | None, scored: slice, total: int) -> Outcome:
        """The checks `scored` of a verdict; without one (nothing was run) none has passed."""
        if verdict is None:
            return cls(0, total)
        checks = verdict.checks[scored]
        return cls(sum(check.passed for check in checks), total, verdict.timeouts, verdict.loaded)


def parts(reading: Reading, outcome: Outcome) -> dict[str, float]:
    """The named parts of the reward (paper F.2); each level stops the cascade where it fails.

    Constants are the released code's (the paper gives none); 0 to 4, for one agent alone to 2.1. Of several helpers,
    what is paid for one of them is a mean over all: each counts as if it were the only one.
    """
    rewards = dict.fromkeys(
        ("aux_defined", "main_defined", "syntax", "tests", "aux_used", "not_wrapper", "ignored_call"), 0.0
    )
    rewards["aux_defined"] = AUX_DEFINED * _share(helper.defined for helper in reading.helpers)
    if not reading.main_defined:
        return rewards
    rewards["main_defined"] = MAIN_DEFINED
    if reading.problem is not None:
        return rewards
    rewards["syntax"] = SYNTAX
    if outcome.passed:
        rewards["tests"] = TESTS * outcome.passed / outcome.total
        used = _share(helper.used for helper in reading.helpers)
        rewards["aux_used"] = AUX_USED * used
        rewards["not_wrapper"] = 0.0 if reading.wrapper else NOT_WRAPPER * used
        rewards["ignored_call"] = IGNORED * _share(helper.used and helper.ignored for helper in reading.helpers) or 0.0
    return rewards


def ranges(agents: int) -> dict[str, Range]:
    """Least and greatest value of each part; one agent alone has no helper."""
    helper = {"aux_used": (0.0, AUX_USED), "not_wrapper": (0.0, NOT_WRAPPER), "ignored_call": (IGNORED, 0.0)}
    if agents == 1:
        helper = dict.fromkeys(helper, (0.0, 0.0))
    return {
        "aux_defined": (0.0, AUX_DEFINED if agents > 1 else 0.0),
        "main_defined": (0.0, MAIN_DEFINED),
        "syntax": (0.0, SYNTAX),
        "tests": (0.0, TESTS),
        **helper,
    }


class CodingCases(RewardParts):
    """Where cases of the golden rows hold parts and answers."""

    roles: tuple[str, ...]

    def case_parts(self, components: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
        """The parts under their own names."""
        return {name: components[GOLDEN.get(name, name)] for name in names}

    def case_row(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The problem without the completions."""
        return {key: value for key, value in inputs.items() if not key.endswith(COMPLETION)}

    def case_answers(self, inputs: Mapping[str, Any]) -> list[str | None]:
        """The completions that are there, in the order of the agents."""
        return [inputs[key] for role in self.roles if (key := role + COMPLETION) in inputs]


def _share(flags: Iterable[bool]) -> float:
    """The share of helpers of which something holds; 0 where there are none."""
    counted = list(flags)
    return sum(counted) / len(counted) if counted else 0.0


def components(rewards: dict[str, float], outcome: Outcome) -> dict[str, float | int | bool]:
    """The parts and counts under the names of the golden rows."""
    return {
        "aux_defined": rewards["aux_defined"],
        "main_defined": rewards["main_defined"],
        "syntax": rewards["syntax"],
        "tests_passed": outcome.passed,
        "tests_total": outcome.total,
        "tests_run": outcome.run,
        "timeouts": outcome.timeouts,
        "aux_used_bonus": rewards["aux_used"],
        "not_wrapper_bonus": rewards["not_wrapper"],
        "ignored_deduction": rewards["ignored_call"],
        "test_reward": rewards["tests"],
    }


def kind(error: str | None) -> str | None:
    """A type of error that may be told: built-in or the sandbox's own. Programs choose the names of their own types,
    and could send words to the partner by them.
    """
    known = error is None or error in OWN_KINDS or isinstance(getattr(builtins, error, None), type)
    return error if known else "Exception"
