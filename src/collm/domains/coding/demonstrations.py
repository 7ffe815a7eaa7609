"""Reference answers of the coding domains: a cooperative pair from any solution, and ways to spoil it.

Where a source has only a solution in one piece, an expression of it becomes the helper: the largest one whose
variables can be handed over. What is left calls the helper in its place, so values and their order stay the same.
"""

from __future__ import annotations

import ast
import copy
import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from collm.domains.coding.reward_paper import context
from collm.domains.coding.syntax import AUX, bound_names, definition, parse

Pair = tuple[str, str]
_BINDING = (ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Await)
_FRAGMENTS = (ast.Starred, ast.Slice, ast.FormattedValue)
_FORMS = ("colon", "return", "prose", "name", "value")
# What may stand in place of a piece of code, by accident. Longer pieces come first.
_SLIPS = {
    "**": ("*",),
    "//": ("*", "%", "+"),
    "+": ("-", "*"),
    "-": ("+",),
    "*": ("+", "//"),
    "%": ("//", "-"),
    "<": (">",),
    ">": ("<",),
    "min(": ("max(", "sum("),
    "max(": ("min(", "sum("),
    "sum(": ("len(", "max("),
    "len(": ("sum(",),
    "sorted(": ("list(",),
    ".upper(": (".lower(",),
    ".lower(": (".upper(",),
    ".capitalize(": (".upper(", ".lower("),
    ".swapcase(": (".upper(", ".lower("),
}
_PIECE = re.compile(rf"{'|'.join(map(re.escape, _SLIPS))}|\b[1-9]\b")
_CALL = re.compile(rf"\b{AUX}\((?P<argument>\w+)\)")


def solutions(fields: Mapping[str, Any], alone: bool = False) -> Pair | None:
    """(aux, main) that solve a task together, or ("", main) for one agent; None where the task has no solution."""
    if alone and fields["solution"]:
        return "", _alone(fields["solution"], fields["prompt"], fields["entry_point"])
    given = fields["reference"]
    if given is not None:
        return ("", f"{given['aux']}\n\n{given['main']}") if alone else (given["aux"], given["main"])
    return divided(fields["solution"], fields["prompt"], fields["entry_point"]) if fields["solution"] else None


@functools.lru_cache(maxsize=1024)
def divided(solution: str, prompt: str, entry_point: str) -> Pair:
    """A solution in one piece as helper and main function; the helper is the whole of it if nothing else can be."""
    tree = parse(solution)
    function = _bare(tree, entry_point)
    places = [place for place in _places(function) if _movable(function, *place)]
    if not places:
        return _forwarded(tree, function, prompt)
    parent, expression = max(places, key=lambda place: sum(1 for _ in ast.walk(place[1])))
    names = _inputs(function, expression)
    helper = _function(AUX, names, [ast.Return(expression)])
    call = ast.Call(ast.Name(AUX, ast.Load()), [ast.Name(name, ast.Load()) for name in names], [])
    _replace(parent, expression, call)
    return ast.unparse(helper), _module(tree, function, prompt)


def scripted(pair: Pair, entry_point: str, rng: random.Random, noise: float, faults: str = "form") -> list[str]:
    """Both texts, each spoiled in one way with chance `noise`; `faults` is a key of FAULTS."""
    spoil = FAULTS[faults]
    return [
        spoil(text, name, rng) if text and rng.random() < noise else text
        for text, name in zip(pair, (AUX, entry_point), strict=True)
    ]


def spoiled(text: str, name: str, rng: random.Random) -> str:
    """A text with one fault: no colon, nothing returned, prose around it, another name, or a wrong value."""
    fault = rng.choice(_FORMS)
    if fault == "colon":
        return re.sub(rf"(?m)^(def {re.escape(name)}\(.*):\s*$", r"\1", text)
    if fault == "return":
        return re.sub(r"\breturn\b", "value =", text)
    if fault == "prose":
        return f"Here is the function.\n{text}\nIt returns what is needed."
    if fault == "name":
        return text.replace(f"def {name}(", "def helper(")
    return _nothing(text)


def slipped(text: str, name: str, rng: random.Random) -> str:
    """A text of the same form with one wrong operation: another operator, method or number, or no helper.

    One place of the body is drawn; a text without any returns None instead of its value.
    """
    defined = re.search(rf"(?m)^def {re.escape(name)}\(.*$", text)
    start = defined.end() if defined else 0
    head, body = text[:start], text[start:]
    places = [*_PIECE.finditer(body), *_CALL.finditer(body)]
    if not places:
        return _nothing(text)
    place = rng.choice(places)
    return f"{head}{body[: place.start()]}{_other(place, rng)}{body[place.end() :]}"


