"""Multiple-choice questions that a person asks of a trained team, options and maybe the right letter below them."""

from __future__ import annotations

import re
from typing import Any

from collm.common.errors import RowError
from collm.domains.choice.questions import LETTERS

MANNER = (
    "the question and its options, as in 'Which one is a fruit? A) stone B) apple', and maybe 'Answer: B' at the end"
)
UNANSWERED = "the question does not say which option is right: add 'Answer: B', say, at its end"
_ANSWER = re.compile(rf"\s*\bAnswer:\s*\(?([{LETTERS}])\)?\.?\s*$", re.IGNORECASE)
_OPTION = re.compile(rf"(?:^|\s)\(?([{LETTERS}])[).:]\s+")


def question(text: str) -> tuple[dict[str, Any], bool]:
    """A row {"question", "choices", "answer"} of what a person asks, and whether the right option is told.

    Without it the row names the first one.

    Raises:
        RowError: there are not two options or more, lettered from A on.
    """
    told = _ANSWER.search(text)
    marks = list(_OPTION.finditer(text[: told.start()] if told else text))
    start = next((place for place in range(len(marks)) if _lettered(marks[place:])), None)
    if start is None or len(marks) - start < 2:
        raise RowError(f"no options are lettered from A on; ask by {MANNER}")
    marks = marks[start:]
    ends = [*(mark.start() for mark in marks[1:]), told.start() if told else len(text)]
    choices = [" ".join(text[mark.end() : end].split()) for mark, end in zip(marks, ends, strict=True)]
    fields = {"question": text[: marks[0].start()].strip(), "choices": choices, "answer": 0}
    if told:
        fields["answer"] = told.group(1).upper()
    return fields, told is not None


def _lettered(marks: list[re.Match[str]]) -> bool:
    """Whether marks are A, B, C and so on."""
    return "".join(mark.group(1) for mark in marks) == LETTERS[: len(marks)] if len(marks) <= len(LETTERS) else False
