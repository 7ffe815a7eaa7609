"""Words of English prose, and what can be said of a text without any reward: whether it repeats itself, whether it is
about its source.

Words are runs of Unicode word characters of the lower-cased text; content words are those that are no stop words.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence

from collm.domains.base import embedded_path

_WORD = re.compile(r"\w+")


@functools.cache
def stopwords() -> frozenset[str]:
    """The stop words that ship with the package, lower case."""
    return frozenset(json.loads(embedded_path("writing_lexicon.json").read_text(encoding="utf-8"))["stopwords"])


def words(text: str) -> list[str]:
    """Runs of Unicode word characters of the lower-cased text."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> set[str]:
    """Distinct words without stop words."""
    return set(words(text)) - stopwords()


def repetition(text: str) -> float:
    """Share of a text's 3-grams of words that stood in it before, in per cent; 0 with fewer than three words."""
    grams = _grams(words(text), 3)
    return 100.0 * (1.0 - len(set(grams)) / len(grams)) if grams else 0.0


def overlap(text: str, source: str) -> float:
    """Share of a text's distinct content words that stand in its source, in per cent; 0 without any."""
    own = content_words(text)
    return 100.0 * len(own & content_words(source)) / len(own) if own else 0.0


def distinct_2(texts: Iterable[str]) -> float | None:
    """Share of distinct ones among the 2-grams of words of many texts, in per cent (arXiv 1510.03055).

    It is low where a team says the same whatever it is asked. More texts have a lower share: compare equally many.
    None without any 2-gram.
    """
    grams = [gram for text in texts for gram in _grams(words(text), 2)]
    return 100.0 * len(set(grams)) / len(grams) if grams else None


def _grams(of: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(of[start : start + size]) for start in range(len(of) - size + 1)]
