"""Coding rewards by the paper's words, on the syntax tree (the project's reading of appendix F.2).

A completion is taken as a module: imports, functions with what is nested in them, classes and assignments at its top
level are kept, prose and code fences around them and statements that only do something (print, tests) are not.
Tests are the asserts of the unmodified `check` body, one by one, each run once.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from collm.domains.coding.helper_use import calls_aux, ignored_calls, is_wrapper, reachable
from collm.domains.coding.reading import Helper, Reading
from collm.domains.coding.syntax import Unparsable, bound_names, definition, gives_something, helper_names, parse
from collm.sandbox import split_check

CHECK_SECONDS = 8.0
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_FENCE = re.compile(r"```\w*")
_START = re.compile(r"(?:def|class|async\s+def)\s|@|(?:import|from)\s|[A-Za-z_]\w*\s*(?::[^=\n]+)?=(?!=)")
_CODE = re.compile(r"(?:def|class|async\s+def)\s|@")
_CLOSING = ")]}\"'#"
_RETURNS = re.compile(r"\breturn[ \t]+\S|\byield\b")


@dataclass(frozen=True)
class Part:
    """One completion: its kept statements as tree and text, its function, and what does not parse."""

    defined: bool
    gives: bool
    source: str
    tree: ast.Module
    function: ast.FunctionDef | None
    problem: str | None


def read(helper_texts: Sequence[str], main_text: str, prompt: str, entry_point: str) -> Reading:
    """Completions as one program; one agent alone, without helpers, may write some of any name itself."""
    *helpers, main = read_parts(helper_texts, main_text, entry_point)
    names = helper_names(1 + len(helpers))
    pieces = [context(prompt, entry_point), *(one.source for one in (*helpers, main))]
    functions = reachable(main.tree, main.function) if main.function else []
    return Reading(
        helpers=tuple(
            Helper(
                defined=one.defined and one.gives,
                used=one.function is not None and calls_aux(functions, name),
                ignored=bool(ignored_calls(functions, name)),
            )
            for one, name in zip(helpers, names, strict=True)
        ),
        main_defined=main.defined and main.gives,
        problem=next((one.problem for one in (*helpers, main) if one.problem), None),
        source=hoisted("\n\n".join(piece for piece in pieces if piece)),
        hands_on=main.function is not None and is_wrapper(main.function, names),
    )


def read_parts(helper_texts: Sequence[str], main_text: str, entry_point: str) -> list[Part]:
    """The completions one by one, the main function's last; nobody defines what another one was asked for."""
    names = (*helper_names(1 + len(helper_texts)), entry_point)
    return [
        part(text, name, *(other for other in names if other != name))
        for text, name in zip((*helper_texts, main_text), names, strict=True)
    ]


def checks(test: str, prompt: str, entry_point: str) -> tuple[str, tuple[str, ...]]:
    """(setup, checks) for the sandbox. Raises RowError where the text has no checks."""
    return split_check(test, prompt)


@functools.lru_cache(maxsize=1024)
def context(prompt: str, entry_point: str) -> str:
    """What a prompt defines beside the function asked for: imports and helper functions."""
    body = parse(prompt).body
    return _source(prompt, [node for node in body if isinstance(node, KEPT) and entry_point not in _bound(node)])


@functools.lru_cache(maxsize=64)
def part(text: str, name: str, *foreign: str) -> Part:
    """One completion that is asked for the function `name`; what it binds under a partner's name is dropped."""
    fenced = "\n\n".join(_FENCED.findall(text))
    candidates = [fenced, _FENCE.sub("", text)] if fenced.strip() else [_FENCE.sub("", text)]
    parts = [_part(candidate, name, foreign) for candidate in candidates]
    return next((one for one in parts if one.function), next((one for one in parts if one.defined), parts[0]))


def _part(code: str, name: str, foreign: Collection[str]) -> Part:
    code, problem = salvage(code)
    tree = parse(code)
    tree.body = [node for node in tree.body if isinstance(node, KEPT) and _bound(node).isdisjoint(foreign)]
    function = definition(tree, name)
    unparsed = problem.text if problem is not None and function is None else ""
    broken = _broken_definition(unparsed, name)
    return Part(
        defined=function is not None or broken,
        gives=gives_something(function) if function else broken and bool(_RETURNS.search(unparsed)),
        source=_source(code, tree.body),
        tree=tree,
        function=function,
        problem=None if problem is None else problem.message,
    )


@dataclass(frozen=True)
class Broken:
    """A function or class that does not parse."""

    text: str
    message: str


def salvage(text: str) -> tuple[str, Broken | None]:
    """The parts of a text that are Python, and the first function or class in it that is not.

    A text that parses as a whole is left as it is. Otherwise it is cut where a line begins a statement at the left
    margin; a piece that does not parse loses what follows its first other line at the margin (prose, most often).
    """
    try:
        parse(text)
        return text, None
    except Unparsable:
        good, broken = [], None
    for piece in _pieces(text):
        message = None
        for attempt in (piece, _until_margin(piece)):
            try:
                parse("\n".join(attempt))
                good.append("\n".join(attempt))
                break
            except Unparsable as error:
                message = message or str(error)
        else:
            if broken is None and _CODE.match(piece[0]):
                broken = Broken("\n".join(piece), message or "")
    return "\n\n".join(good), broken


def hoisted(source: str) -> str:
    """`source` with `from __future__` lines first, where the language wants them."""
    lines = source.split("\n")
    first = [line for line in lines if line.startswith("from __future__ import ")]
    return "\n".join([*first, *(line for line in lines if line not in first)]) if first else source


def _pieces(text: str) -> list[list[str]]:
    pieces: list[list[str]] = []
    decorated = False
    for line in text.split("\n"):
        if _START.match(line) and not decorated:
            pieces.append([line])
        elif pieces:
            pieces[-1].append(line)
        decorated = line.startswith("@")
    return pieces


def _until_margin(piece: list[str]) -> list[str]:
    body = next((place for place, line in enumerate(piece) if not line.startswith("@")), 0)
    for place, line in enumerate(piece):
        if place > body and line.strip() and not line[0].isspace() and line[0] not in _CLOSING:
            return piece[:place]
    return piece


def _broken_definition(text: str, name: str) -> bool:
    return re.search(rf"^def\s+{re.escape(name)}\s*\(", text, re.MULTILINE) is not None


def _source(code: str, statements: list[ast.stmt]) -> str:
    lines = code.split("\n")
    return "\n".join(_text(lines, node) for node in statements)


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {name for target in targets for inner in ast.walk(target) for name in bound_names(inner)}
    return bound_names(node)


def _text(lines: list[str], node: ast.stmt) -> str:
    """The source of one top-level statement; columns count bytes."""
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        return "\n".join(lines[min(one.lineno for one in decorators) - 1 : node.end_lineno])
    taken = [line.encode("utf-8") for line in lines[node.lineno - 1 : node.end_lineno]]
    taken[-1] = taken[-1][: node.end_col_offset]
    taken[0] = taken[0][node.col_offset :]
    return b"\n".join(taken).decode("utf-8")
