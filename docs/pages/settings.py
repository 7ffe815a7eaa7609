"""The page of settings: every key with type, range, default and comment, from config.schema.json and config.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from markup import in_yaml, table

from collm.config.schema import schema

INTRODUCTION = """# Configuration

Every key of `config/config.yaml`. Types and ranges are those that a start checks; defaults are what the file says, and
the last column is its comment. Own settings stand in overlays, which are merged key by key:
[files, layers and what runs again](config_files.md). Options of benchmarks are on [their pages](benchmarks/index.md).
"""
BLOCKS = ("team", "data", "rollout", "warm_start", "training", "evaluation")


def page(root: Path) -> str:
    """Markdown of the page, from the file and the schema of this moment."""
    text = (root / "config" / "config.yaml").read_text(encoding="utf-8")
    values, declared, words = yaml.safe_load(text), schema(), comments(text)
    definitions = declared["$defs"]
    lines = [INTRODUCTION, "## What to run\n"]
    top = {
        key: part
        for key, part in declared["properties"].items()
        if key not in ("data", "models", "defaults", "domain", "report")
    }
    lines += _block(top, values, (), words)
    for title, key in (("Sources of data", "data"), ("Report", "report")):
        lines += [f"\n## {title}: `{key}`\n", declared["properties"][key]["description"] + "\n"]
        lines += _block(declared["properties"][key]["properties"], values[key], (key,), words)
    lines += ["\n## Models: `models.<name>`\n", "The default run has one model, `scratch`.\n"]
    model = {key: part for key, part in definitions["model"]["properties"].items() if key != "per_domain"}
    lines += _block(model, values["models"]["scratch"], ("models", "scratch"), words)
    for block in BLOCKS:
        lines += [f"\n## `defaults.{block}`\n", definitions[block]["description"] + "\n"]
        lines += [f"The same keys stand under `domain.<name>.{block}` and `methods.<name>.{block}`.\n"]
        place = ("defaults", block)
        lines += _block(definitions[block]["properties"], values["defaults"][block], place, words)
    return "\n".join(lines) + "\n"


def _block(
    keys: Mapping[str, Any], values: Mapping[str, Any], place: tuple[str, ...], words: Mapping[tuple[str, ...], str]
) -> list[str]:
    rows = []
    for key, part in keys.items():
        default = f"`{_short(values[key])}`" if key in values else ""
        rows.append((f"`{key}`", allowed(part), default, _said(part.get("description", ""), words.get((*place, key)))))
    return table(("key", "allowed", "default", "what it does"), rows)


def _said(description: str, comment: str | None) -> str:
    """Declaration and comment, the first only where the second does not say the same."""
    if comment is None:
        return description
    words = set(re.findall(r"\w{3,}", description.lower()))
    again = words & set(re.findall(r"\w{3,}", comment.lower()))
    return comment if len(again) >= len(words) / 2 else f"{description} {comment}"


def allowed(part: Mapping[str, Any]) -> str:
    """Type, choices and range of one declaration, in words."""
    if "anyOf" in part:
        return " or ".join(allowed(inner) for inner in part["anyOf"])
    if "enum" in part:
        return ", ".join(f"`{_short(value)}`" for value in part["enum"])
    kinds = part.get("type", "mapping")
    named = [kinds] if isinstance(kinds, str) else list(kinds)
    called = {"object": "mapping", "array": "list"}
    if "pattern" in part:
        called["string"] = f"`{part['pattern'].strip('^$')}`"
    words = " or ".join(called.get(kind, kind) for kind in named)
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {part[key]:g}" for key, word in bounds.items() if key in part]
    return ", ".join([words, *limits])


def _short(value: Any) -> str:
    """A value as one would write it in the file, cut where it is long."""
    text = in_yaml(value)
    return text if len(text) <= 60 else text[:57] + "..."


def comments(text: str) -> dict[tuple[str, ...], str]:
    """Comments of a YAML file by key: those in the lines above it, and the one behind its value."""
    lines, found = text.splitlines(), {}
    for place, line in _keys(yaml.compose(text), ()):
        above: list[str] = []
        number = line - 1
        while number >= 0 and lines[number].strip().startswith("#"):
            above.insert(0, lines[number].strip().lstrip("# "))
            number -= 1
        behind = re.search(r"\s#\s(.*)$", lines[line])
        words = [*above, *([behind[1]] if behind else [])]
        if words:
            found[place] = _sentence(" ".join(words))
    return found


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words.endswith((".", "!", ".)")) else ".")


def _keys(node: yaml.Node, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    for key, value in node.value:
        yield (*place, key.value), key.start_mark.line
        yield from _keys(value, (*place, key.value))
