"""Reading Python that a model has written without running it: a parser that never raises anything unforeseen.

Only the syntax tree is built here; programs run in `collm.sandbox` alone.
"""

from __future__ import annotations

import ast
import warnings

LONGEST = 30_000  # characters of a completion, about ten times what models are asked for; a longer one counts as empty
AUX = "aux"  # the name of the helper that agent 0 writes; further agents write aux_2, aux_3, ...


class Unparsable(Exception):
    """Text that is no Python; the message says where, in the parser's words."""


def helper_names(agents: int) -> tuple[str, ...]:
    """Names of the helpers of a team, in the order of its agents; the last agent writes none."""
    return tuple(AUX if number == 1 else f"{AUX}_{number}" for number in range(1, agents))


def parse(source: str) -> ast.Module:
    """The syntax tree of `source`. Raises Unparsable, whatever is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks about escapes in the model's strings
            return ast.parse(source)
    except SyntaxError as error:
        place = f"line {error.lineno}, column {error.offset}" if error.lineno else "an unknown place"
        raise Unparsable(f"{place}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # NUL, surrogates, too many digits, too deep
        raise Unparsable(f"the whole text: {type(error).__name__}") from None


def usable(text: str) -> str:
    """`text` with Unix line ends; "" if it is longer than LONGEST."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if len(text) <= LONGEST else ""


def definition(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The last function `name` at the top level."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[-1] if functions else None


def inside(function: ast.AST) -> list[ast.AST]:
    """All nodes of a function but for those of functions and classes inside it."""
    nodes, waiting = [], list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return nodes


def gives_something(function: ast.FunctionDef) -> bool:
    """Whether a function returns a value (or yields any)."""
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom)) or (isinstance(node, ast.Return) and node.value is not None)
        for node in inside(function)
    )


def bound_names(node: ast.AST) -> set[str]:
    """Names that a node itself binds (not its children)."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return set(node.names)
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return {node.name} if node.name else set()
    return {node.rest} if isinstance(node, ast.MatchMapping) and node.rest else set()
