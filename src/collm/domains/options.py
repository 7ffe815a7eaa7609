"""Options of a domain, each declared once: name, default (which fixes the type), range or choices, and what it is for.

A domain class lists its own in `declared_options`; the configuration makes its schema and its defaults of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collm.common.errors import ConfigError, suggestion

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}

COMMON: dict[str, Any] = {"weights": {}, "reward": None, "reward_mode": "add"}
"""Defaults of the options that every domain has beside its own; `collm.domains.reward` says what they do."""


@dataclass(frozen=True)
class Option:
    """One key of `domain.<name>.options`.

    Attributes:
        default: its type is the option's type; bool, int, float, text or a list of integers.
        description: one line for people.
        choices: allowed texts; none: any.
        minimum, maximum: least and greatest number, or entry of a list.
        length: entries of a list; None: at least one.
    """

    name: str
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    length: int | None = None

    def json_schema(self) -> dict[str, Any]:
        """The option as JSON Schema."""
        limits = {"minimum": self.minimum, "maximum": self.maximum}
        limits = {key: limit for key, limit in limits.items() if limit is not None}
        schema: dict[str, Any] = {"type": _TYPES[type(self.default)]}
        if isinstance(self.default, list):
            schema["minItems"] = self.length or 1
            if self.length:
                schema["maxItems"] = self.length
            schema["items"] = {"type": "integer", **limits}
        else:
            schema |= limits
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema | {"default": copy.copy(self.default), "description": self.description}

    def check(self, value: Any) -> Any:
        """The value, of the option's type; ConfigError (without the option's name) if it is none that is allowed.

        A whole number serves where any number does. Entries of lists are left to the domain, which knows what they are.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if kind is list and isinstance(value, (tuple, list)):
            value = list(value)
        if type(value) is not kind:
            raise ConfigError(f"{value!r} is not of type {kind.__name__}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{value!r} is unknown; {nearest(value, self.choices)}")
        if kind in (int, float):
            self._check_number(value)
        return value

    def within(self, number: float) -> bool:
        """Whether a number, or an entry of a list, is within the range."""
        return (self.minimum is None or self.minimum <= number) and (self.maximum is None or number <= self.maximum)

    def _check_number(self, value: float) -> None:
        if not math.isfinite(value):
            raise ConfigError(f"{value} is no finite number")
        if self.minimum is not None and value < self.minimum:
            raise ConfigError(f"{value} is too low; the least is {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise ConfigError(f"{value} is too high; the most is {self.maximum}")


def check_options(domain: str, options: Mapping[str, Any], declared: Sequence[Option]) -> dict[str, Any]:
    """Values of all declared options, defaults where `options` names none.

    Raises:
        ConfigError: an unknown option, or a value of another type or outside choices or range.
    """
    known = {option.name: option for option in declared}
    values = {name: copy.copy(option.default) for name, option in known.items()}
    for key, value in options.items():
        where = f"domain.{domain}.options.{key}"
        if key not in known:
            raise ConfigError(f"{where}: unknown option; {nearest(key, known)}")
        try:
            values[key] = known[key].check(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return values


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Half a sentence that names the closest allowed word (if any is close) and then all of them."""
    allowed = sorted(allowed)
    return f"{suggestion(name, allowed)} Allowed: {', '.join(allowed) or 'none'}".strip()
