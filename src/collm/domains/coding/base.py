"""What CoopHE, HumanEval and MBPP share: programmers of helpers, one of the main function, real tests.

The last agent (main) writes the function asked for, those before it (aux, aux_2, aux_3 and so on) a helper each; nobody
sees another's code. The joint program runs in `collm.sandbox`, in both profiles. The reward (paper F.2) pays for
definitions, syntax, the share of passed tests, and for a main function that makes real use of the helpers; see
`reading.parts`. Up to two turns, with feedback on the levels in between; docs/coding.md: where the profiles differ.
"""

from __future__ import annotations

import functools
import random
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Any, ClassVar

from collm.common.errors import ConfigError, RowError
from collm.domains import readers
from collm.domains.base import (
    Demonstration,
    Domain,
    Exchange,
    Message,
    Metric,
    Move,
    Question,
    RawRow,
    Step,
    Task,
    embedded_path,
    printable,
    require,
)
from collm.domains.coding import asked, prompts, reward_paper, reward_released
from collm.domains.coding.demonstrations import scripted, solutions
from collm.domains.coding.generated_problems import IDS, LEVELS, NAME, Problem, generate, practice
from collm.domains.coding.helper_use import calls_aux, ignored_calls, is_wrapper, reachable
from collm.domains.coding.options import DECLARED, FEWEST, TURNS
from collm.domains.coding.reading import CodingCases, Outcome, Reading, components, kind, parts, ranges
from collm.domains.coding.rows import coding_fields, identifier
from collm.domains.coding.syntax import Unparsable, helper_names, parse, usable
from collm.domains.options import Option
from collm.sandbox import Program, Verdict, shared

PRACTICE = 8  # short texts per generated task that a scratch model is pretrained on
MISUSES = 2  # reasons that feedback gives
NOT_RUN = "NotRun"
_CANDIDATE = re.compile(r"\bcandidate\b")


def is_generated(fields: Mapping[str, Any]) -> bool:
    """Whether a problem is the generator's."""
    return fields["source_id"].startswith(IDS)


@functools.cache
def shipped_rows(name: str) -> tuple[RawRow, ...]:
    """The problems of a coding domain that ship with the project."""
    return tuple(readers.read_rows(embedded_path(f"{name}.jsonl")))


