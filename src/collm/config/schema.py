"""The JSON Schema of the configuration, put together from what settings, options of domains and rows declare.

    python -m collm.config.schema        writes config/config.schema.json, which editors read

That file differs from what checks a run: it asks for no key, since overlays hold differences only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm import domains
from collm.config.job import BLOCKS, SOURCES
from collm.config.setting import block_schema, setting
from collm.config.trackers import TRACKERS
from collm.domains import reward
from collm.domains.base import PROFILES
from collm.methods import registry
from collm.methods.registry import BASELINES, METHODS

OPTIONAL = ("plugins", "name", "variants")  # keys that older files lack
# What a variant may change: results of variants are compared, so they share domains, rows, seeds and report.
CHANGEABLE = ("data", "models", "defaults", "domain", "profile", "semantics", "revision")
FILE = Path("config/config.schema.json")


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Next-token prediction on training text (scratch)."""

    steps: int = setting("Optimiser steps.", minimum=0)
    batch_size: int = setting("Windows per step.", minimum=1)
    window: int = setting("Tokens per window.", minimum=16)
    rows: str = setting("Windows of the joined texts, or whole texts.", choices=("joined", "texts"))
    learning_rate: float = setting("Peak learning rate.", above=0)


@dataclasses.dataclass(frozen=True)
class ScratchConfig:
    """Keys of a model made from scratch that a benchmark may change."""

    layers: int = setting("Transformer layers (scratch).", minimum=1)
    hidden: int = setting("Hidden size (scratch).", minimum=8)
    heads: int = setting("Attention heads (scratch).", minimum=1)
    vocabulary: int = setting("BPE vocabulary (scratch).", minimum=300)
    context: int = setting("Longest sequence, tokens (scratch).", minimum=64)
    initial_deviation: float = setting("Standard deviation of initial weights, else 0.02 (scratch).", above=0)
    pretrain: PretrainConfig = setting("Next-token prediction on training text (scratch).", block=PretrainConfig)


@dataclasses.dataclass(frozen=True)
class ModelConfig(ScratchConfig):
    """One model and where it comes from; each source has keys of its own."""

    source: str = setting(
        "Made here, inside an installed package, on the hub, or a local folder.",
        choices=("scratch", "wheel", "hub", "folder"),
    )
    id: str = setting("Hub id (source hub).")
    revision: str | None = setting("Commit on the hub; null resolves the current one once.")
    package: str = setting("Installed package that holds a GGUF file (source wheel).")
    path: str = setting("Folder in transformers' format (source folder).")
    device_map: str | None = setting("Layers over all GPUs, or on one device.", choices=("auto",))


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Where rows come from."""

    source: str = setting("Shipped rows, a folder, or the Hugging Face hub.", choices=SOURCES)
    path: str | None = setting("Folder of data sets for source path.")
    seed: int = setting("Seed of task generators.", minimum=0)


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Tables, figures and trackers."""

    estimator: str = setting("Point estimate of every table.", choices=("mean", "iqm"))
    resamples: int = setting("Bootstrap resamples.", minimum=100)
    episodes: int = setting("Most episodes of each run in the episode browser.", minimum=1)
    tracker: str = setting("Tracker besides the JSON lines.", choices=TRACKERS)


def schema() -> dict[str, Any]:
    """The JSON Schema of a merged configuration, with the domains and methods of plugins that are loaded."""
    return _schema(domains.names(), tuple(METHODS))


@functools.cache
def _schema(names: tuple[str, ...], methods: tuple[str, ...]) -> dict[str, Any]:
    keys = {**_axes(names, methods), **_blocks(names)}
    keys["variants"] = _variants(keys)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the CoLLM workflow",
        "description": "What to run and how; every key of config/config.yaml with its type and range.",
        **_mapping(keys),
        "required": [key for key in keys if key not in OPTIONAL],
        "$defs": {
            "model": _model(names),
            "scratch": block_schema(ScratchConfig),
            **{name: block_schema(block) for name, block in BLOCKS.items()},
            "method_block": _mapping(_references(*BLOCKS), "Differences of one method."),
            "methods": _mapping(dict.fromkeys(methods, _reference("method_block")), "Differences per method."),
        },
    }


