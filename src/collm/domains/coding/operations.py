"""Operations that generated programming problems are composed of: their words, their Python, and their value.

`words` stand in the docstring, `code` in the reference; `value` computes the same here, so that the answers of the
tests never come from running a text. {x} is what the operation works on, {k} its number.
"""

from __future__ import annotations

import ast
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_TIGHT = (ast.Name, ast.Call, ast.Subscript, ast.ListComp)  # expressions that need no brackets


@dataclass(frozen=True)
class Kind:
    """A kind of values: the parameter's name for it, its type hint, and how an example is drawn."""

    name: str
    hint: str
    draw: Callable[[random.Random], Any]


@dataclass(frozen=True)
class Operation:
    """One operation; `numbers` may stand in it (one alone: it has none), `gives` is the kind of its value."""

    words: str
    code: str
    value: Callable[[Any, int], Any]
    gives: Kind
    numbers: Sequence[int] = (0,)


@dataclass(frozen=True)
class Step:
    """An operation with its number."""

    operation: Operation
    number: int

    @property
    def words(self) -> str:
        """What the docstring says, like "plus 3"."""
        return self.operation.words.format(k=self.number)

    def code(self, operand: str) -> str:
        """The operation as Python on `operand`, which gets brackets where it needs them."""
        bare = isinstance(ast.parse(operand, mode="eval").body, _TIGHT) or "({x}" in self.operation.code
        return self.operation.code.format(x=operand if bare else f"({operand})", k=self.number)

    def value(self, operand: Any) -> Any:
        """The value on `operand`. Raises ValueError where there is none (the greatest of no numbers)."""
        return self.operation.value(operand, self.number)


def _whole(rng: random.Random) -> int:
    return rng.randint(0, 30)


def _text(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters, k=rng.randint(4, 5)))


def _numbers(rng: random.Random) -> list[int]:
    return [rng.randint(0, 9) for _ in range(rng.randint(4, 5))]


WHOLE = Kind("n", "int", _whole)
TEXT = Kind("s", "str", _text)
NUMBERS = Kind("xs", "list[int]", _numbers)
TRUTH = Kind("b", "bool", lambda rng: rng.random() < 0.5)
NOTHING = Operation("left alone", "{x}", lambda x, _: x, WHOLE)  # a step that was forgotten
DIGITS = range(2, 10)


def _each(change: Callable[[int], int]) -> Callable[[Any, int], Any]:
    return lambda values, _: [change(one) for one in values]


