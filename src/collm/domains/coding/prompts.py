"""What the two programmers are asked, and how feedback is put into words. The wording is the project's own.

An agent sees the problem, its own earlier code and what the environment says; nothing of what its partner wrote, not
even through messages of exceptions, which are named by their type alone.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from collm.domains.coding.syntax import AUX, definition, parse

MODES = ("level_feedback", "plain")
WORDINGS = ("full", "brief")
_CODE_ONLY = "Answer with Python code alone: no fences, no prose, no tests."
_AGAIN = "Revise your function. Answer with code alone."


@functools.lru_cache(maxsize=1024)
def parameters(prompt: str, entry_point: str) -> str:
    """The parameter list of the function asked for, as written in Python."""
    function = definition(parse(prompt), entry_point)
    return ast.unparse(function.args) if function is not None else ""


def first(
    role: str, fields: Mapping[str, Any], wording: str = "full", helpers: Sequence[str] = (AUX,)
) -> list[dict[str, str]]:
    """The messages of the first turn for a helper's name, main or single as the role; `wording` is one of WORDINGS."""
    prompt, entry_point = fields["prompt"].strip("\n"), fields["entry_point"]
    if wording == "brief":
        orders = {name: f"the helper {name} for {entry_point}" for name in helpers}
        orders["main"] = f"{entry_point} with the helper{'s' * (len(helpers) > 1)} {_listed(helpers)}"
        return [{"role": "user", "content": f"{prompt}\nWrite {orders.get(role, entry_point)}."}]
    signature = f"def {entry_point}({parameters(fields['prompt'], entry_point)}):"
    if role in helpers:
        others = [name for name in helpers if name != role]
        more = f"Others write {_listed(others)}: do another part of the work. " if others else ""
        system = f"Write the helper function {role} for a partner who solves the problem with it. {more}{_CODE_ONLY}"
        order = f"Return data that the partner can use:\ndef {role}(...):\n    return ..."
    elif role == "main" and len(helpers) > 1:
        calls = _listed([f"{name}(...)" for name in helpers])
        system = f"Solve the problem in one function. Partners write the helpers {calls}. {_CODE_ONLY}"
        order = f"You may call them and keep their values; do not define them. Write only:\n{signature}\n    return ..."
    elif role == "main":
        system = f"Solve the problem in one function. A partner writes the helper {AUX}(...). {_CODE_ONLY}"
        order = f"You may call {AUX} and keep its value; do not define it. Write only:\n{signature}\n    return ..."
    else:
        system = f"Solve the problem in one complete function that handles all cases. {_CODE_ONLY}"
        order = f"Write only:\n{signature}\n    return ..."
    return [{"role": "system", "content": system}, {"role": "user", "content": f"{prompt}\n\n{order}"}]


def follow_up(role: str, feedback: Mapping[str, Any] | None, entry_point: str) -> str:
    """The order for the next turn, after what `feedback` (see `CodingDomain`) has to say."""
    if feedback is None:
        return _AGAIN
    lines = []
    if role != "single":
        lines += [f"{name}: {_state(defined)}" for name, defined in feedback["helpers"].items()]
    lines.append(f"{entry_point}: {_state(feedback['main_defined'])}")
    lines.append(_syntax(feedback))
    lines += _tests(feedback)
    if role == "main" and feedback["main_defined"]:
        lines += _cooperation(feedback)
    return "\n".join([*(line for line in lines if line), _AGAIN])


def _state(defined: bool) -> str:
    return "defined" if defined else "missing, or it returns nothing"


def _syntax(feedback: Mapping[str, Any]) -> str:
    if feedback["problem"]:
        return f"syntax of yours: {feedback['problem']}"
    return "syntax: right" if feedback["parses"] else "syntax: the two parts together are no valid program"


def _tests(feedback: Mapping[str, Any]) -> list[str]:
    if not feedback["checks"]:
        return []
    passed = sum(error is None for _, error in feedback["checks"])
    failed = [f"failed ({error}): {check}" for check, error in feedback["checks"] if error is not None]
    loading = [] if feedback["loaded"] or not feedback["load_error"] else [f"loading failed: {feedback['load_error']}"]
    return [*loading, f"tests: {passed}/{len(feedback['checks'])} passed", *failed]


def _cooperation(feedback: Mapping[str, Any]) -> list[str]:
    names = list(feedback["helpers"])
    missing = [name for name in names if name not in feedback["calls"]]
    if missing:
        return [f"you do not call {_listed(missing)}"]
    if feedback["misuse"]:
        return [f"{name} is misused: {'; '.join(reasons)}" for name, reasons in feedback["misuse"].items()]
    if feedback["wrapper"]:
        return [f"you only hand on the value of {_listed(names)}: do part of the work"]
    return [f"you call {_listed(names)}"]


def _listed(names: Sequence[str]) -> str:
    """Names as people list them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
