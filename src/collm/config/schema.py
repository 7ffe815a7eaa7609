"""The JSON Schema of the configuration, and errors that name the key, the value and what is allowed."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from collm.common.errors import ConfigError, suggestion

SCHEMA = Path(__file__).with_name("config.schema.yaml")


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def known(kind: str, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if name not in allowed:
        raise ConfigError(f"unknown {kind} {name!r}{_hint(name, allowed)}; known: {', '.join(allowed)}")


def _hint(name: Any, allowed: Iterable[str]) -> str:
    hint = suggestion(name, allowed)
    return f" ({hint})" if hint else ""


def describe(error: jsonschema.ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        key = f"{path}.{unknown[0]}" if path else unknown[0]
        value = error.instance[unknown[0]]
        return f"unknown key {key} (value {value!r}){_hint(unknown[0], allowed)}; allowed here: {', '.join(allowed)}"
    if error.validator == "enum":
        return (
            f"{path}: {error.instance!r} is not allowed{_hint(error.instance, error.validator_value)}; "
            f"allowed: {', '.join(map(str, error.validator_value))}"
        )
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{path or 'configuration'}: key {missing[0]} is missing; start from config/config.yaml"
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and "number" in str(error.validator_value):
        hint = "; YAML reads 5e-6 as text, write 5.0e-6"
    described = error.schema.get("description", "")
    return f"{path}: {error.instance!r} is refused: {error.message.split(' is ', 1)[-1]}{hint}" + (
        f" ({described})" if described else ""
    )
