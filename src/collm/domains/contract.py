"""What every domain owes, checked: of a class when it is entered, of an instance when a job is resolved, and of the
first steps of a run. The messages name class and field."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any

from collm.common.errors import ContractError
from collm.domains.base import Domain, Metric, Step
from collm.domains.options import Option

TOLERANCE = 1e-6  # of parts and reward, relative where they are above 1


def title(kind: type[Domain]) -> str:
    """How messages call a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def check_class(kind: type[Domain]) -> None:
    """Refuse a class that is no whole domain.

    Raises:
        ContractError: names the class and what it lacks.
    """
    where = title(kind)
    if inspect.isabstract(kind):
        raise ContractError(f"{where} lacks {', '.join(sorted(kind.__abstractmethods__))}; write these methods")
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
        raise ContractError(
            f"{where}.name is {name!r}; it names folders and keys: write small letters, digits and underscores"
        )
    for field in ("title", "licence"):
        text = getattr(kind, field, None)
        if not isinstance(text, str) or not text.strip():
            raise ContractError(f"{where}.{field} is {text!r}; write a text")
    metrics = getattr(kind, "metrics", None)
    if not isinstance(metrics, tuple) or not metrics or not all(isinstance(metric, Metric) for metric in metrics):
        raise ContractError(f"{where}.metrics is {metrics!r}; write a tuple of Metric, that of the overview first")
    if not all(isinstance(option, Option) for option in kind.declared_options):
        raise ContractError(f"{where}.declared_options is {kind.declared_options!r}; write a tuple of Option")
    sizes = kind.team_sizes
    if sizes is not None and not (isinstance(sizes, tuple) and sizes and all(type(n) is int and n > 0 for n in sizes)):
        raise ContractError(f"{where}.team_sizes is {sizes!r}; write a tuple of numbers like (1, 3), or None for any")


def check_instance(domain: Domain) -> None:
    """Refuse a domain that does not fit its own team, or whose rewards have no bounds.

    Raises:
        ContractError: names class, field and value.
    """
    where, roles = title(type(domain)), getattr(domain, "roles", None)
    if not isinstance(roles, tuple) or len(roles) != domain.num_agents or len(set(roles)) != len(roles):
        raise ContractError(f"{where}.roles is {roles!r} for {domain.num_agents} agents; give each one name of its own")
    least, most = (getattr(domain, field, None) for field in ("min_reward", "max_reward"))
    if least is None or most is None or not (_finite(least) and _finite(most) and least <= most):
        raise ContractError(f"{where}.min_reward and max_reward are {least!r} and {most!r}; write two numbers")


def check_step(domain: Domain, step: Step) -> None:
    """Refuse what a domain returned for one joint action if a run could not use it.

    Raises:
        ContractError: names the class, the field of `Step`, what it is and what it has to be.
    """
    fault = next(step_faults(domain, step), None)
    if fault is not None:
        raise ContractError(f"{title(type(domain))}.step: {fault}")


def step_faults(domain: Domain, step: Any) -> Iterator[str]:
    """All that is wrong with a step, one line each."""
    if not isinstance(step, Step):
        yield f"it returned {type(step).__name__}; return a Step"
        return
    yield from _number_faults(step)
    known = [metric.name for metric in domain.metrics if metric.draws == 1]
    unknown = [name for name in step.metrics if name not in known]
    if unknown:
        yield f"metrics holds {unknown[0]!r}, which the class does not declare; declared are {', '.join(known)}"
    if known and known[0] not in step.metrics:
        yield f"metrics lacks {known[0]!r}, the first one that the class declares"
    if not isinstance(step.feedback, tuple) or len(step.feedback) != domain.num_agents:
        count = len(step.feedback) if isinstance(step.feedback, (tuple, list)) else 0
        yield (
            f"feedback is a {type(step.feedback).__name__} of {count} for {domain.num_agents} agents; return a tuple "
            "with one entry per agent (None: nothing is said)"
        )
    if not isinstance(step.done, bool):
        yield f"done is {step.done!r}; return True or False"
    for field in ("feedback", "world", "record"):
        fault = json_fault(getattr(step, field))
        if fault:
            yield f"{field} is no JSON ({fault}); use texts, finite numbers, lists and dicts with texts as keys"


def json_fault(value: Any) -> str | None:
    """Why a value would not come back from a JSON file as it is; tuples may come back as lists. None: it would."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        return str(error)
    return None if json.loads(text) == _lists(value) else "it comes back changed"


def _number_faults(step: Step) -> Iterator[str]:
    fields = {"parts": step.parts, "metrics": step.metrics}
    for field, entries in fields.items():
        if not isinstance(entries, dict):
            yield f"{field} is a {type(entries).__name__}; return a dict of numbers by name"
            return
        for name, value in entries.items():
            if not _finite(value):
                yield f"{field}[{name!r}] is {value!r}; return a finite number"
                return
    if not _finite(step.reward):
        yield f"reward is {step.reward!r}; return a finite number"
        return
    total = math.fsum(step.parts.values())
    if abs(total - step.reward) > TOLERANCE * max(1.0, abs(total)):
        yield f"parts sum to {total:g} and reward is {step.reward:g}; return parts that sum to the reward"


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(entry) for key, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, (list, tuple)) else value
