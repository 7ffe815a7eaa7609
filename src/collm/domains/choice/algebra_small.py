"""Generated questions on the cyclic groups Z_3, Z_4 and Z_5, which a model made from scratch can work out.

A question takes two operations modulo n; the options are the elements of the group in their order. The working
writes every step: two tables of at most 25 entries are all that has to be known.
"""

from __future__ import annotations

import random

from collm.domains.choice.questions import Family, Item, listed_item

_MODULI = (3, 4, 5)


def _item(rng: random.Random, first: str, second: str) -> Item:
    """What a `first` b `second` c is in one of the groups; products go before sums."""
    n = rng.choice(_MODULI)
    a, b, c = (rng.randrange(n) for _ in range(3))
    part = _result(first, a, b, n)
    answer = _result(second, part, c, n)
    return listed_item(
        f"What is {a} {first} {b} {second} {c} in Z_{n}?",
        [str(element) for element in range(n)],
        str(answer),
        f"{a}{first}{b}={part} {part}{second}{c}={answer}.",
    )


def _result(operation: str, a: int, b: int, n: int) -> int:
    return (a + b if operation == "+" else a * b) % n


def sum_of_three(rng: random.Random) -> Item:
    """a + b + c."""
    return _item(rng, "+", "+")


def product_and_sum(rng: random.Random) -> Item:
    """a * b + c."""
    return _item(rng, "*", "+")


FAMILIES: tuple[Family, ...] = (sum_of_three, product_and_sum)