# Without a number, each a word of its own.
COUNTS = (
    Operation("doubled", "{x} * 2", lambda x, _: x * 2, WHOLE),
    Operation("tripled", "{x} * 3", lambda x, _: x * 3, WHOLE),
    Operation("quadrupled", "{x} * 4", lambda x, _: x * 4, WHOLE),
    Operation("quintupled", "{x} * 5", lambda x, _: x * 5, WHOLE),
    Operation("squared", "{x} ** 2", lambda x, _: x**2, WHOLE),
    Operation("cubed", "{x} ** 3", lambda x, _: x**3, WHOLE),
    Operation("halved", "{x} // 2", lambda x, _: x // 2, WHOLE),
    Operation("quartered", "{x} // 4", lambda x, _: x // 4, WHOLE),
    Operation("negated", "-{x}", lambda x, _: -x, WHOLE),
    Operation("incremented", "{x} + 1", lambda x, _: x + 1, WHOLE),
    Operation("decremented", "{x} - 1", lambda x, _: x - 1, WHOLE),
)
WORDS = (
    Operation("reversed", "{x}[::-1]", lambda x, _: x[::-1], TEXT),
    Operation("uppercased", "{x}.upper()", lambda x, _: x.upper(), TEXT),
    Operation("lowercased", "{x}.lower()", lambda x, _: x.lower(), TEXT),
    Operation("capitalized", "{x}.capitalize()", lambda x, _: x.capitalize(), TEXT),
    Operation("swapcased", "{x}.swapcase()", lambda x, _: x.swapcase(), TEXT),
    Operation("doubled", "{x} * 2", lambda x, _: x * 2, TEXT),
    Operation("tripled", "{x} * 3", lambda x, _: x * 3, TEXT),
    Operation("quadrupled", "{x} * 4", lambda x, _: x * 4, TEXT),
)
ITEMS = (
    Operation("doubled", "[x * 2 for x in {x}]", _each(lambda one: one * 2), NUMBERS),
    Operation("tripled", "[x * 3 for x in {x}]", _each(lambda one: one * 3), NUMBERS),
    Operation("quadrupled", "[x * 4 for x in {x}]", _each(lambda one: one * 4), NUMBERS),
    Operation("squared", "[x ** 2 for x in {x}]", _each(lambda one: one**2), NUMBERS),
    Operation("cubed", "[x ** 3 for x in {x}]", _each(lambda one: one**3), NUMBERS),
    Operation("halved", "[x // 2 for x in {x}]", _each(lambda one: one // 2), NUMBERS),
    Operation("negated", "[-x for x in {x}]", _each(lambda one: -one), NUMBERS),
    Operation("incremented", "[x + 1 for x in {x}]", _each(lambda one: one + 1), NUMBERS),
    Operation("decremented", "[x - 1 for x in {x}]", _each(lambda one: one - 1), NUMBERS),
    Operation("reversed", "{x}[::-1]", lambda x, _: x[::-1], NUMBERS),
    Operation("sorted", "sorted({x})", lambda x, _: sorted(x), NUMBERS),
)
SUMMARIES = (
    Operation("the sum", "sum({x})", lambda x, _: sum(x), WHOLE),
    Operation("the length", "len({x})", lambda x, _: len(x), WHOLE),
    Operation("the maximum", "max({x})", lambda x, _: max(x), WHOLE),
    Operation("the minimum", "min({x})", lambda x, _: min(x), WHOLE),
)
# With a number.
ARITHMETIC = (
    Operation("plus {k}", "{x} + {k}", lambda x, k: x + k, WHOLE, DIGITS),
    Operation("minus {k}", "{x} - {k}", lambda x, k: x - k, WHOLE, DIGITS),
    Operation("times {k}", "{x} * {k}", lambda x, k: x * k, WHOLE, DIGITS),
    Operation("modulo {k}", "{x} % {k}", lambda x, k: x % k, WHOLE, DIGITS),
    Operation("at most {k}", "min({x}, {k})", min, WHOLE, DIGITS),
    Operation("at least {k}", "max({x}, {k})", max, WHOLE, DIGITS),
)
TESTS = (
    Operation("above {k}", "{x} > {k}", lambda x, k: x > k, TRUTH, DIGITS),
    Operation("below {k}", "{x} < {k}", lambda x, k: x < k, TRUTH, DIGITS),
    Operation("divisible by {k}", "{x} % {k} == 0", lambda x, k: x % k == 0, TRUTH, DIGITS),
)
WRITING = (
    Operation("repeated {k} times", "{x} * {k}", lambda x, k: x * k, TEXT, range(2, 6)),
    Operation("followed by {k}", "{x} + '{k}'", lambda x, k: x + str(k), TEXT, DIGITS),
    Operation("preceded by {k}", "'{k}' + {x}", lambda x, k: str(k) + x, TEXT, DIGITS),
    Operation("cut to the first {k}", "{x}[:{k}]", lambda x, k: x[:k], TEXT, range(2, 5)),
    Operation("cut to the last {k}", "{x}[-{k}:]", lambda x, k: x[-k:], TEXT, range(2, 5)),
    Operation("without the first {k}", "{x}[{k}:]", lambda x, k: x[k:], TEXT, range(2, 5)),
    Operation("without the last {k}", "{x}[:-{k}]", lambda x, k: x[:-k], TEXT, range(2, 5)),
)
LISTING = (
    Operation("plus {k} each", "[x + {k} for x in {x}]", lambda x, k: [i + k for i in x], NUMBERS, DIGITS),
    Operation("minus {k} each", "[x - {k} for x in {x}]", lambda x, k: [i - k for i in x], NUMBERS, DIGITS),
    Operation("times {k} each", "[x * {k} for x in {x}]", lambda x, k: [i * k for i in x], NUMBERS, DIGITS),
    Operation("above {k} only", "[x for x in {x} if x > {k}]", lambda x, k: [i for i in x if i > k], NUMBERS, DIGITS),
    Operation("below {k} only", "[x for x in {x} if x < {k}]", lambda x, k: [i for i in x if i < k], NUMBERS, DIGITS),
    Operation("cut to the first {k}", "{x}[:{k}]", lambda x, k: x[:k], NUMBERS, range(2, 4)),
    Operation("without the first {k}", "{x}[{k}:]", lambda x, k: x[k:], NUMBERS, range(2, 4)),
)
