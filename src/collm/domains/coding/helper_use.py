"""How the main function uses the helpers, read off the syntax tree: is it called, forwarded, ignored.

Profile `paper` pays by these answers; feedback uses them in both profiles. `functions` is always the main function
first and then what it reaches in the same completion.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from collm.domains.coding.syntax import AUX, bound_names

Block = list[ast.stmt]


def reachable(tree: ast.Module, entry: ast.FunctionDef) -> list[ast.AST]:
    """`entry` and the top-level functions and classes of `tree` that it names, directly or through others."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    known = {node.name: node for node in tree.body if isinstance(node, kinds)}
    reached: list[ast.AST] = [entry]
    seen = {entry.name}
    for function in reached:
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in known and node.id not in seen:
                seen.add(node.id)
                reached.append(known[node.id])
    return reached


def calls_aux(functions: Sequence[ast.AST], helper: str = AUX) -> bool:
    """Whether a partner's helper is called, or handed to a call as in map(aux, items).

    A completion that binds the name itself (parameter, variable, inner function) does not reach the partner's.
    """
    nodes = [node for function in functions for node in ast.walk(function)]
    if any(helper in bound_names(node) for node in nodes):
        return False
    for node in nodes:
        if isinstance(node, ast.Call):
            passed = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(_named(value, (helper,)) for value in (node.func, *passed)):
                return True
    return False


def is_wrapper(function: ast.FunctionDef, helpers: Sequence[str] = (AUX,)) -> bool:
    """Whether a function only hands on what helpers return, whatever constants it sets on the way.

    Empty bodies count, as do `v = aux(...)`, copies of v, and `return v if True else None`.
    """
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    body = [statement for statement in function.body if not _says_nothing(statement, read)]
    if not body:
        return True
    copies: set[str] = set()
    for statement in body[:-1]:
        target, value = _assignment(statement)
        if target is None or not _hands_on(value, copies, helpers):
            return False
        copies.add(target)
    return isinstance(body[-1], ast.Return) and _hands_on(body[-1].value, copies, helpers)


def ignored_calls(functions: Sequence[ast.AST], helper: str = AUX) -> list[str]:
    """For each call of a helper whose value is lost, how: dropped, never read, or overwritten."""
    losses = []
    for function in functions:
        read = _read_names(function)
        for block in _blocks(function):
            for place, statement in enumerate(block):
                if isinstance(statement, ast.Expr) and _is_call(statement.value, (helper,)):
                    losses.append(f"the value of {helper}(...) is not kept")
                names = _stored_call(statement, (helper,))
                if names and not read & names:
                    losses.append(f"{', '.join(sorted(names))} holds the value of {helper}(...) and is never read")
                elif names and any(_overwritten(name, block[place + 1 :]) for name in names):
                    losses.append(
                        f"{', '.join(sorted(names))} is overwritten before the value of {helper}(...) is read"
                    )
    return losses


def _named(node: ast.AST | None, helpers: Sequence[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in helpers


def _is_call(node: ast.AST | None, helpers: Sequence[str]) -> bool:
    return isinstance(node, ast.Call) and _named(node.func, helpers)


def _says_nothing(statement: ast.stmt, read: set[str]) -> bool:
    """A docstring, `pass`, or a constant stored in a name that nobody reads."""
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    target, value = _assignment(statement)
    return target is not None and target not in read and isinstance(value, ast.Constant)


def _assignment(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """Name and value of `name = value`; (None, None) for anything else."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return None, None
    value = statement.value
    return (target.id, value) if isinstance(target, ast.Name) and value is not None else (None, None)


def _hands_on(value: ast.AST | None, copies: set[str], helpers: Sequence[str]) -> bool:
    while isinstance(value, ast.IfExp) and isinstance(value.test, ast.Constant):
        value = value.body if value.test.value else value.orelse
    return _is_call(value, helpers) or (isinstance(value, ast.Name) and value.id in copies)


def _read_names(function: ast.AST) -> set[str]:
    """Names that are read; those given to the outside (global, nonlocal) and `v += 1` count."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names.update(node.names)
    return names


def _blocks(function: ast.AST) -> Iterator[Block]:
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block


def _stored_call(statement: ast.stmt, helpers: Sequence[str]) -> set[str]:
    """The names that receive the value of a call of a helper and nothing else does; else empty."""
    if isinstance(statement, ast.Assign) and _is_call(statement.value, helpers):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and _is_call(statement.value, helpers):
        targets = [statement.target]
    else:
        return set()
    nodes = [node for target in targets for node in ast.walk(target)]
    if any(isinstance(node, (ast.Attribute, ast.Subscript)) for node in nodes):
        return set()
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _overwritten(name: str, following: Sequence[ast.stmt]) -> bool:
    """Whether the statements after it, in a straight line, store `name` anew before they read it."""
    for statement in following:
        if name in _read_names(statement):
            return False
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if statement.value is not None and any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return True
        if any(name in bound_names(node) for node in ast.walk(statement)):
            return False
    return False
