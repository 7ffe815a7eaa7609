"""Numbers of a configuration: whole ones are integers however they are written, and all of them are finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from collm.common.errors import ConfigError
from collm.common.mappings import flatten
from collm.config.schema import schema

LARGEST = 2**63 - 1


def check_numbers(config: Mapping[str, Any]) -> None:
    """ConfigError, with the key, on a number that is infinite, undefined or larger than computers count.

    Limits do not catch them: no comparison with .nan is true.
    """
    for key, value in flatten(config).items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, float) and not math.isfinite(entry):
                written = ".nan" if math.isnan(entry) else ".inf" if entry > 0 else "-.inf"
                raise ConfigError(f"{key}: {written} is refused: no finite number; write one, or null where allowed")
            if isinstance(entry, int) and abs(entry) > LARGEST:
                raise ConfigError(f"{key}: a number of {len(str(abs(entry)))} digits is refused; it is too large")


def whole_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration in which every setting that is a whole number is an integer: 2.0 is 2.

    Numbers with a fraction stay as they are; the schema refuses them.
    """
    whole = schema()
    result: dict[str, Any] = _whole(config, whole, whole["$defs"])
    return result


def _whole(value: Any, part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    if isinstance(value, Mapping):
        known, other = part.get("properties", {}), part.get("additionalProperties")
        other = other if isinstance(other, Mapping) else {}
        return {key: _whole(inner, known.get(key, other), definitions) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(entry, part.get("items", {}), definitions) for entry in value]
    kinds = part.get("type", [])
    integer = "integer" in ([kinds] if isinstance(kinds, str) else kinds)
    return int(value) if integer and isinstance(value, float) and value.is_integer() else value
