"""What every domain owes, checked: of a class when it is entered, of an instance when a job is resolved, and of the
first steps of a run. The messages name class and field."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from collm.common.errors import ContractError
from collm.domains.base import Domain, Metric, Step
from collm.domains.options import COMMON, Option

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
    reserved = [option.name for option in kind.declared_options if getattr(option, "name", None) in COMMON]
    if reserved:
        raise ContractError(
            f"{where}.declared_options has {reserved[0]!r}, an option of every domain (docs/new_domain.md); give it "
            "another name"
        )
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
    if least is None or most is None or not (is_finite(least) and is_finite(most) and least <= most):
        raise ContractError(f"{where}.min_reward and max_reward are {least!r} and {most!r}; write two numbers")
    _check_parts(domain, where)


def _check_parts(domain: Domain, where: str) -> None:
    """Parts that are declared have ranges, and the bounds of the reward lie in those of their sum."""
    if not isinstance(domain.parts, Mapping):
        raise ContractError(f"{where}.parts is {domain.parts!r}; write a dict like {{NAME: (LEAST, GREATEST)}}")
    for name, pair in domain.parts.items():
        good = isinstance(pair, tuple) and len(pair) == 2 and all(map(is_finite, pair)) and pair[0] <= pair[1]
        if not good:
            raise ContractError(f"{where}.parts[{name!r}] is {pair!r}; write the least and the greatest value")
    if domain.parts:
        least, most = (math.fsum(pair[end] for pair in domain.parts.values()) for end in (0, 1))
        if domain.min_reward < least - TOLERANCE or domain.max_reward > most + TOLERANCE:
            raise ContractError(
                f"{where}.parts sum to {least:g} at least and {most:g} at most; min_reward and max_reward are "
                f"{domain.min_reward:g} and {domain.max_reward:g}: mend one of them"
            )


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
    yield from _part_faults(domain, step)
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
            if not is_finite(value):
                yield f"{field}[{name!r}] is {value!r}; return a finite number"
                return
    if not is_finite(step.reward):
        yield f"reward is {step.reward!r}; return a finite number"
        return
    total = math.fsum(step.parts.values())
    if abs(total - step.reward) > TOLERANCE * max(1.0, abs(total)):
        yield f"parts sum to {total:g} and reward is {step.reward:g}; return parts that sum to the reward"


def _part_faults(domain: Domain, step: Step) -> Iterator[str]:
    """Parts that the class declares, but not as they are."""
    if not domain.parts or not isinstance(step.parts, dict):
        return
    odd = sorted(str(name) for name in set(step.parts) ^ set(domain.parts))
    if odd:
        yield f"parts and those that the class declares differ in {odd[0]!r}; declared are {', '.join(domain.parts)}"
        return
    for name, (low, high) in domain.parts.items():
        value = step.parts[name]
        slack = TOLERANCE * max(1.0, abs(low), abs(high))
        if is_finite(value) and not low - slack <= value <= high + slack:
            yield f"parts[{name!r}] is {value:g}; declared is {low:g} to {high:g}"


def is_finite(value: Any) -> bool:
    """Whether a value is a number, neither NaN nor infinite."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(entry) for key, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, (list, tuple)) else value
