"""Generated programming problems for two: a helper makes the first step, the main function the rest.

A problem is a sentence ("Take n doubled, then squared."), the code of both agents, and cases whose answers are computed
here, never by running a text. The same seed gives the same problems; no sentence comes twice. A problem is kept if a
constant fails its tests, and so does any single wrong step (another operation, another number, none). A quarter of all
sentences never become problems: a scratch model may read them without seeing anything of the test split.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from collm.common.errors import ConfigError
from collm.domains.coding.operations import (
    ARITHMETIC,
    COUNTS,
    ITEMS,
    LISTING,
    NOTHING,
    NUMBERS,
    SUMMARIES,
    TESTS,
    TEXT,
    WHOLE,
    WORDS,
    WRITING,
    Kind,
    Operation,
    Step,
)
from collm.domains.coding.syntax import AUX

NAME = "solve"  # of the main function
HELD = "v"  # the main function's name for the helper's value
CASES = 6  # tests of a problem
HIDDEN = 1  # the first tests, which feedback may show and which then do not score
IDS = "generated/"  # what the ids of generated problems begin with
LEVELS = {
    1: "two operations without numbers, on a whole number, text or list",
    2: "three of them",
    3: "two operations with numbers on a whole number",
    4: "on a text",
    5: "on a list",
    6: "a condition and two operations on a whole number",
}
_ATTEMPTS = 200
Table = Sequence[Operation]


@dataclass(frozen=True)
class Plan:
    """Steps of a problem, each with the operations that could stand in its place, and how they work together."""

    kind: Kind
    steps: tuple[Step, ...]
    tables: tuple[Table, ...]
    value: Callable[[Sequence[Step], Any], Any]
    sentence: str
    main: str  # expression in HELD (and the parameter)
    solution: str  # expression in the parameter


@dataclass(frozen=True)
class Problem:
    """One problem; `cases` are (argument, answer), `aux` and `main` the reference functions."""

    level: int
    parameter: str
    hint: str
    sentence: str
    aux: str
    main: str
    solution: str  # the body of the main function in one piece
    cases: tuple[tuple[Any, Any], ...]

    @property
    def result_hint(self) -> str:
        """The type of the answers."""
        hints = {int: "int", str: "str", list: "list[int]"}
        return hints[type(self.cases[0][1])]

    def asserts(self, name: str) -> list[str]:
        """The tests, which call the function `name`."""
        return [f"assert {name}({argument!r}) == {answer!r}" for argument, answer in self.cases]


def generate(seed: int, count: int, levels: Sequence[int], domain: str) -> list[Problem]:
    """`count` problems in turn from all levels, no sentence twice; levels that run dry are left out.

    Args:
        seed: the same seed gives the same problems for the same domain.
        count: problems wanted.
        levels: keys of LEVELS.
        domain: whose problems they are; others get others.
    Raises:
        ConfigError: the levels hold fewer different problems.
    """
    rng = random.Random(f"{domain} {seed}")
    alive, taken = list(dict.fromkeys(levels)), set()
    problems: list[Problem] = []
    while len(problems) < count:
        if not alive:
            raise ConfigError(
                f"domain.{domain}.options.generated: {count} different problems cannot be made of difficulty "
                f"{list(levels)}; at most {len(problems)}"
            )
        level = alive.pop(0)
        problem = next((one for one in _draws(level, rng) if one.sentence not in taken), None)
        if problem is None:
            continue
        alive.append(level)
        taken.add(problem.sentence)
        problems.append(problem)
    return problems


def practice(levels: Sequence[int], rng: random.Random) -> str:
    """A sentence with both expressions of its answer, to pretrain on; no problem of any split has this sentence."""
    while True:
        plan = _PLANS[rng.choice(list(levels))](rng)
        if _set_aside(plan.sentence):
            return f'"""{plan.sentence}"""\n    return {plan.steps[0].code(plan.kind.name)}\n    return {plan.main}'


def _set_aside(sentence: str) -> bool:
    """Whether a sentence is for practice alone: a quarter of all are."""
    return zlib.crc32(sentence.encode()) % 4 == 0


def _draws(level: int, rng: random.Random) -> Iterator[Problem]:
    for _ in range(_ATTEMPTS):
        plan = _PLANS[level](rng)
        cases = None if _set_aside(plan.sentence) else _cases(plan, rng)
        if cases is not None:
            yield _problem(level, plan, cases)


def _problem(level: int, plan: Plan, cases: tuple[tuple[Any, Any], ...]) -> Problem:
    name = plan.kind.name
    return Problem(
        level=level,
        parameter=name,
        hint=plan.kind.hint,
        sentence=plan.sentence,
        aux=f"def {AUX}({name}):\n    return {plan.steps[0].code(name)}",
        main=f"def {NAME}({name}):\n    {HELD} = {AUX}({name})\n    return {plan.main}",
        solution=f"    return {plan.solution}\n",
        cases=cases,
    )


def _cases(plan: Plan, rng: random.Random) -> tuple[tuple[Any, Any], ...] | None:
    """Arguments with their answers; None if the scored ones would let a constant or a wrong step pass."""
    arguments: list[Any] = []
    while len(arguments) < CASES:
        argument = plan.kind.draw(rng)
        if argument not in arguments:
            arguments.append(argument)
    answers = [_value(plan, plan.steps, argument) for argument in arguments]
    if None in answers:
        return None
    scored = list(zip(arguments, answers, strict=True))[HIDDEN:]
    if all(answer == scored[0][1] for _, answer in scored):
        return None
    for steps in _mistakes(plan):
        if all(_value(plan, steps, argument) == answer for argument, answer in scored):
            return None
    return tuple(zip(arguments, answers, strict=True))


def _value(plan: Plan, steps: Sequence[Step], argument: Any) -> Any:
    """The value of the steps, None where they have none."""
    try:
        return plan.value(steps, argument)
    except (ValueError, TypeError):  # the greatest of no numbers; a wrong step that does not fit the next one
        return None


def _mistakes(plan: Plan) -> Iterator[tuple[Step, ...]]:
    """The steps with one of them wrong in every way: another number, another operation, or none."""
    for place, (step, table) in enumerate(zip(plan.steps, plan.tables, strict=True)):
        others = (Step(operation, number) for operation in (*table, NOTHING) for number in operation.numbers)
        for other in others:
            if other != step:
                yield (*plan.steps[:place], other, *plan.steps[place + 1 :])


def _step(table: Table, rng: random.Random, other: Sequence[Step] = ()) -> Step:
    """A step of a table, of another operation than those of `other`."""
    used = [step.operation for step in other]
    operation = rng.choice([one for one in table if one not in used])
    return Step(operation, rng.choice(list(operation.numbers)))


def _one_after_another(kind: Kind, tables: Sequence[Table], rng: random.Random) -> Plan:
    steps: list[Step] = []
    for table in tables:
        steps.append(_step(table, rng, steps))
    words = [step.words for step in steps]
    sentence = f"Take {kind.name} {', '.join(words[:-1])}, then {words[-1]}."

    def value(chosen: Sequence[Step], argument: Any) -> Any:
        for step in chosen:
            argument = step.value(argument)
        return argument

    def code(chosen: Sequence[Step], expression: str) -> str:
        for step in chosen:
            expression = step.code(expression)
        return expression

    main, solution = code(steps[1:], HELD), code(steps, kind.name)
    return Plan(kind, tuple(steps), tuple(tables), value, sentence, main, solution)


def _plain(rng: random.Random, more: int = 0) -> Plan:
    """Operations without numbers; the last on a list may be a summary."""
    kind, table, last = rng.choice(((WHOLE, COUNTS, ()), (TEXT, WORDS, ()), (NUMBERS, ITEMS, SUMMARIES)))
    return _one_after_another(kind, (table,) * (1 + more) + ((*table, *last),), rng)


def _longer(rng: random.Random) -> Plan:
    return _plain(rng, 1)


def _whole(rng: random.Random) -> Plan:
    return _one_after_another(WHOLE, (ARITHMETIC, (*ARITHMETIC, *COUNTS)), rng)


def _text(rng: random.Random) -> Plan:
    return _one_after_another(TEXT, (WRITING, (*WRITING, *WORDS)), rng)


def _list(rng: random.Random) -> Plan:
    return _one_after_another(NUMBERS, (LISTING, (*LISTING, *ITEMS, *SUMMARIES)), rng)


def _condition(rng: random.Random) -> Plan:
    test, first = _step(TESTS, rng), _step(ARITHMETIC, rng)
    second = _step(ARITHMETIC, rng, (first,))
    name = WHOLE.name
    sentence = f"If {name} is {test.words}, take {name} {first.words}, else {name} {second.words}."
    branches = f"{first.code(name)} if {{}} else {second.code(name)}"

    def value(chosen: Sequence[Step], argument: Any) -> Any:
        asked, yes, no = chosen
        return yes.value(argument) if asked.value(argument) else no.value(argument)

    main, solution = branches.format(HELD), branches.format(test.code(name))
    return Plan(WHOLE, (test, first, second), (TESTS, ARITHMETIC, ARITHMETIC), value, sentence, main, solution)


_PLANS: dict[int, Callable[[random.Random], Plan]] = {
    1: _plain,
    2: _longer,
    3: _whole,
    4: _text,
    5: _list,
    6: _condition,
}
