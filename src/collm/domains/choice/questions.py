"""Multiple-choice questions: checking rows of any public layout, writing options down, and generated questions.

A checked question is a plain dict {"question", "options", "answer", "why"}: options are texts in their order, labelled
A to E by position, `answer` is the position of the right one, `why` a short explanation or "".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collm.common.errors import ConfigError, RowError, UnusableRow
from collm.domains.base import RawRow, printable, require, require_text

LETTERS = "ABCDE"
_DIGITS = "12345"
_ATTEMPTS = 200


def question_fields(fields: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Check one row and bring it into the form of this module.

    Needs `question`; `choices`, a list of texts or {"label": [...], "text": [...]} with labels A-E or 1-5; and the
    right one as `answerKey` (a label) or `answer` (a position from 0, or a letter). `why` may be missing.

    Raises:
        RowError: a field is missing or ill-typed, there are fewer than 2 or more than 5 choices, or the answer is
            none of them.
        UnusableRow: two choices have the same text, so that the answer is ambiguous.
    """
    place = f"{origin}: " if origin else ""
    question = require_text(fields, "question", origin)
    labels, texts = _choices(fields, origin)
    if not 2 <= len(texts) <= len(LETTERS):
        raise RowError(f"{place}field 'choices' holds {len(texts)} choices; expected 2 to {len(LETTERS)}")
    for letter, text in zip(LETTERS, texts, strict=False):
        if not isinstance(text, str) or not text.strip():
            raise RowError(f"{place}field 'choices': choice {letter} is {text!r}; expected a text that is not empty")
    options = [" ".join(printable(text).split()) for text in texts]
    if len(set(options)) < len(options):
        raise UnusableRow(f"{place}field 'choices' holds the same text twice; only distinct choices can be told apart")
    why = "" if fields.get("why") is None else require(fields, "why", (str,), "a text", origin)
    return {
        "question": printable(question).strip(),
        "options": options,
        "answer": _answer(fields, labels, origin),
        "why": " ".join(printable(why).split()),
    }


def _choices(fields: Mapping[str, Any], origin: str) -> tuple[list[str], list[Any]]:
    place = f"{origin}: " if origin else ""
    expected = "a list of texts or an object with label and text"
    choices = require(fields, "choices", (list, tuple, Mapping), expected, origin)
    if not isinstance(choices, Mapping):
        return list(LETTERS[: len(choices)]), list(choices)
    texts = require(choices, "text", (list, tuple), "a list of texts (in 'choices')", origin)
    labels = require(choices, "label", (list, tuple), "a list of labels (in 'choices')", origin)
    if len(labels) != len(texts):
        raise RowError(f"{place}field 'choices' has {len(labels)} labels for {len(texts)} texts; expected one each")
    named = [_letter(label) for label in labels]
    if None in named or len(set(named)) < len(named):
        raise RowError(f"{place}field 'choices' has labels {list(labels)!r}; expected distinct ones of A-E or 1-5")
    return [letter for letter in named if letter], list(texts)


def _letter(label: Any) -> str | None:
    """A to E for a label A-E (any case) or 1-5; None for anything else."""
    text = label.strip().upper() if isinstance(label, str) else ""
    if len(text) == 1 and text in _DIGITS:
        return LETTERS[_DIGITS.index(text)]
    return text if len(text) == 1 and text in LETTERS else None


def _answer(fields: Mapping[str, Any], labels: Sequence[str], origin: str) -> int:
    field = "answerKey" if "answerKey" in fields or "answer" not in fields else "answer"
    allowed = f"one of the labels {', '.join(labels)}" + (" or a position from 0" if field == "answer" else "")
    kinds = (str,) if field == "answerKey" else (str, int)
    value = require(fields, field, kinds, allowed, origin)
    if isinstance(value, int):
        position = value if 0 <= value < len(labels) else None
    else:
        letter = _letter(value)
        position = labels.index(letter) if letter in labels else None
    if position is None:
        raise RowError(f"{origin + ': ' if origin else ''}field {field!r} is {value!r}; expected {allowed}")
    return position


def written(question: Mapping[str, Any]) -> str:
    """The question with one option per line, as agents see it."""
    options = (f"{letter}) {text}" for letter, text in zip(LETTERS, question["options"], strict=False))
    return "\n".join([question["question"], *options])


def same_words(text: str) -> str:
    """`text` without differences of case and white space, for comparing questions."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Item:
    """One generated question; `wrong` holds candidates, best distractors first, and options are shuffled.

    With `listed` these are the options, in this order: the elements of a group, say, or "low", "normal", "high".
    """

    question: str
    answer: str
    wrong: tuple[str, ...]
    why: str
    listed: tuple[str, ...] = ()


def listed_item(question: str, listed: Sequence[str], answer: str, why: str) -> Item:
    """A question whose options stand in the order of `listed`, with a working that a model made from scratch can learn.

    Every working begins with the same word: what has to be found in the question comes after it.
    """
    return Item(question, answer, (), f"Here {why}", tuple(listed))


Family = Callable[[random.Random], Item]


def generate(families: Iterable[Family], seed: int, count: int, domain: str, size: int = 4) -> list[RawRow]:
    """`count` rows in turn from all families, no question twice; families that run dry are left out.

    Of questions with listed options every position is right equally often, whatever the family draws more often.

    Args:
        families: functions that draw an item; their names are kept as field `family`.
        seed: the same seed gives the same rows.
        count: rows wanted.
        domain: for the message.
        size: options per question.
    Raises:
        ConfigError: the families hold fewer different questions.
    """
    rng = random.Random(f"{domain} {seed}")
    alive = list(families)
    taken: set[str] = set()
    rows: list[RawRow] = []
    while len(rows) < count:
        if not alive:
            raise ConfigError(
                f"domain.{domain}.options.generated: {count} different questions cannot be made; at most {len(rows)}"
            )
        family = alive.pop(0)
        item = _new_item(family, rng, size, taken)
        if item is None:
            continue
        alive.append(family)
        taken.add(item.question)
        rows.append(_row(item, rng, size, family, len(rows) + 1))
    return rows


def _new_item(family: Family, rng: random.Random, size: int, taken: Container[str]) -> Item | None:
    """An item whose question is not taken; None after so many draws without one.

    Of listed options the right one is drawn first; only a position that has run dry gives way to another one.
    """
    place = rng.random() if family(random.Random(0)).listed else None
    for attempt in range(2 * _ATTEMPTS if place is not None else _ATTEMPTS):
        item = family(rng)
        if place is None:
            fits = len(set(item.wrong) - {item.answer}) >= size - 1
        else:
            fits = attempt >= _ATTEMPTS or item.listed.index(item.answer) == int(place * len(item.listed))
        if fits and item.question not in taken:
            return item
    return None


def _row(item: Item, rng: random.Random, size: int, family: Family, number: int) -> RawRow:
    options = list(item.listed)
    if not options:
        options = [item.answer, *[text for text in dict.fromkeys(item.wrong) if text != item.answer][: size - 1]]
        rng.shuffle(options)
    fields = {
        "question": item.question,
        "choices": options,
        "answer": options.index(item.answer),
        "why": item.why,
        "family": family.__name__.strip("_"),
    }
    return RawRow(fields, f"generated:{number}")