def editor_schema() -> dict[str, Any]:
    """The schema that editors read: what ships with collm, and no key is asked for, so that it serves overlays too."""
    shipped = tuple(name for name in METHODS if name in registry.NAMES)
    whole: dict[str, Any] = _without_required(_schema(domains.NAMES, shipped))
    return whole


def editor_text() -> str:
    """What stands in config/config.schema.json."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


def _axes(names: tuple[str, ...], methods: tuple[str, ...]) -> dict[str, Any]:
    return {
        "plugins": {
            "type": "array",
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1},
            "description": "Modules that bring domains and methods of their own.",
        },
        "name": {"type": ["string", "null"], "description": "Folder below results, checkpoints and logs; null: none."},
        "domains": _names("Benchmarks to run.", names) | {"minItems": 1},
        "methods": _names("Training methods to run.", methods),
        "baselines": _names("Rows without reinforcement learning.", BASELINES),
        "seeds": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
            "description": "One run of every method per seed.",
        },
        "profile": _choice("Which definition of the rewards.", PROFILES),
        "semantics": _choice("Which update rule.", ("paper", "released")),
        "revision": {"type": "string", "description": "Free text; changing it trains everything again."},
        "sandbox": _choice("What to do where model-written code cannot be shut in.", ("refuse", "allow_weak")),
    }


def _blocks(names: tuple[str, ...]) -> dict[str, Any]:
    layer = _references(*BLOCKS, "methods")
    return {
        "data": {**block_schema(SourceConfig), "required": ["source", "path", "seed"]},
        "models": {
            "type": "object",
            "description": "Models by name.",
            "additionalProperties": _reference("model"),
        },
        "defaults": _mapping(layer, "Settings that every domain starts from."),
        "domain": _mapping(
            {name: _domain_block(name, layer) for name in names}, "Differences from the defaults per domain."
        ),
        "report": {**block_schema(ReportConfig), "required": ["estimator", "resamples", "episodes", "tracker"]},
    }


def _variants(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Overlays by name: what the whole asks for is there already; models are checked when an overlay is merged."""
    inside = {key: _without_required(keys[key]) for key in CHANGEABLE if key != "models"}
    models = {"type": "object", "additionalProperties": {"type": "object"}, "description": "Differences of models."}
    return {
        "type": "object",
        "description": "Settings compared with each other by name; the first one is the reference.",
        "additionalProperties": _mapping({**inside, "models": models}, "Differences of one variant."),
    }


def _domain_block(name: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    options = {option.name: option.json_schema() for option in domains.get(name).declared_options} | reward.SCHEMA
    return _mapping({**layer, "options": _mapping(options, "The domain's own options.")}, "Settings of one domain.")


def _model(names: tuple[str, ...]) -> dict[str, Any]:
    model = block_schema(ModelConfig) | {"required": ["source"]}
    model["properties"]["per_domain"] = _mapping(
        dict.fromkeys(names, _reference("scratch")),
        "What differs for the model that is made on a benchmark's text (scratch).",
    )
    return model


def _mapping(properties: Mapping[str, Any], description: str = "") -> dict[str, Any]:
    described = {"description": description} if description else {}
    return {"type": "object", "additionalProperties": False, **described, "properties": dict(properties)}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _references(*names: str) -> dict[str, Any]:
    return {name: _reference(name) for name in names}


def _choice(description: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": list(allowed), "description": description}


def _names(description: str, allowed: tuple[str, ...] | Mapping[str, Any]) -> dict[str, Any]:
    items = {"type": "string", "enum": list(allowed)}
    return {"type": "array", "uniqueItems": True, "items": items, "description": description}


def _without_required(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _without_required(inner) for key, inner in part.items() if key != "required"}
    return [_without_required(inner) for inner in part] if isinstance(part, list) else part


def main() -> int:
    """Write the file for editors; call it in the root of the project."""
    if not FILE.parent.is_dir():
        print(f"error: there is no folder {FILE.parent} here; call this in the root of the project", file=sys.stderr)
        return 2
    FILE.write_text(editor_text(), encoding="utf-8")
    print(f"{FILE} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
