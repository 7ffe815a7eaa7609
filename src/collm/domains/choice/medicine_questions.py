"""Generated cases to which a rule in the question is applied: invented markers and limits, no medical knowledge.

They are no rows of MMLU and no medical advice; a model made from scratch can work them out.
"""

from __future__ import annotations

import random

from collm.domains.choice.questions import Family, Item, listed_item

_LEVELS = ("low", "normal", "high")
_TRENDS = ("falling", "steady", "rising")
_MARKERS = ("alpha", "beta", "gamma", "delta")
_SIGNS = ("fever", "cough", "rash", "pain", "thirst")


def _mark(first: int, second: int) -> str:
    return "<" if first < second else ">" if first > second else "="


def level(rng: random.Random) -> Item:
    """A value below, within or above two limits."""
    low, high = sorted(rng.sample(range(1, 10), 2))
    value = rng.choice([value for value in range(1, 10) if value not in (low, high)])
    marks = (_mark(value, low), _mark(value, high))
    answer = _LEVELS[marks.count(">")]
    return listed_item(
        f"In this exercise {rng.choice(_MARKERS)} is low below {low} and high above {high}. The patient has {value}. "
        "Which is it?",
        _LEVELS,
        answer,
        f"{value}{marks[0]}{low} {value}{marks[1]}{high}.",
    )


def trend(rng: random.Random) -> Item:
    """The later of two values is lower, equal or higher."""
    before, after = rng.randint(1, 9), rng.randint(1, 9)
    mark = _mark(after, before)
    answer = _TRENDS["<=>".index(mark)]
    return listed_item(
        f"In this exercise {rng.choice(_MARKERS)} was {before} and is now {after}. Which is it?",
        _TRENDS,
        answer,
        f"{after}{mark}{before}.",
    )


def score(rng: random.Random) -> Item:
    """One point for each of three signs; from a number of points on the patient stays."""
    signs = rng.sample(_SIGNS, 3)
    found = [rng.random() < 0.5 for _ in signs]
    limit, points = rng.randint(1, 3), sum(found)
    answer = "stay" if points >= limit else "leave"
    case = ", ".join(sign if there else f"no {sign}" for sign, there in zip(signs, found, strict=True))
    return listed_item(
        f"In this exercise a sign gives a point, and {limit} or more mean stay. The patient has {case}. Which is it?",
        ("stay", "leave"),
        answer,
        f"{'+'.join(str(int(there)) for there in found)}={points} {points}{_mark(points, limit)}{limit}.",
    )


FAMILIES: tuple[Family, ...] = (level, trend, score)
