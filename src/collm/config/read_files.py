"""One configuration file as a mapping; what is wrong with it is told with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from collm.common.errors import ConfigError


def read_files(files: Iterable[str | Path]) -> list[Mapping[str, Any]]:
    """The contents of YAML or JSON files, in order; a file that is named twice counts where it stands first.

    Raises:
        ConfigError: names the file and, where there is one, the line.
    """
    places: dict[Path, Path] = {}
    for file in map(Path, files):
        places.setdefault(file.resolve(), file)
    return [_read(file) for file in places.values()]


class _DuplicateKey(Exception):
    """A key stands twice in one mapping; the first would be lost without a word."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a mapping has every key once; keys that `<<` brings may be overridden."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping as it is written, before merges are resolved."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _DuplicateKey(
                    f"line {line}: key {key.value!r} stands twice in one mapping, in lines {lines[name]} and {line}; "
                    "keep one of them, the other would be lost"
                )
            lines[name] = line
        return node


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise ConfigError(f"configuration file {file} is not there; the default one is config/config.yaml")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{file}, line {line}: byte {error.object[error.start]:#x} is no UTF-8; save it as UTF-8"
        ) from error
    # YAML would read JSON's 5e-06 as text.
    content = _json(file, text) if file.suffix.lower() == ".json" else _yaml(file, text)
    if isinstance(content, Mapping):
        return content
    if content is None:
        hint = "it is empty or has comments alone: write a key, or leave the file out"
    else:
        hint = f"it is a {type(content).__name__}; write lines like seeds: [0]"
    raise ConfigError(f"{file}, line {_first_line(text)}: holds no mapping of keys to values; {hint}")


def _yaml(file: Path, text: str) -> Any:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            # Deep: a mapping that holds itself is refused here, and not by whoever walks through it.
            return None if node is None else loader.construct_object(node, deep=True)
        finally:
            loader.dispose()
    except _DuplicateKey as error:
        raise ConfigError(f"{file}, {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date like 2026-13-01
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or error
        context = getattr(error, "context", None)
        words = f"{context}, {what}" if context else what
        raise ConfigError(f"{file}{place}: is not valid YAML: {' '.join(str(words).split())}") from error


def _json(file: Path, text: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise _DuplicateKey(f"key {twice[0]!r} stands twice in one mapping; keep one of them")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except _DuplicateKey as error:
        raise ConfigError(f"{file}: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}, line {error.lineno}: is not valid JSON: {error.msg}") from error


def _first_line(text: str) -> int:
    """The first line that says anything, counted from 1."""
    lines = text.splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")), 1)
