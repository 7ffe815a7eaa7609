"""Scripted writers for the arXiv warm-start: two expansions of one abstract made of its own sentences and connectives.

Pure text functions without randomness of their own; the caller passes a seeded generator. The aim is the reward of
`collm.domains.writing.reward`, not style: the warm-started team should know the form and leave room to learn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from collm.domains.writing.tldr_writer import finished

# Connectives of the twelve transition categories, one of which opens every sentence.
_CONNECTIVES = (
    "In particular,",
    "In other words,",
    "However,",
    "Therefore,",
    "Furthermore,",
    "Likewise,",
    "For example,",
    "Given that,",
    "Although,",
    "Meanwhile,",
    "Clearly,",
)
_OPENINGS = ("To begin with,", "At the outset,", "Initially,")
_CLOSING = "Overall,"
_KEEP_CAPITAL = 2


@dataclass(frozen=True)
class Shape:
    """How a pair of texts comes out; the defaults are good under the paper's profile.

    `words`: whitespace words of the first text. `ratio`: characters of the second over those of the first. `own_share`:
    share of each text that comes from the agent's own half of the abstract, the rest comes from its key sentences,
    which both texts use. `connectives`: whether sentences open with one.
    """

    words: int = 140
    ratio: float = 1.12
    own_share: float = 0.55
    connectives: bool = True


def expand(source: Sequence[str], shape: Shape, rng: random.Random) -> tuple[str, str]:
    """Background from the first half of the sentences and method from the second; ("", "") without sentences.

    Each text goes through its own half and the key sentences in turn, again from the start where they run out, until
    it is long enough, and is cut between two words: the first by words, the second by characters.
    """
    if not source:
        return "", ""
    middle = (len(source) + 1) // 2
    halves = (list(source[:middle]), list(source[middle:]) or list(source))
    shared = _key_sentences(source, round(shape.words * (1.0 - shape.own_share)))
    phrases = rng.sample(_CONNECTIVES, len(_CONNECTIVES))
    opening = rng.choice(_OPENINGS)
    texts = []
    for half in halves:
        pieces: list[str] = []
        count = 0
        while count < 2 * shape.words:  # more than enough for both texts, the cut below decides
            for sentence in _woven(half, shared, shape.own_share, shape.words):
                joined = _joined(sentence, len(pieces), opening, phrases) if shape.connectives else finished(sentence)
                pieces.append(joined)
                count += len(joined.split())
        texts.append(" ".join(pieces))
    first = finished(" ".join(texts[0].split()[: shape.words]))
    second = texts[1]
    length = round(shape.ratio * len(first))
    while len(second) < length:
        second = f"{second} {texts[1]}"
    return first, finished(second[: length + 1].rsplit(" ", 1)[0])


def _key_sentences(source: Sequence[str], words: int) -> list[str]:
    """Sentences from the middle of the abstract outwards, in reading order, until they hold `words` words."""
    middle = (len(source) - 1) / 2
    nearest = sorted(range(len(source)), key=lambda index: abs(index - middle))
    chosen: list[int] = []
    total = 0
    while total < words and len(chosen) < len(source):
        chosen.append(nearest[len(chosen)])
        total += len(source[chosen[-1]].split())
    return [source[index] for index in sorted(chosen)]


def _woven(half: Sequence[str], shared: Sequence[str], own_share: float, words: int) -> list[str]:
    """One pass: sentences of the half up to the share `own_share` of `words`, then the key sentences, none twice."""
    chosen: list[str] = []
    count = 0
    for sentence in half:
        if chosen and count + len(sentence.split()) > own_share * words:
            break
        chosen.append(sentence)
        count += len(sentence.split())
    return chosen + [sentence for sentence in shared if sentence not in chosen]


def _joined(sentence: str, index: int, opening: str, phrases: Sequence[str]) -> str:
    """The sentence behind its connective, in lower case unless it starts with an acronym or a lone capital."""
    phrase = opening if index == 0 else _CLOSING if index == len(phrases) + 1 else phrases[(index - 1) % len(phrases)]
    if not sentence[:_KEEP_CAPITAL].isupper() and not sentence.startswith("I "):
        sentence = sentence[0].lower() + sentence[1:]
    return f"{phrase} {finished(sentence)}"
