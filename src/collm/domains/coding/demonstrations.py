"""Reference answers of the coding domains: a cooperative team from any solution, and ways to spoil it.

Where a source has only a solution in one piece, an expression of it becomes the helper: the largest one whose
variables can be handed over. What is left calls the helper in its place, so values and their order stay the same.
Further helpers get expressions of what is left, to which the values of helpers before them are handed; where nothing is
left to do, a helper hands its argument on.
"""

from __future__ import annotations

import ast
import copy
import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from collm.domains.coding.reward_paper import context
from collm.domains.coding.syntax import AUX, bound_names, definition, helper_names, inside, parse

Pair = tuple[str, str]
HANDED = "part"  # a further helper's name for the value of one before it, with a number
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
_CALL = re.compile(rf"\b{AUX}(?:_\d+)?\((?P<argument>\w+)\)")


def solutions(fields: Mapping[str, Any], agents: int = 2) -> tuple[str, ...] | None:
    """A text per agent that solve a task together, that of main last; None where the task has no solution."""
    entry_point, given = fields["entry_point"], fields["reference"]
    if agents == 1 and fields["solution"]:
        return (_alone(fields["solution"], fields["prompt"], entry_point),)
    if given is not None:
        pair = given["aux"], given["main"]
    elif fields["solution"]:
        pair = divided(fields["solution"], fields["prompt"], entry_point)
    else:
        return None
    return shared_out(pair, entry_point, agents) if agents > 1 else ("\n\n".join(pair),)


@functools.lru_cache(maxsize=1024)
def shared_out(pair: Pair, entry_point: str, agents: int) -> tuple[str, ...] | None:
    """(aux, main) as texts of a larger team, that of main last; None where main returns nothing that can be shared."""
    names = helper_names(agents)
    helpers, main = [pair[0]], pair[1]
    for place, name in enumerate(names[1:], start=1):
        handed = _handed(main, entry_point, name, names[:place])
        if handed is None:
            return None
        helper, main = handed
        helpers.append(helper)
    return (*helpers, main)


def _handed(main: str, entry_point: str, name: str, before: Sequence[str]) -> Pair | None:
    """A further helper and what is left of the main function: its largest expression that may be moved, or nothing."""
    tree = parse(main)
    function = definition(tree, entry_point)
    if function is None:
        return None
    places = [place for place in _wholes_and_parts(function) if _movable(function, *place)]
    places = [(parent, expression) for parent, expression in places if _calls(expression, before) is not None]
    if not places:
        returns = [node for node in inside(function) if isinstance(node, ast.Return) and node.value is not None]
        if not returns:
            return None
        last = max(returns, key=lambda node: node.lineno)
        last.value = ast.Call(ast.Name(name, ast.Load()), [last.value or ast.Constant(None)], [])
        return f"def {name}(value):\n    return value", ast.unparse(ast.fix_missing_locations(tree))
    parent, expression = max(places, key=lambda place: sum(1 for _ in ast.walk(place[1])))
    calls = _calls(expression, before) or []
    _replace(parent, expression, marked := ast.Call(ast.Name(name, ast.Load()), [], []))
    holder = ast.Return(expression)
    for number, call in enumerate(calls, start=1):
        parents = [node for node in ast.walk(holder) if any(child is call for child in ast.iter_child_nodes(node))]
        _replace(parents[0], call, ast.Name(f"{HANDED}{number}", ast.Load()))
    variables = _inputs(function, holder)
    marked.args = [ast.Name(one, ast.Load()) for one in variables] + list(calls)
    parameters = variables + [f"{HANDED}{number}" for number in range(1, len(calls) + 1)]
    return ast.unparse(_function(name, parameters, [holder])), ast.unparse(ast.fix_missing_locations(tree))


def _wholes_and_parts(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.expr]]:
    """What `_places` gives, and the whole value of a single return too."""
    yield from _places(function)
    if len(function.body) == 1 and isinstance(function.body[0], ast.Return) and function.body[0].value is not None:
        yield function.body[0], function.body[0].value


def _calls(expression: ast.expr, helpers: Sequence[str]) -> list[ast.expr] | None:
    """The calls of helpers in an expression, to be made before it; None where one cannot be, or it is one itself."""

    def is_call(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in helpers

    if is_call(expression):
        return None
    found: list[ast.expr] = []
    waiting: list[ast.AST] = [expression]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr) and is_call(node):
            found.append(node)
        elif not isinstance(node, (ast.IfExp, ast.BoolOp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)):
            waiting += list(ast.iter_child_nodes(node))
    within = {id(node) for call in found for node in ast.walk(call)}
    named = (node for node in ast.walk(expression) if isinstance(node, ast.Name) and node.id in helpers)
    return found if all(id(node) in within for node in named) else None


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


def scripted(
    texts: Sequence[str], entry_point: str, rng: random.Random, noise: float, faults: str = "form"
) -> list[str]:
    """The texts of a team, each spoiled in one way with chance `noise`; `faults` is a key of FAULTS."""
    spoil = FAULTS[faults]
    return [
        spoil(text, name, rng) if text and rng.random() < noise else text
        for text, name in zip(texts, (*helper_names(len(texts)), entry_point), strict=True)
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


def _inputs(function: ast.FunctionDef, expression: ast.AST) -> list[str]:
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
