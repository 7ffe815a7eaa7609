"""Settings of an overlay that some jobs never see, because an earlier file says otherwise in a layer that wins.

Files are merged key by key and layers resolved afterwards (`resolve.layer_paths`). So `defaults.training.epochs` of a
later file loses against `domain.tldr.training.epochs` of an earlier one. That is how a domain keeps its own values, and
seldom what the writer of an overlay expects: it is said by name, with the line that works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from collm.common.mappings import flatten
from collm.config.resolve import layer_paths, merge
from collm.methods.registry import ROWS, start_of

Path = tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """One value of a setting: the file that says it last (by number) and the keys that lead to its layer."""

    file: int
    layer: Path
    key: str
    value: Any

    @property
    def name(self) -> str:
        return ".".join((*self.layer, self.key))

    @property
    def where(self) -> str:
        """Whom the layer is about: tldr, tldr/magrpo or magrpo."""
        pairs = zip(self.layer, self.layer[1:], strict=False)
        return "/".join(name for place, name in pairs if place in ("domain", "per_domain", "methods")) or "any domain"


@dataclass
class _Shadowed:
    """A value of an overlay and the entries that win over it, by name."""

    entry: _Entry
    winners: dict[str, _Entry] = field(default_factory=dict)

    def line(self) -> str:
        """One line: what does not reach whom, and what to write instead."""
        winners = sorted(self.winners.values(), key=lambda winner: len(winner.layer))
        losses = ", ".join(f"{winner.where} ({winner.name}: {_flow(winner.value)} wins)" for winner in winners)
        cure: dict[str, Any] = {}
        for winner in winners:
            cure = merge(cure, _nested([*winner.layer, *winner.key.split(".")], self.entry.value))
        # Braces around several keys, so that the line is YAML by itself.
        cure_text = _flow(cure)[1:-1] if len(cure) == 1 else _flow(cure)
        return f"{self.entry.name}: {_flow(self.entry.value)} does not reach {losses}; write {cure_text}"


def shadowed(contents: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """A line per key of a file that does not reach all jobs it is meant for, because of an earlier file.

    What a file itself says in a layer that wins is its writer's intention, and so is what a later file says. Equal
    values shadow nothing. One agent alone has one agent and its own turns whatever domains say: that is not told.

    Args:
        contents: the files as read, in the order in which they are merged.
        config: all of them merged, whose `domains`, `methods` and `baselines` are the jobs.
    """
    lines: dict[str, _Shadowed] = {}
    for layers in _stacks(config):
        for loser, winner in _conflicts(contents, layers):
            lines.setdefault(loser.name, _Shadowed(loser)).winners.setdefault(winner.name, winner)
    return [lines[name].line() for name in sorted(lines)]


def _stacks(config: Mapping[str, Any]) -> Iterator[list[Path]]:
    """Layers of every job and of every model that may differ per domain, those that win last."""
    rows = [*config["methods"], *config["baselines"]]
    rows += sorted({start_of(row) for row in config["methods"]} - {*rows})
    for domain in config["domains"]:
        for row in rows:
            yield [(), *layer_paths(domain, row)]
        for model in config["models"]:
            yield [("models", model), ("models", model, "per_domain", domain)]


def _conflicts(contents: Sequence[Mapping[str, Any]], layers: Sequence[Path]) -> Iterator[tuple[_Entry, _Entry]]:
    """(entry of a later file, entry of an earlier file that wins over it) for every setting of one job."""
    stacks: dict[str, list[_Entry]] = {}
    for layer in layers:
        last: dict[str, _Entry] = {}
        for file, content in enumerate(contents):
            last |= {key: _Entry(file, layer, key, value) for key, value in _layer(content, layer).items()}
        for key, entry in last.items():
            stacks.setdefault(key, []).append(entry)
    for stack in stacks.values():
        winner = stack[-1]
        losers = [entry for entry in stack if entry.file > winner.file and entry.value != winner.value]
        if losers and not _by_nature(winner.layer):
            yield losers[-1], winner


def _by_nature(layer: Path) -> bool:
    """Whether a layer is what the defaults say of one agent alone."""
    return layer[:2] == ("defaults", "methods") and ROWS[layer[2]].single


def _layer(content: Mapping[str, Any], layer: Path) -> dict[str, Any]:
    """The settings of one layer of a file, by dotted key; the layer of no keys is the source of all domains' data."""
    block: Any = content if layer else {"data": {"source": content.get("data", {}).get("source")}}
    for key in layer:
        block = block.get(key, {})
    flat = flatten({key: value for key, value in block.items() if key not in ("methods", "per_domain")})
    return {key: value for key, value in flat.items() if (key, value) != ("data.source", None)}


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _flow(value: Any) -> str:
    """A value as YAML writes it in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("...\n").strip()
