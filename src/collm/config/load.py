"""Configuration files: overlays merged, checked against the JSON Schema, then job by job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from collm.common.errors import ConfigError
from collm.config.checks import check_job
from collm.config.messages import describe
from collm.config.resolve import merge, resolve_job
from collm.config.schema import schema


def load_config(files: Iterable[str | Path]) -> dict[str, Any]:
    """Read YAML or JSON files, merge them (later ones win) and check the result.

    Raises:
        ConfigError: a file is missing or no mapping, or a key or value is not allowed.
    """
    config: dict[str, Any] = {}
    for file in map(Path, files):
        if not file.is_file():
            raise ConfigError(f"configuration file {file} is not there; the default one is config/config.yaml")
        text = file.read_text(encoding="utf-8")
        try:
            # YAML would read JSON's 5e-06 as text.
            content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        except (yaml.YAMLError, json.JSONDecodeError) as error:
            kind = "JSON" if file.suffix == ".json" else "YAML"
            raise ConfigError(f"{file} is not valid {kind}: {' '.join(str(error).split())}") from error
        if not isinstance(content, Mapping):
            raise ConfigError(f"{file} holds no mapping of keys to values")
        config = merge(config, content)
    check_config(config)
    return config


def check_config(config: Mapping[str, Any]) -> None:
    """Check a merged configuration: schema first, then what one key implies for another.

    Raises:
        ConfigError: names the key, the value, what is allowed and the nearest valid key.
    """
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.path)))
    if errors:
        raise ConfigError(describe(errors[0]))
    if config["data"]["source"] == "path" and not config["data"].get("path"):
        raise ConfigError("data.source is 'path' but data.path is empty; set data.path to the folder of data sets")
    for domain in config["domains"]:
        for method in [*config["methods"], *config["baselines"]]:
            check_job(resolve_job(config, domain, method), config["models"])
