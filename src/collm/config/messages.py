"""Errors of configuration files, in words that name the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from collm.common.errors import ConfigError, suggestion

if TYPE_CHECKING:  # jobs that are resolved already need no schema: benchmarks/on_gpu.py runs without the package
    import jsonschema

# Keys by block that had another name once: nothing reads the old one, but the error says what it is called now.
RENAMED = {
    ("training", "minibatch"): "minibatch_size",
    ("training", "passes"): "update_epochs",
    ("warm_start", "batch"): "batch_size",
    ("pretrain", "batch"): "batch_size",
}


def known(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raise ConfigError, with the nearest name, unless `name` is one of those allowed."""
    allowed = list(allowed)
    if name not in allowed:
        raise ConfigError(f"unknown {kind} {name!r}{_hint(name, allowed)}; known: {', '.join(allowed)}")


def describe(error: jsonschema.ValidationError) -> str:
    """One line about what a file has that the schema refuses."""
    parts = [str(part) for part in error.absolute_path]
    path = ".".join(parts)
    refused: Any = error.instance
    rule: Any = error.validator_value
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties":
        return _unknown_key(parts, refused, list(schema.get("properties", {})))
    if error.validator == "enum":
        return f"{path}: {refused!r} is not allowed{_hint(refused, rule)}; allowed: {', '.join(map(str, rule))}"
    if error.validator == "required":
        missing = [key for key in rule if key not in refused]
        return f"{path or 'configuration'}: key {missing[0]} is missing; start from config/config.yaml"
    if error.validator == "uniqueItems":
        twice = next(entry for entry in refused if refused.count(entry) > 1)
        return f"{path}: {twice!r} stands twice; name each once"
    if error.validator == "minItems" and not refused:
        return f"{path}: [] is refused: it is empty; name at least one"
    if error.validator == "pattern":
        return f"{path}: {refused!r} is not allowed; allowed: a whole number, or {rule.strip('^$')}"
    hint = ""
    if error.validator == "type" and isinstance(refused, str) and "number" in str(rule):
        hint = "; YAML reads 5e-6 as text, write 5.0e-6"
    description = f" ({schema['description']})" if schema.get("description") else ""
    return f"{path}: {refused!r} is refused: {error.message.split(' is ', 1)[-1]}{hint}{description}"


def _unknown_key(parts: Sequence[str], block: dict[str, Any], allowed: Sequence[str]) -> str:
    name = next(key for key in block if key not in allowed)
    path = ".".join([*parts, str(name)])
    new = RENAMED.get((parts[-1], name)) if parts else None
    if new:
        return f"unknown key {path} (value {block[name]!r}): {parts[-1]}.{name} is now {parts[-1]}.{new}"
    return f"unknown key {path} (value {block[name]!r}){_hint(name, allowed)}; allowed here: {', '.join(allowed)}"


def _hint(name: Any, allowed: Iterable[str]) -> str:
    hint = suggestion(name, allowed)
    return f" ({hint})" if hint else ""
