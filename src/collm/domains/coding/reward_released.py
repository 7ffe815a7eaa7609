"""Coding rewards as the released code computes them: completions and tests are read line by line.

Known weaknesses are reproduced, they are what `released` means (docs/coding.md lists them): imports, classes and
helpers of a completion are lost, an inner function cuts its outer one off, wrapped asserts keep their first line,
loops around asserts are lost, and a simple assert calls the candidate twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collm.domains.coding.reading import Helper, Reading
from collm.domains.coding.syntax import Unparsable, helper_names, parse

CHECK_SECONDS = 10.0
_DEF = re.compile(r"\s*def\s+(\w+)\s*\(")
_RETURN = re.compile(r"return\s")
_IMPORT = re.compile(r"from\s+\S+\s+import\s+\S.*|import\s+\w[\w., ]*")
_SENTENCE = re.compile(r"[A-Z][a-z].*[.!?:]")
_CODE_WORDS = re.compile(r"\b(?:def|return|if|elif|else|for|while|import|from|class|try|except|with)\b|[=()\[\]]")
_CHECK_BODY = re.compile(r"def check\(candidate\):(.*?)(?=\n[ \t]*\n+def |\Z)", re.DOTALL)
_SIMPLE = re.compile(r"assert\s+(\w+\([^)]*\))\s*==\s*(.+)", re.DOTALL)
_DOCSTRING = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''", re.DOTALL)


def read(helper_texts: Sequence[str], main_text: str, prompt: str, entry_point: str) -> Reading:
    """What the released code makes of two completions, and in the same manner of those of more helpers, or none."""
    names = helper_names(1 + len(helper_texts))
    helpers = [extract(clean(text), name) for text, name in zip(helper_texts, names, strict=True)]
    main = extract(clean(main_text), entry_point)
    source = "\n\n".join(part for part in ("\n".join(imports(prompt)), *helpers, main) if part)
    try:
        parse(source)
        problem = None
    except Unparsable as error:
        problem = str(error)
    return Reading(
        helpers=tuple(
            Helper(
                defined=bool(_RETURN.search(helper)),
                used=bool(helper) and bool(re.search(rf"\b{name}\s*\(", main)),
                ignored=bool(re.search(rf"^[ \t]*{name}\s\(.\)[ \t]*$", main, re.MULTILINE)),
            )
            for helper, name in zip(helpers, names, strict=True)
        ),
        main_defined=bool(_RETURN.search(main)),
        problem=problem,
        source=source,
        hands_on=is_wrapper(main, names),
    )


def clean(text: str) -> str:
    """The functions in a completion, joined by empty lines; anything between them is dropped."""
    blocks: list[list[str]] = []
    depth: int | None = None  # of the def whose lines are being taken
    for line in text.replace("```python", "").replace("```", "").split("\n"):
        if _DEF.match(line):
            depth = _indent(line)
            blocks.append([line])
        elif depth is not None and _belongs(line, depth):
            blocks[-1].append(line)
        else:
            depth = None
    kept = ("\n".join(line for line in block if not _is_sentence(line.strip())) for block in blocks)
    return "\n\n".join(block.rstrip() for block in kept)


def extract(cleaned: str, name: str) -> str:
    """The function `name`; of several right after one another the last, else the first."""
    function: list[str] = []
    depth = 0
    for line in cleaned.split("\n"):
        match = _DEF.match(line)
        if match and match[1] == name:
            function, depth = [line], _indent(line)
        elif function:
            if line.strip() and _indent(line) <= depth:
                break
            function.append(line)
    return "\n".join(function).rstrip()


def imports(prompt: str) -> list[str]:
    """The import lines of a prompt, each once."""
    lines = (line.strip() for line in prompt.split("\n"))
    return list(dict.fromkeys(line for line in lines if _IMPORT.fullmatch(line)))


def checks(test: str, prompt: str, entry_point: str) -> tuple[str, tuple[str, ...]]:
    """(setup, checks) for the sandbox; no check at all where the released code finds none.

    Each check is one line with an assert. Where it compares a call without inner parentheses, call and right side
    are evaluated once before the assert itself.
    """
    body = _CHECK_BODY.search(test)
    lines = (line.strip() for line in body[1].split("\n")) if body else ()
    distinct = dict.fromkeys(line for line in lines if line.startswith("assert") and "candidate" in line)
    asserts = [line.replace("candidate", entry_point) for line in distinct]
    return "\n".join(imports(prompt)), tuple(map(_evaluated_before, asserts))


def is_wrapper(main: str, helpers: Sequence[str]) -> bool:
    """Whether nothing is left but handing a helper's value on, judged by the lines."""
    lines = (line.strip() for line in _DOCSTRING.sub("", main).split("\n"))
    left = [line for line in lines if line and not line.startswith(("#", "def "))]
    if len(left) == 1:
        return left[0].startswith("return ") and any(name in left[0] for name in helpers)
    if len(left) == 2:
        stored = re.match(rf"(\w+)\s*=\s*(?:{'|'.join(helpers)})\s*\(", left[0]) if helpers else None
        return stored is not None and left[1] == f"return {stored[1]}"
    return not left


def _evaluated_before(line: str) -> str:
    match = _SIMPLE.fullmatch(line)
    return f"{match[1]}\n{match[2]}\n{line}" if match else line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _belongs(line: str, depth: int) -> bool:
    stripped = line.strip()
    if not stripped or line.startswith("\t") or _indent(line) > depth:
        return True
    return _indent(line) == depth and stripped.startswith(('"""', "'''"))


def _is_sentence(line: str) -> bool:
    return bool(_SENTENCE.fullmatch(line)) and not _CODE_WORDS.search(line)
