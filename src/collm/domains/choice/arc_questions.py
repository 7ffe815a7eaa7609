"""Generated questions on school science whose facts stand in the question: nothing has to be known beforehand.

They are no rows of ARC; a model made from scratch can work them out. Options of a family stand in one order.
"""

from __future__ import annotations

import random

from collm.domains.choice.questions import Family, Item, listed_item

_STATES = ("solid", "liquid", "gas")
_SIDES = ("left", "neither", "right")
_WARMTHS = ("colder", "unchanged", "warmer")
_DEPTHS = ("sinks", "hovers", "floats")
_ANIMALS = ("owl", "fox", "snake", "frog", "hare", "mouse")


def state_of_matter(rng: random.Random) -> Item:
    """Solid below the melting point, gas above the boiling point."""
    melts, boils = sorted(rng.sample(range(1, 10), 2))
    at = rng.choice([value for value in range(1, 10) if value not in (melts, boils)])
    marks = ["<" if at < point else ">" for point in (melts, boils)]
    answer = _STATES[marks.count(">")]
    return listed_item(
        f"It melts at {melts} degrees, boils at {boils} degrees and is at {at} degrees. What is it?",
        _STATES,
        answer,
        f"{at}{marks[0]}{melts} {at}{marks[1]}{boils}.",
    )


def balance(rng: random.Random) -> Item:
    """The heavier side of a balance sinks."""
    left, right = _pair(rng)
    return _compared(f"On a balance {left} g lie left and {right} g right. Which side sinks?", _SIDES, left, right)


def heat(rng: random.Random) -> Item:
    """Heat goes from warm to cold."""
    coin, water = _pair(rng)
    question = f"A coin of {coin} degrees lies in water of {water} degrees. What does the coin become?"
    return _compared(question, _WARMTHS, coin, water)


def floating(rng: random.Random) -> Item:
    """What is denser than the liquid sinks."""
    block, liquid = _pair(rng)
    question = f"A cm^3 of a block weighs {block} g, of the liquid {liquid} g. What does the block do?"
    return _compared(question, _DEPTHS, block, liquid)


def food_chain(rng: random.Random) -> Item:
    """Without its prey an animal gets rarer, without its hunter it gets more frequent."""
    hunter, middle, prey = rng.sample(_ANIMALS, 3)
    asked, verb, answer = rng.choice(((hunter, "eats", "fewer"), (prey, "feeds", "more")))
    return listed_item(
        f"The {hunter} eats the {middle}, the {middle} eats the {prey}. No {middle} is left. "
        f"What becomes of the {asked}?",
        ("more", "fewer"),
        answer,
        f"{asked} {verb} {middle}.",
    )


def _pair(rng: random.Random) -> tuple[int, int]:
    return rng.randint(1, 9), rng.randint(1, 9)


def _compared(question: str, answers: tuple[str, str, str], first: int, second: int) -> Item:
    """A question with three answers, for `first` greater than `second`, equal to it, and less."""
    mark = ">" if first > second else "=" if first == second else "<"
    return listed_item(question, answers, answers[">=<".index(mark)], f"{first}{mark}{second}.")


FAMILIES: tuple[Family, ...] = (state_of_matter, balance, heat, floating, food_chain)
