"""Scripted writer for the TL;DR warm-start: elaborations made of the post's own sentences and transition phrases.

Pure text functions without randomness of their own; the caller passes a seeded generator. The aim is the reward of
`collm.domains.writing.reward`, not style: the warm-started team should know the format and leave room to learn.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from collm.domains.prose import content_words

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+|\s+(?=--?\s)")
_LINK = re.compile(r"\[([^\]]{0,200})\]\([^)]{0,500}\)|https?://\S+")
_MARKUP = re.compile(r"[*_#>~`|\\]+|&\w{2,6};")
_LONGEST = 150
_LEAST_WORDS = 4
_PHRASE = 14

_OPENINGS = ("In fact,", "Clearly,", "Indeed,")
_CONTRASTS = ("However,", "Nevertheless,", "Still,")
_MIDDLES = ("As a result,", "Furthermore,", "For example,", "Therefore,", "Moreover,", "In addition,")
_CLOSINGS = ("Ultimately,", "In the end,", "In conclusion,")
_KEEP_CAPITAL = re.compile(r"(I|I'\w+|[A-Z]{2,}\w*)\b")


@dataclass(frozen=True)
class Faults:
    """What is wrong with a noisy elaboration; the default is nothing.

    Characters of the elaboration over those of the summary should reach `ratio` and are cut at `ceiling`.
    `fresh` is the share of new material, the rest repeats it; `phrases` whether transition phrases are put in.
    """

    ratio: float = 2.2
    ceiling: float = 3.1
    fresh: float = 1.0
    phrases: bool = True


def clean(text: str) -> str:
    """One line of plain text: links, markup signs and runs of white space are gone."""
    text = _LINK.sub(r"\1", text)
    return " ".join(_MARKUP.sub(" ", text).split())


def sentences(text: str) -> list[str]:
    """Sentences of at least four words in reading order, long ones cut into clauses; repeated ones once."""
    distinct: dict[str, None] = {}
    for piece in _SENTENCE_END.split(text):
        for clause in _clauses(clean(piece)):
            if len(clause.split()) >= _LEAST_WORDS:
                distinct.setdefault(clause, None)
    return list(distinct)


def _clauses(sentence: str) -> list[str]:
    """Cut a sentence longer than `_LONGEST` characters at commas, or between words where there is none."""
    if len(sentence) <= _LONGEST:
        return [sentence]
    pieces = [""]
    for clause in _CLAUSE_END.split(sentence):
        units = [clause] if len(clause) <= _LONGEST else clause.split()
        for unit in units:
            if pieces[-1] and len(pieces[-1]) + 1 + len(unit) > _LONGEST:
                pieces.append("")
            pieces[-1] = f"{pieces[-1]} {unit}".strip()
    return pieces


def elaborate(summary: str, source: list[str], rng: random.Random, faults: Faults) -> str:
    """A text between `faults.ratio` and `faults.ceiling` times as long as `summary`, from sentences of the post.

    Sentences rich in new content words come first into the choice, those that share words with the summary a little
    earlier, and stand in the order of the post. "" if `source` is empty.
    """
    target, ceiling = (round(ratio * len(summary)) for ratio in (faults.ratio, faults.ceiling))
    overhead = _PHRASE if faults.phrases else 0
    chosen = _choose(summary, source, round(target * faults.fresh), round(ceiling * faults.fresh), overhead)
    if faults.phrases:
        chosen = _link(chosen, rng)
    fresh = text = " ".join(finished(sentence) for sentence in chosen)
    while faults.fresh < 1.0 and fresh and len(text) < target:
        text = f"{text} {fresh}"
    return _cut(text, max(ceiling, 1))


def _choose(summary: str, source: list[str], target: int, ceiling: int, overhead: int) -> list[str]:
    """Sentences with `target` characters or more in all, if possible no more than `ceiling`; in reading order."""
    anchor = content_words(summary)
    vocabulary = {sentence: content_words(sentence) for sentence in source}
    known: set[str] = set()
    chosen: list[str] = []
    total = 0

    def worth(sentence: str) -> float:
        content = vocabulary[sentence]
        return (len(content - known) + 0.5 * len(content & anchor)) / (len(sentence) + _PHRASE)

    while total < target and len(chosen) < len(source):
        left = [sentence for sentence in source if sentence not in chosen]
        fitting = [sentence for sentence in left if total + len(sentence) + overhead < ceiling]
        best = max(fitting or left, key=worth)
        chosen.append(best)
        known |= vocabulary[best]
        total += len(best) + 1 + overhead
    return [sentence for sentence in source if sentence in chosen]


def _link(chosen: list[str], rng: random.Random) -> list[str]:
    """Put one transition phrase before each sentence: opening, contrast, others, closing."""
    middles = [rng.choice(_CONTRASTS), *rng.sample(_MIDDLES, len(_MIDDLES))]
    count = len(chosen)
    linked = []
    for index, sentence in enumerate(chosen):
        if index == 0:
            phrase = rng.choice(_OPENINGS)
        elif index == count - 1:
            phrase = rng.choice(_CLOSINGS)
        else:
            phrase = middles[(index - 1) % len(middles)]
        if not _KEEP_CAPITAL.match(sentence):
            sentence = sentence[0].lower() + sentence[1:]
        linked.append(f"{phrase} {sentence}")
    return linked


def finished(sentence: str) -> str:
    """The sentence with a full stop, unless it ends with another closing mark."""
    sentence = sentence.rstrip(" ,;:-")
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _cut(text: str, length: int) -> str:
    """`text` cut between two words to at most `length` characters and ended with a full stop."""
    if len(text) <= length:
        return text
    return finished(text[: length + 1].rsplit(" ", 1)[0])
