"""Problems that a person asks of a trained team: Python that ends in the function wanted, and asserts below it."""

from __future__ import annotations

import ast
import re
from typing import Any

from collm.common.errors import RowError
from collm.domains.coding.syntax import Unparsable, parse

MANNER = (
    "Python that ends in the function wanted, as in 'def double(x):' and, indented below it, a docstring that says "
    "what it does; lines like 'assert double(2) == 4' below that are its tests"
)
UNTESTED = "the question brings no tests: add lines like 'assert f(2) == 4' below it"


def problem(text: str) -> tuple[dict[str, Any], bool]:
    """A row {"prompt", "test", "entry_point"} of what a person asks, and whether it has tests.

    The function wanted is the last one of the text. Without tests the row has one that holds for any function.

    Raises:
        RowError: there is no function in it, or it is no Python.
    """
    lines = text.strip("\n").splitlines()
    asserts = [line for line in lines if line.startswith("assert ")]
    prompt = "\n".join(line for line in lines if not line.startswith("assert ")).rstrip() + "\n"
    if prompt.rstrip().endswith(":"):
        prompt += "    ...\n"
    try:
        functions = [node for node in parse(prompt).body if isinstance(node, ast.FunctionDef)]
    except Unparsable as error:
        raise RowError(f"the question is no Python ({error}); ask by {MANNER}") from None
    if not functions:
        raise RowError(f"the question defines no function; ask by {MANNER}")
    name = functions[-1].name
    body = [re.sub(rf"\b{name}\b", "candidate", line) for line in asserts] or ["assert candidate is not None"]
    test = "\n".join(["def check(candidate):", *(f"    {line}" for line in body)]) + "\n"
    return {"prompt": prompt, "test": test, "entry_point": name}, bool(asserts)
