"""From the text of a benchmark's `check(candidate)` function to checks that are run one by one.

The body stays as it is: statements keep their order and their text. A statement that holds an assert is one check (a
loop with asserts is one); the plain statements before it belong to it; asserts without any name in them, which are
true for every program (`assert True, "..."`), run but are not counted.
"""

from __future__ import annotations

import ast

from collm.common.errors import RowError


def split_check(test: str, prompt: str = "") -> tuple[str, tuple[str, ...]]:
    """(setup, checks) of a test text with `def check(candidate):`.

    `setup`: the prompt (whose helper functions some tests use) and everything in the text beside `check`. Raises
    RowError where there is no such function, no check in it, or either text is no Python.
    """
    try:
        ast.parse(prompt)
        return _split(ast.parse(test), prompt)
    except RowError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RowError(f"the test is no Python: {error or type(error).__name__}") from None


def _split(tree: ast.Module, prompt: str) -> tuple[str, tuple[str, ...]]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not functions:
        raise RowError("the test has no function check(candidate)")
    beside = [ast.unparse(node) for node in tree.body if node is not functions[-1] and not _calls_check(node)]
    checks, before = [], []
    for statement in functions[-1].body:
        before.append(ast.unparse(statement))
        if any(isinstance(node, ast.Assert) and _says_something(node) for node in ast.walk(statement)):
            checks.append("\n".join(before))
            before = []
    if not checks:
        raise RowError("the test has no assert about the candidate")
    return "\n".join([prompt, *beside]), tuple(checks)


def _says_something(node: ast.Assert) -> bool:
    return any(isinstance(inner, ast.Name) for inner in ast.walk(node.test))


def _calls_check(node: ast.stmt) -> bool:
    """The final `check(f)` of some sets."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"
