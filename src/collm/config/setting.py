"""How one setting is declared: a dataclass field with what it is for and what it may be, and the schema made of it."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

AUTO = "auto"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def setting(
    description: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    entries: type | None = None,
    nullable: bool = False,
    mapping: bool = False,
    block: type | None = None,
    auto: int | None = None,
) -> Any:
    """A dataclass field that files may set; its annotation gives its type.

    Args:
        description: one line for people.
        choices: allowed texts; none: any.
        minimum, maximum: least and greatest number; `above` and `below` are limits that are themselves not allowed.
        entries: files may give one value of this type or a list of them.
        nullable: files may say null, for which something else is put before the job is made.
        mapping: files give names of their own choice with a value each.
        block: the setting is a block of further settings, declared by this dataclass.
        auto: files may say "auto"; the number that stands for it until one is measured, and on a CPU.
    """
    limits = {"minimum": minimum, "maximum": maximum, "exclusiveMinimum": above, "exclusiveMaximum": below}
    keywords: dict[str, Any] = {key: limit for key, limit in limits.items() if limit is not None}
    if choices:
        keywords["enum"] = list(choices)
    if entries is not None:
        one = {"type": _TYPES[entries], **keywords}
        keywords |= {"type": [one["type"], "array"], "items": one, "minItems": 1}
    if mapping:
        keywords["type"] = "object"
    return dataclasses.field(
        metadata={"description": description, "keywords": keywords, "nullable": nullable, "block": block, "auto": auto}
    )


@functools.cache
def names(block: type) -> tuple[str, ...]:
    """The keys of a block of settings, in the order of their declaration."""
    return tuple(field.name for field in dataclasses.fields(block))


def numbered(block: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a block with the number that stands for every "auto" in its place."""
    stand_ins = {field.name: field.metadata["auto"] for field in dataclasses.fields(block)}
    return {
        key: stand_ins[key] if value == AUTO and stand_ins.get(key) is not None else value
        for key, value in values.items()
    }


def block_schema(block: type, description: str = "") -> dict[str, Any]:
    """JSON Schema of a mapping whose keys are the settings of a dataclass; `description` instead of its docstring's."""
    kinds = typing.get_type_hints(block)
    return {
        "type": "object",
        "additionalProperties": False,
        "description": description or (block.__doc__ or "").splitlines()[0],
        "properties": {field.name: _field_schema(field, kinds[field.name]) for field in dataclasses.fields(block)},
    }


def _field_schema(field: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    description, inner = field.metadata["description"], field.metadata["block"]
    if inner is not None:
        return block_schema(inner, description)
    keywords = dict(field.metadata["keywords"])
    if "type" not in keywords:
        plain, *others = [part for part in typing.get_args(kind) or (kind,) if part is not types.NoneType]
        assert not others, f"{field.name}: a setting has one type"
        keywords = {"type": _TYPES[plain], **keywords}
    if field.metadata["auto"] is not None:
        keywords |= {"type": [keywords["type"], "string"], "pattern": f"^{AUTO}$"}
    if field.metadata["nullable"] or types.NoneType in typing.get_args(kind):
        keywords["type"] = [keywords["type"], "null"]
        if "enum" in keywords:
            keywords["enum"] = [*keywords["enum"], None]
    return {**keywords, "description": description}
