"""What models think aloud before they answer, `<think>` blocks: it is no part of an answer, and never paid."""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"
_TAG = re.compile(f"{OPEN}|{CLOSE}")


def without_thoughts(text: str) -> str:
    """The answer in a response: `text` without its thoughts; time is linear in the text.

    An unfinished thought leaves nothing, whatever stands before it. A thought may have begun in the prompt (some chat
    templates open it): all before a `</think>` that nothing opens is thought too.
    """
    kept: list[str] = []
    place, inside = 0, False
    for tag in _TAG.finditer(text):
        if tag[0] == CLOSE:
            if not inside:
                kept.clear()
            place, inside = tag.end(), False
        elif not inside:
            kept.append(text[place : tag.start()])
            inside = True
    return "" if inside else "".join([*kept, text[place:]])