class CodingDomain(CodingCases, Domain):
    """The last agent writes the function that is tested, those before it a helper each.

    Under `feedback_tests: disjoint` at least one assert is left to score with, whatever `feedback_slice` says.
    """

    max_turns = TURNS
    team_sizes = None
    min_reward = 0.0
    metrics = (
        Metric("pass_rate", "Pass rate", "%", higher_is_better=True),
        Metric("pass_at_1", "pass@1", "%", higher_is_better=True),
        Metric("pass_at_3", "pass@3", "%", higher_is_better=True, draws=3, of="pass_at_1"),
        Metric("pass_at_5", "pass@5", "%", higher_is_better=True, draws=5, of="pass_at_1"),
        Metric("pass_at_10", "pass@10", "%", higher_is_better=True, draws=10, of="pass_at_1"),
    )
    hub: tuple[str, str | None]
    columns: tuple[str, ...] = ("task_id", "prompt", "test", "entry_point")
    declared_options: ClassVar[tuple[Option, ...]] = DECLARED

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        if self.options["feedback_slice"] == 0 and self._disjoint:
            raise ConfigError(
                f"domain.{self.name}.options.feedback_slice: 0 takes all asserts for feedback and leaves none to score "
                "with; give a number, or feedback_tests: released"
            )
        self._check_generated()
        self.rules = {"paper": reward_paper, "released": reward_released}[profile]
        self.helpers = helper_names(num_agents)
        self.roles = (*self.helpers, "main")
        self.max_reward = 4.0 if self.helpers else 2.1
        self.parts = ranges(num_agents)

    def _check_generated(self) -> None:
        levels, count = self.options["difficulty"], self.options["generated"]
        if not levels or any(type(level) is not int or level not in LEVELS for level in levels):
            raise ConfigError(
                f"domain.{self.name}.options.difficulty: {levels!r} is no list of levels; allowed are "
                f"{', '.join(map(str, LEVELS))}"
            )
        if 0 < count < FEWEST:
            raise ConfigError(
                f"domain.{self.name}.options.generated: {count} problems cannot be cut into a train and a test split; "
                f"give 0 or at least {FEWEST}"
            )

    @property
    def _disjoint(self) -> bool:
        return self.options["feedback"] == "level_feedback" and self.options["feedback_tests"] == "disjoint"

    @property
    def check_seconds(self) -> float:
        """The time limit of one test."""
        return self.options["check_seconds"] or self.rules.CHECK_SECONDS

    def ready(self, sandbox: str = "refuse") -> None:
        """Start the sandbox and say which walls are on."""
        shared.start(sandbox)

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """The `columns` of the hub rows."""
        origin = f"{self.hub[0]}:{split}"
        return [
            RawRow({name: row[name] for name in self.columns if name in row}, f"{origin}:{number}")
            for number, row in enumerate(rows, start=1)
        ]

    def fields(self, row: RawRow) -> dict[str, Any]:
        """The checked fields of one row; MBPP has rows of its own form."""
        return coding_fields(row.fields, row.origin)

    def task(self, row: RawRow, index: int) -> Task:
        """Check a row (see `rows.coding_fields`) and that its tests can be read."""
        fields = self.fields(row)
        fields = {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
        try:
            self.rules.checks(fields["test"], fields["prompt"], fields["entry_point"])
        except RowError as error:
            raise RowError(f"{row.origin}: field 'test': {error}") from None
        return Task(f"{self.name}_{index:04d}", self.name, fields)

    def asked(self, text: str) -> Question:
        """A function to write, see `asked.problem`; without tests nothing can be said after the first turn."""
        row, tested = asked.problem(text)
        task = Task(f"{self.name}_0000", self.name, coding_fields(row, "the question"))
        self._checks(task.fields)
        return Question(task) if tested else Question(task, asked.UNTESTED, silent=True)

    def key(self, task: Task) -> str:
        """Problem text without differences of white space."""
        return " ".join(task.fields["prompt"].split())

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """The role's prompt; later also everything the agent saw and wrote before, and the feedback."""
        role = self.roles[agent] if self.helpers else "single"
        if not turn:
            return prompts.first(role, task.fields, self.options["wording"], self.helpers)
        response = self._last_response(task, turn, history)
        return [
            *history[-1].observation,
            {"role": "assistant", "content": response},
            {"role": "user", "content": prompts.follow_up(role, feedback, task.fields["entry_point"])},
        ]

    def start(self, task: Task, seed: int) -> None:
        """Nothing: a problem has no state."""
        return None

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Run and score one joint action."""
        return self.steps([Move(task, turn, joint_action, world)])[0]

    def steps(self, moves: Sequence[Move]) -> list[Step]:
        """Run the programs of all moves side by side and score them."""
        texts = [self._texts(move.joint_action) for move in moves]
        readings = [self._read(one, move.task.fields) for one, move in zip(texts, moves, strict=True)]
        tests = [self._checks(move.task.fields) for move in moves]
        verdicts = self._verdicts(readings, tests, [move.task.fields["entry_point"] for move in moves])
        return [self._step(*one) for one in zip(moves, texts, readings, tests, verdicts, strict=True)]

    def _texts(self, joint_action: Sequence[str | None]) -> list[str]:
        """One text per agent, that of main last."""
        return [usable(text) for text in self.check_joint_action(joint_action)]

    def _read(self, texts: Sequence[str], fields: Mapping[str, Any]) -> Reading:
        return self.rules.read(texts[:-1], texts[-1], fields["prompt"], fields["entry_point"])

    def _checks(self, fields: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return self.rules.checks(fields["test"], fields["prompt"], fields["entry_point"])

    def _verdicts(
        self, readings: Sequence[Reading], tests: Sequence[tuple[str, tuple[str, ...]]], names: Sequence[str]
    ) -> list[Verdict | None]:
        """Verdicts of the readings that run and have tests, None for the others."""
        limit = self.check_seconds
        programs = {
            place: Program(reading.source, checks, name, setup, limit, limit)
            for place, (reading, (setup, checks), name) in enumerate(zip(readings, tests, names, strict=True))
            if reading.runs and checks
        }
        verdicts = dict(zip(programs, shared.run(list(programs.values())), strict=True))
        return [verdicts.get(place) for place in range(len(readings))]

    def slices_of_tests(self, total: int) -> tuple[slice, slice]:
        """(feedback, scored) slices of `total` asserts."""
        number = self.options["feedback_slice"]
        if not self._disjoint:
            return (slice(number, None) if number < 0 else slice(0, number or None)), slice(0, total)
        size = min(abs(number), max(0, total - 1))
        if number < 0:
            return slice(total - size, total), slice(0, total - size)
        return slice(0, size), slice(size, total)

    def _step(
        self,
        move: Move,
        texts: Sequence[str],
        reading: Reading,
        tests: tuple[str, tuple[str, ...]],
        verdict: Verdict | None,
    ) -> Step:
        checks = tests[1]
        for_feedback, scored = self.slices_of_tests(len(checks))
        outcome = Outcome.of(verdict, scored, len(checks[scored]))
        reward_parts = parts(reading, outcome)
        share = outcome.passed / outcome.total if outcome.total else 0.0
        metrics = {"pass_rate": 100.0 * share, "pass_at_1": 100.0 * (share == 1.0)}
        feedback: tuple[Any, ...] = (None,) * self.num_agents
        if self.options["feedback"] == "level_feedback" and move.turn + 1 < TURNS:
            feedback = self._feedback(move.task.fields, texts, reading, checks[for_feedback], verdict, for_feedback)
        record = {
            "program": printable(reading.source) if reading.runs else "",
            "passed": outcome.passed,
            "tests": outcome.total,
            "timeouts": outcome.timeouts,
            "loaded": outcome.run,
            "errors": [] if verdict is None else [check.error for check in verdict.checks[scored]],
            "checks": self._named(checks[scored], move.task.fields["entry_point"]),
            "problem": None if reading.problem is None else printable(reading.problem),
        }
        return Step(reward_parts, fsum(reward_parts.values()), metrics, feedback, None, record)

    def _feedback(
        self,
        fields: Mapping[str, Any],
        texts: Sequence[str],
        reading: Reading,
        checks: Sequence[str],
        verdict: Verdict | None,
        for_feedback: slice,
    ) -> tuple[dict[str, Any], ...]:
        """What each agent is told: states of all functions, tests, and of its own text alone what is wrong with it."""
        *helpers, main = reward_paper.read_parts(texts[:-1], texts[-1], fields["entry_point"])
        functions = reachable(main.tree, main.function) if main.function else []
        errors = (
            [NOT_RUN] * len(checks) if verdict is None else [kind(one.error) for one in verdict.checks[for_feedback]]
        )
        named = self._named(checks, fields["entry_point"])
        common = {
            "helpers": {name: one.defined for name, one in zip(self.helpers, reading.helpers, strict=True)},
            "main_defined": reading.main_defined,
            "parses": reading.problem is None,
            "loaded": verdict is not None and verdict.loaded,
            "load_error": kind(verdict.problem.split(":")[0]) if verdict is not None and verdict.problem else None,
            "checks": [list(pair) for pair in zip(named, errors, strict=True)],
        }
        calls = [name for name in self.helpers if calls_aux(functions, name)]
        losses = {name: ignored_calls(functions, name)[:MISUSES] for name in self.helpers}
        use = {
            "calls": calls,
            "misuse": {name: reasons for name, reasons in losses.items() if reasons},
            "wrapper": main.function is not None and is_wrapper(main.function, self.helpers) and len(calls) < 2,
        }
        return (*({**common, "problem": one.problem} for one in helpers), {**common, **use, "problem": main.problem})

    @staticmethod
    def _named(checks: Sequence[str], entry_point: str) -> list[str]:
        """The asserts as people read them, with the function's own name."""
        return [_CANDIDATE.sub(entry_point, check.split("\n")[-1].strip()) for check in checks]

    def understands(self, task: Task, agent: int, answer: str) -> bool:
        """Whether the function that the agent was asked for is there and parses."""
        texts = [usable(answer) if other == agent else "" for other in range(self.num_agents)]
        return reward_paper.read_parts(texts[:-1], texts[-1], task.fields["entry_point"])[agent].function is not None

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """Reference code of all agents, degraded; a second turn has half the noise. [] without a reference."""
        texts = solutions(task.fields, self.num_agents)
        if texts is None:
            return []
        histories: list[list[Exchange]] = [[] for _ in self.roles]
        feedback: Sequence[Any] = (None,) * self.num_agents
        episode = []
        turns = self.options["demonstrated_turns"]
        for turn in range(turns):
            answers = scripted(texts, task.fields["entry_point"], rng, noise / (1 + turn), self.options["faults"])
            for agent, (history, answer) in enumerate(zip(histories, answers, strict=True)):
                seen = tuple(self.observe(task, agent, turn, history, feedback[agent]))
                episode.append(Demonstration(task.id, agent, turn, seen, answer))
                history.append(Exchange(seen, answer))
            if turn + 1 < turns:
                feedback = self.step(task, turn, answers, None).feedback
        return episode

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The problem, its tests, and solutions of it; of a generated one what is asked and answered, and practice."""
        fields = task.fields
        answers = solutions(fields, self.num_agents)
        if answers is not None and is_generated(fields):
            asked = [self.observe(task, agent, 0, (), None)[-1]["content"] for agent in range(self.num_agents)]
            texts = [f"{question}\n{answer}" for question, answer in zip(asked, answers, strict=True)]
            return texts + [practice(self.options["difficulty"], rng) for _ in range(PRACTICE)]
        texts = [fields["prompt"], fields["test"], fields["solution"]]
        if answers is not None:
            pieces = answers if self.helpers else ("", *answers)
            texts += [*pieces, "\n\n".join([f"{fields['prompt']}\n{pieces[0]}", *pieces[1:]])]
        return [text for text in texts if text.strip()]

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score {aux_completion, main_completion, test, entry_point, prompt} on all asserts.

        One agent alone has no aux_completion, larger teams have aux_2_completion and so on.
        """
        fields = {name: require(inputs, name, (str,), "a text") for name in ("test", "prompt")}
        fields["entry_point"] = identifier(inputs, "entry_point", "")
        names = [f"{role}_completion" for role in self.roles]
        texts = self._texts([require(inputs, name, (str, type(None)), "a text or null") for name in names])
        try:
            parse(fields["prompt"])
        except Unparsable as error:
            raise RowError(f"field 'prompt' is no Python: {error}") from None
        try:
            tests = self._checks(fields)
        except RowError:  # no assert in the test: the cascade stops there
            tests = ("", ())
        reading = self._read(texts, fields)
        verdict = self._verdicts([reading], [tests], [fields["entry_point"]])[0]
        outcome = Outcome.of(verdict, slice(0, None), len(tests[1]))
        reward_parts = parts(reading, outcome)
        return fsum(reward_parts.values()), components(reward_parts, outcome)

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The rows that ship with the project, and split `generated` where the options want one."""
        return {**self.shipped(), **({"generated": self._generated(seed)} if self.options["generated"] else {})}

    @abstractmethod
    def shipped(self) -> dict[str, list[RawRow]]:
        """Rows that ship with the project, by split."""

    def embedded_slices(self, shipped: tuple[str, str]) -> tuple[str, str]:
        """Default (train, test) slices of source embedded: generated problems where there are some, else `shipped`."""
        count = self.options["generated"]
        return readers.quarters("generated", count) if count else shipped

    def _generated(self, seed: int) -> list[RawRow]:
        problems = generate(seed, self.options["generated"], self.options["difficulty"], self.name)
        return [
            RawRow({"task_id": f"{IDS}{number}", **self.generated_fields(problem)}, f"generated:{number}")
            for number, problem in enumerate(problems, start=1)
        ]

    def generated_fields(self, problem: Problem) -> dict[str, Any]:
        """A generated problem as the fields of one row of this set, without its `task_id`."""
        return {
            "prompt": f'def {NAME}({problem.parameter}):\n    """{problem.sentence}"""\n',
            "entry_point": NAME,
            "canonical_solution": problem.solution,
            "test": "\n    ".join(["def check(candidate):", *problem.asserts("candidate")]) + "\n",
            "reference": {"aux": problem.aux, "main": problem.main},
        }


class ShippedProblems(CodingDomain):
    """A coding domain with problems of its own, written for this project: source `embedded`, split `train`."""

    public_slices: tuple[str, str]

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: `public_slices` for hub and path, 3/4 and 1/4 of the embedded problems."""
        embedded = self.embedded_slices(readers.quarters("train", len(shipped_rows(self.name))))
        return {"hub": self.public_slices, "path": self.public_slices, "embedded": embedded}

    def shipped(self) -> dict[str, list[RawRow]]:
        """The problems written for this project as split `train`."""
        return {"train": list(shipped_rows(self.name))}
