"""Configuration files: overlays merged, checked against the JSON Schema, then job by job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from collm.common.errors import ConfigError
from collm.config import plugins, variants
from collm.config.checks import check_joined, check_model
from collm.config.messages import describe
from collm.config.numbers import check_numbers, whole_numbers
from collm.config.read_files import read_files
from collm.config.resolve import merge, resolve_job, rows, starts_from
from collm.config.schema import schema
from collm.config.shadowing import shadowed


def load_config(files: Iterable[str | Path], *overlays: Mapping[str, Any]) -> dict[str, Any]:
    """Read YAML or JSON files, merge them and then `overlays` (later ones win) and check the result.

    What a later file says in vain, because an earlier one says otherwise of a domain or a method, is told on stderr.

    Raises:
        ConfigError: a file is missing or no mapping, or a key or value is not allowed.
    """
    contents = [*read_files(files), *overlays]
    config: dict[str, Any] = {}
    for content in contents:
        config = merge(config, content)
    check_config(config)
    _warn(contents, config)
    return whole_numbers(config)


def check_files(files: Iterable[str | Path], config: Mapping[str, Any]) -> None:
    """Check files that somebody else has merged, which is how Snakemake reads its own.

    Warnings go to stderr; call it once per start, not in every job.

    Args:
        files: in the order in which they were merged; one that is named twice counts where it stands first.
        config: what was made of them, a checked configuration (`check_config`).
    Raises:
        ConfigError: a file is no mapping or no YAML, or has a key twice; names file and line.
    """
    _warn(read_files(files), config)


def check_config(config: Mapping[str, Any]) -> None:
    """Check a merged configuration: schema first, then what one key implies for another.

    Raises:
        ConfigError: names the key, the value, what is allowed and the nearest valid key.
    """
    check_numbers(config)
    plugins.load(config.get("plugins", ()))
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.path)))
    if errors:
        raise ConfigError(describe(errors[0]))
    for seed in config["seeds"]:
        if not isinstance(seed, int):
            raise ConfigError(f"seeds: {seed!r} is refused: seeds name folders; write {int(seed)}")
    if config["data"]["source"] == "path" and not config["data"].get("path"):
        raise ConfigError("data.source is 'path' but data.path is empty; set data.path to the folder of data sets")
    if not [*config["methods"], *config["baselines"]]:
        raise ConfigError("methods and baselines are both empty, so there is nothing to run; name at least one of them")
    for name, spec in config["models"].items():
        check_model(name, spec)
    for domain in config["domains"]:
        _check_rows(config, domain)
    _check_variants(config)


def _check_variants(config: Mapping[str, Any]) -> None:
    """Check names, then every variant as a configuration of its own, then that all of them differ."""
    variants.check_names(config)
    for variant in variants.names(config):
        try:
            check_config(variants.merged(config, variant))
        except ConfigError as error:
            raise ConfigError(f"variants.{variant}: {error}") from None
    variants.check_differences(config)


def _check_rows(config: Mapping[str, Any], domain: str) -> None:
    """Resolve, and so check, every row of a domain and the warm starts that rows start from."""
    jobs = [resolve_job(config, domain, row) for row in (*config["methods"], *config["baselines"])]
    check_joined(domain, jobs)
    starts = {starts_from(job.method, job.warm_start.enabled) for job in jobs if job.method in config["methods"]}
    for start in sorted(start for start in starts if start):
        resolve_job(config, domain, start)
    if not rows(config, domain):
        raise ConfigError(
            f"{domain}: no row is left to run: warm_start.enabled is false, and baselines name warm starts alone; "
            "set it to true or name another row"
        )


def _warn(contents: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    """Say once what files say in vain; of several processes that train together the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        for line in shadowed(contents, config):
            print(f"warning: {line}", file=sys.stderr, flush=True)
        base = variants.merged(config, "")
        for variant in variants.names(config):
            for line in shadowed([base, config["variants"][variant]], variants.merged(config, variant)):
                print(f"warning: variants.{variant}: {line}", file=sys.stderr, flush=True)
