"""Rows of the coding sets as checked fields {source_id, prompt, entry_point, test, solution, reference}.

`solution` is one module that solves the task, `reference` {"aux", "main"} a cooperative one; "" and None where the
source has none.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from collm.common.errors import RowError, UnusableRow
from collm.domains.base import require, require_text
from collm.domains.coding.syntax import Unparsable, definition, parse

RELEASED_CORRUPTION = "the conversion renamed a library call in its asserts, so no program can pass them"


def coding_fields(fields: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Check a row with `prompt` (Python that ends in the function asked for), `test` and `entry_point`.

    `task_id`, `canonical_solution` (what follows the prompt) and `reference` may be missing.

    Raises:
        RowError: a field is missing or ill-typed, or the prompt does not define the entry point.
    """
    prompt, test = (require_text(fields, name, origin) for name in ("prompt", "test"))
    entry_point = identifier(fields, "entry_point", origin)
    place = f"{origin}: " if origin else ""
    try:
        function = definition(parse(prompt), entry_point)
    except Unparsable as error:
        raise RowError(f"{place}field 'prompt' is no Python: {error}") from None
    if function is None:
        raise RowError(f"{place}field 'prompt' does not define {entry_point!r}, which field 'entry_point' names")
    following = fields.get("canonical_solution")
    if following is not None:
        following = require(fields, "canonical_solution", (str,), "a text", origin)
    return {
        "source_id": str(fields.get("task_id", "")),
        "prompt": prompt,
        "entry_point": entry_point,
        "test": test,
        "solution": prompt + following if following else "",
        "reference": reference(fields, origin),
    }


def mbpp_fields(fields: Mapping[str, Any], origin: str, renamed: bool = False) -> dict[str, Any]:
    """Fields of a row in MBPP's own form: `prompt` (a sentence), `code`, `test_list`, `test_imports`.

    The function asked for is the one of `code` that every assert calls; prompt and test are put together anew from
    its signature and the asserts as they are; with `renamed` they call it `candidate`, as the released code wants.

    Raises:
        RowError: a field is missing or ill-typed. UnusableRow: the asserts call no function of the code in common.
    """
    sentence, code = (require_text(fields, name, origin) for name in ("prompt", "code"))
    asserts, setup = (_texts(fields, name, origin) for name in ("test_list", "test_imports"))
    if not asserts:
        raise RowError(f"{origin}: field 'test_list' is empty; expected at least one assert")
    try:
        tree = parse(code)
        called = [_called(parse(text)) for text in asserts]
    except Unparsable as error:
        raise RowError(f"{origin}: field 'code' or 'test_list' is no Python: {error}") from None
    common = [
        (name, function)
        for name in called[0]
        if (function := definition(tree, name)) is not None and all(name in names for names in called)
    ]
    if not common:
        raise UnusableRow(f"{origin}: no function of field 'code' is called by every assert of 'test_list'")
    entry_point, function = common[0]
    if renamed:
        asserts = [re.sub(rf"\b{entry_point}\b", "candidate", text) for text in asserts]
    words = textwrap.fill(sentence.replace("\\", "\\\\").replace('"""', "'''").strip(), 100, subsequent_indent="    ")
    prompt = f'def {entry_point}({ast.unparse(function.args)}):\n    """{words}\n    """\n'
    # The set's own harness runs code and asserts in one namespace: some asserts lean on an import of the code.
    setup += [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    body = [f"    {text.strip()}" for text in asserts]
    test = "\n".join([*dict.fromkeys(setup), "def check(candidate):", *body]) + "\n"
    return {
        "source_id": str(fields.get("task_id", "")),
        "prompt": prompt,
        "entry_point": entry_point,
        "test": test,
        "solution": code,
        "reference": reference(fields, origin),
    }


def converted_badly(test: str) -> bool:
    """Whether the asserts show the released conversion's fault: a library function renamed to `candidate`.

    That leaves `math.candidate(...)`, or `candidate(candidate(...))` where `set(...)` stood.
    """
    for node in ast.walk(parse(test)):
        if isinstance(node, ast.Attribute) and node.attr == "candidate":
            return True
        if isinstance(node, ast.Call) and _names_candidate(node.func):
            if any(_names_candidate(inner) for part in node.args for inner in ast.walk(part)):
                return True
    return False


def reference(fields: Mapping[str, Any], origin: str) -> dict[str, str] | None:
    """The checked field `reference`, or None."""
    given = fields.get("reference")
    if given is None:
        return None
    place = f"{origin}: field 'reference'" if origin else "field 'reference'"
    given = require(fields, "reference", (Mapping,), "an object with aux and main", origin)
    return {name: require_text(given, name, place) for name in ("aux", "main")}


def identifier(fields: Mapping[str, Any], field: str, origin: str) -> str:
    """A text that can name a function; RowError otherwise."""
    name = require_text(fields, field, origin)
    if not name.isidentifier():
        raise RowError(f"{origin + ': ' if origin else ''}field {field!r} is {name!r}; expected a Python name")
    return name


def _names_candidate(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "candidate"


def _texts(fields: Mapping[str, Any], field: str, origin: str) -> list[str]:
    values = require(fields, field, (list, tuple), "a list of texts", origin)
    if not all(isinstance(value, str) for value in values):
        raise RowError(f"{origin}: field {field!r} holds something else than texts; expected a list of texts")
    return list(values)


def _called(tree: ast.Module) -> list[str]:
    """Names of the functions that are called, outermost calls first."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return list(dict.fromkeys(node.func.id for node in calls if isinstance(node.func, ast.Name)))
