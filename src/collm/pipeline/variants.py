"""The variants of an experiment as configurations of their own, each with the inputs that it shares with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collm.common.errors import ConfigError
from collm.config.resolve import model_spec, resolve_settings
from collm.config.snapshot import digest
from collm.config.variants import KEY, jobs, merged, names
from collm.pipeline import dependencies
from collm.pipeline.places import DATA, INPUTS, MODELS

Inputs = dict[str, dict[str, str]]


def each(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Configurations to run by variant, the reference first; without variants the configuration itself, under ""."""
    return {variant: of(config, variant) for variant in names(config)} or {"": config}


def of(config: Mapping[str, Any], variant: str | None) -> Mapping[str, Any]:
    """The configuration of one variant, as its jobs resolve it.

    Args:
        config: merged and checked.
        variant: "" is what variants have in common, where shared inputs are made; None: there are no variants.
    Raises:
        ConfigError: there is no such variant, or there are some and none is named.
    """
    there = names(config)
    if variant is None and there:
        raise ConfigError(f"the configuration has variants: name one of them by --variant: {', '.join(there)}")
    if not there and not variant:
        return config
    own: dict[str, Any] = {"configuration": digest(config), "name": variant}
    if variant:
        own["inputs"] = _inputs(config, variant)
    return {**merged(config, variant or ""), KEY: own}


def _inputs(config: Mapping[str, Any], variant: str) -> Inputs:
    """By domain and kind of input, the first of "", the variants before this one and itself whose settings are equal."""
    order = ["", *names(config)]
    before = order[: order.index(variant)]
    own = merged(config, variant)
    makers: Inputs = {}
    for domain in config["domains"]:
        needs = {kind: _settings(own, domain, kind) for kind in INPUTS}
        makers[domain] = {}
        for kind, need in needs.items():
            if need is not None:
                equal = (name for name in before if _serves(merged(config, name), domain, kind, need))
                makers[domain][kind] = next(equal, variant)
    return makers


def _serves(config: Mapping[str, Any], domain: str, kind: str, need: Mapping[str, Any]) -> bool:
    """Whether a configuration makes the input that is needed."""
    if kind == MODELS:  # it may have more of them
        return all(_model(config, domain, name) == settings for name, settings in need.items())
    return _settings(config, domain, kind) == need


def _settings(config: Mapping[str, Any], domain: str, kind: str) -> dict[str, Any] | None:
    """What an input of a domain depends on, from data up; None where no row needs it."""
    if kind == DATA:
        return dependencies.stage_settings("data", resolve_settings(config, domain))
    if kind == MODELS:
        resolved = (resolve_settings(config, *job) for job in jobs(config) if job[0] == domain)
        used = sorted({name for settings in resolved for name in settings["models"]})
        return {name: _model(config, domain, name) for name in used}
    if kind not in {row for name, row in jobs(config) if name == domain}:
        return None
    return dependencies.run_settings("warm_start", resolve_settings(config, domain, kind))


def _model(config: Mapping[str, Any], domain: str, name: str) -> dict[str, Any] | None:
    """What a model depends on: if it is made from scratch, on the domain's data too; None: there is none of that name."""
    if name not in config["models"]:
        return None
    spec = model_spec(config, name, domain)
    if spec["source"] != "scratch":
        return dependencies.model_settings(spec)
    settings = resolve_settings(config, domain)
    return {
        **dependencies.stage_settings("data", settings),
        **dependencies.scratch_model_settings(settings, spec),
    }
