"""What data, models and runs were made with, compared with what a stage that reads them is told to use.

Snakemake makes again what was made with other settings. A stage that is called by hand would take whatever lies in
`data/`, `resources/` and `results/`; it refuses what another configuration made, by name. Compared are the settings
that Snakemake compares too (`dependencies`), so that the two never disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import CollmError, DataError, ModelError
from collm.common.files import sha256
from collm.config.resolve import model_spec, resolve_settings
from collm.methods.registry import WARM_STARTS
from collm.pipeline import dependencies

MISSING = "nothing"
SHOWN = 3  # differing keys that a message names


def data_settings(config: Mapping[str, Any], domain: str) -> dict[str, Any]:
    """What the prepared data of a domain depend on: settings of the domain itself, not those of one method."""
    return dependencies.stage_settings("data", resolve_settings(config, domain))


def model_settings(config: Mapping[str, Any], domain: str | None, name: str) -> dict[str, Any]:
    """What a prepared model depends on: `domain` matters for models made from scratch on its training text."""
    spec = model_spec(config, name, domain)
    if spec["source"] == "scratch" and domain is not None:
        return dependencies.scratch_model_settings(resolve_settings(config, domain), spec)
    return dependencies.model_settings(spec)


def training_text(data: Path) -> dict[str, str]:
    """Digest of the rows that a model is made from scratch on, under a name for messages."""
    return {"training rows of digest": sha256(data / "train.jsonl")}


def check_data(config: Mapping[str, Any], domain: str, data: Path) -> None:
    """Refuse prepared data that another configuration made.

    Args:
        data: folder of the domain's data.
    Raises:
        DataError: names the folder, the setting, both values and what to do.
    """
    again = f"python src/prepare_data.py --domain {domain} (or snakemake all_data)"
    recorded = _settings_of(data / "manifest.json", "settings", DataError, again)
    _compare(str(data), recorded, data_settings(config, domain), DataError, again)


def check_inputs(config: Mapping[str, Any], domain: str, method: str, data: Path, models: Path) -> None:
    """Refuse data or models of a job that another configuration made: `check_data`, then `check_models`."""
    check_data(config, domain, data)
    check_models(config, domain, method, models, data)


def check_models(config: Mapping[str, Any], domain: str, method: str, models: Path, data: Path) -> None:
    """Refuse models of a job that another configuration made, or that were made from scratch on other rows.

    Args:
        models: folder of all models.
        data: folder of the domain's data.
    Raises:
        ModelError: as `check_data`.
    """
    for name, spec in resolve_settings(config, domain, method)["models"].items():
        scratch = spec["source"] == "scratch"
        folder = models / domain / name if scratch else models / name
        where = f" --domain {domain}" if scratch else ""
        again = f"python src/make_model.py --model {name}{where} (or snakemake all_models)"
        recorded = _settings_of(folder / "model.json", "made_with", ModelError, again)
        own = {"settings": model_settings(config, domain, name)}
        if scratch:
            own["training_text"] = training_text(data)
        for part, values in own.items():
            _compare(str(folder), recorded.get(part, {}), values, ModelError, again)


def check_run(config: Mapping[str, Any], domain: str, method: str, run: Path) -> None:
    """Refuse adapters of a warm start or of a training run that another configuration made.

    Args:
        method: a warm start, or a method that is trained.
        run: the run's folder, with run.json.
    Raises:
        ModelError: as `check_data`.
    """
    stage: dependencies.Stage = "warm_start" if method in WARM_STARTS else "train"
    again = f"python src/{stage}.py --domain {domain} --method {method} (or snakemake {domain})"
    recorded = _settings_of(run / "run.json", "config", ModelError, again)
    own = resolve_settings(config, domain, method)
    then, now = (dependencies.run_settings(stage, settings) for settings in (recorded, own))
    _compare(str(run), then, now, ModelError, again)


def differences(recorded: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ, each with both values in words; empty if nothing differs."""
    keys = [key for key in {**own, **recorded} if recorded.get(key, MISSING) != own.get(key, MISSING)]
    return [f"{key} {_word(recorded, key)}, this run says {_word(own, key)}" for key in keys]


def _settings_of(file: Path, key: str, error: type[CollmError], again: str) -> dict[str, Any]:
    """What a file says about the settings that its neighbours were made with."""
    if not file.is_file():
        raise error(f"{file} is not there; make it with: {again}")
    settings = json.loads(file.read_text(encoding="utf-8")).get(key)
    if not settings:
        raise error(f"{file} does not say what it was made with, as that of an older version; make it again: {again}")
    return dict(settings)


def _compare(
    place: str, recorded: Mapping[str, Any], own: Mapping[str, Any], error: type[CollmError], again: str
) -> None:
    changes = differences(recorded, own)
    if changes:
        more = f" (and {len(changes) - SHOWN} more)" if len(changes) > SHOWN else ""
        raise error(f"{place} was made with {'; '.join(changes[:SHOWN])}{more}; make it again: {again}")


def _word(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key], ensure_ascii=False) if key in settings else MISSING