def _other(place: re.Match[str], rng: random.Random) -> str:
    """What stands in the drawn place instead."""
    if place.re is _CALL:
        return place["argument"]
    piece = place[0]
    if piece.isdigit():
        return rng.choice([digit for digit in "123456789" if digit != piece])
    return rng.choice(_SLIPS[piece])


def _nothing(text: str) -> str:
    return re.sub(r"(?m)^(\s*)return\b.*\Z", r"\1return None", text)


FAULTS: dict[str, Callable[[str, str, random.Random], str]] = {"form": spoiled, "operation": slipped}


def _alone(solution: str, prompt: str, entry_point: str) -> str:
    tree = parse(solution)
    return _module(tree, _bare(tree, entry_point), prompt)


def _bare(tree: ast.Module, name: str) -> ast.FunctionDef:
    """A copy of the function `name`, which every checked solution defines, without its docstring."""
    function = copy.deepcopy(definition(tree, name))
    if function is None:
        raise ValueError(f"the solution does not define {name!r}")
    if ast.get_docstring(function, clean=False) is not None:
        function.body = function.body[1:] or [ast.Pass()]
    return function


def _module(tree: ast.Module, function: ast.FunctionDef, prompt: str) -> str:
    """`function` with what the solution defines beside it, unless the prompt has it already."""
    given = {ast.dump(node) for node in parse(context(prompt, function.name)).body}
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    beside = [
        node
        for node in tree.body
        if isinstance(node, kinds) and function.name not in bound_names(node) and ast.dump(node) not in given
    ]
    return "\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in [*beside, function])


def _places(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.expr]]:
    """(node, expression that is its child) at the function's own level; in a single return, parts of its value."""
    for statement in function.body:
        for field in ("value", "iter", "test"):
            value = getattr(statement, field, None)
            if not isinstance(value, ast.expr) or isinstance(statement, (ast.While, ast.Expr, ast.AnnAssign)):
                continue
            if len(function.body) > 1:
                yield statement, value
                continue
            for parent in ast.walk(value):
                for child in ast.iter_child_nodes(parent):
                    if isinstance(child, ast.expr):
                        yield parent, child


def _movable(function: ast.FunctionDef, parent: ast.AST, expression: ast.expr) -> bool:
    if isinstance(expression, (ast.Name, ast.Constant, *_FRAGMENTS)) or isinstance(parent, ast.FormattedValue):
        return False
    if isinstance(parent, ast.Call) and expression is parent.func:
        return False
    if not isinstance(getattr(expression, "ctx", ast.Load()), ast.Load):
        return False
    if any(isinstance(node, _BINDING) for node in ast.walk(expression)):
        return False
    enclosing = {name for node in ast.walk(function) if isinstance(node, _SCOPES) for name in _scope_names(node)}
    bound_inside = {name for node in ast.walk(expression) if isinstance(node, _SCOPES) for name in _scope_names(node)}
    return bool(_inputs(function, expression)) and not (_reads(expression) - bound_inside) & (enclosing - bound_inside)


_SCOPES = (ast.comprehension, ast.Lambda)


def _scope_names(node: ast.comprehension | ast.Lambda) -> set[str]:
    """Names that a comprehension or lambda binds."""
    target: ast.AST = node.target if isinstance(node, ast.comprehension) else node.args
    return {name for inner in ast.walk(target) for name in bound_names(inner)}


def _reads(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _inputs(function: ast.FunctionDef, expression: ast.expr) -> list[str]:
    """The function's own variables that an expression reads, in the order of their names' first appearance."""
    bound_inside = {name for node in ast.walk(expression) if isinstance(node, _SCOPES) for name in _scope_names(node)}
    variables = {name for node in ast.walk(function) for name in bound_names(node)} - {function.name}
    read = [one.id for one in ast.walk(expression) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)]
    return [name for name in dict.fromkeys(read) if name in variables and name not in bound_inside]


def _replace(parent: ast.AST, old: ast.expr, new: ast.expr) -> None:
    for field, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, field, new)
        elif isinstance(value, list) and any(item is old for item in value):
            setattr(parent, field, [new if item is old else item for item in value])


def _function(name: str, names: list[str], body: list[ast.stmt]) -> ast.FunctionDef:
    arguments = ast.arguments([], [ast.arg(one) for one in names], None, [], [], None, [])
    return ast.fix_missing_locations(ast.FunctionDef(name, arguments, body, [], lineno=1))


def _forwarded(tree: ast.Module, function: ast.FunctionDef, prompt: str) -> Pair:
    """The whole solution as helper, and a main function that hands its value on."""
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    helper = _function(AUX, names, function.body)
    call = ast.Call(ast.Name(AUX, ast.Load()), [ast.Name(one, ast.Load()) for one in names], [])
    function.body = [ast.Return(call)]
    return ast.unparse(helper), _module(tree, function, prompt)
