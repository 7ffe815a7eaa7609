"""Texts that are too long for a model lose their middle: beginning and end of a task say what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MARKER = " [...] "  # stands for what was left out
Spans = Sequence[tuple[int, int]]


class TooLong(Exception):
    """Even without all that may go, `tokens` tokens are left."""

    def __init__(self, tokens: int):
        super().__init__(f"{tokens} tokens are left")
        self.tokens = tokens


def fit(
    texts: Sequence[str],
    whole: Sequence[bool],
    limit: int,
    encode: Callable[[Sequence[str]], Sequence[int]],
    spans: Callable[[str], Spans],
) -> list[int]:
    """Token ids of `texts` together, after the longest ones were shortened in their middle until `limit` is kept.

    Args:
        texts: contents of a prompt's messages.
        whole: which of them are never shortened (system texts).
        encode: token ids of the texts with everything around them (chat template, first token).
        spans: (first, last + 1) character of every token of one text.
    Raises:
        TooLong: what must stay has more tokens than `limit`.
    """
    ids = encode(texts)
    if len(ids) <= limit:
        return list(ids)
    tokens = [() if stays else spans(text) for text, stays in zip(texts, whole, strict=True)]
    kept = [len(part) for part in tokens]
    while len(ids) > limit:
        if not any(kept):
            raise TooLong(len(ids))
        kept = level(kept, sum(kept) - (len(ids) - limit))
        ids = encode([shorten(*each) for each in zip(texts, tokens, kept, strict=True)])
    return list(ids)


def shorten(text: str, tokens: Spans, kept: int) -> str:
    """The first and the last half of `kept` of a text's tokens with the marker between; all of them: the text."""
    if kept == len(tokens):
        return text
    head, tail = (kept + 1) // 2, kept // 2
    start = text[: tokens[head - 1][1]] if head else ""
    return start + MARKER + (text[tokens[len(tokens) - tail][0] :] if tail else "")


def level(lengths: Sequence[int], total: int) -> list[int]:
    """Lengths whose longest are lowered to one height, so that they sum to `total` at most (to 0 if it is below)."""
    left, height = max(0, total), 0
    for place, length in enumerate(sorted(lengths)):
        height = left // (len(lengths) - place)
        if height < length:
            break
        left -= length
        height = length
    return [min(length, height) for length in lengths]
