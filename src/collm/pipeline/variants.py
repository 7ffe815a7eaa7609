"""The variants of an experiment as configurations of their own, each with the inputs that it shares with others."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from collm.common.errors import ConfigError
from collm.config.messages import known
from collm.config.resolve import model_spec, resolve_settings
from collm.config.snapshot import digest
from collm.config.variants import KEY, jobs, merged, names
from collm.pipeline import dependencies
from collm.pipeline.places import DATA, INPUTS, MODELS

Settings = dict[str, Any]


def each(config: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Configurations to run by variant, the reference first; without variants the configuration itself, under "".

    Args:
        config: merged and checked.
    """
    return _each(json.dumps(config)) if names(config) else {"": config}


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
    if variant:
        known("variant", variant, there)
        return each(config)[variant]
    return {**merged(config, ""), KEY: {"configuration": digest(config), "name": ""}} if there else config


@functools.lru_cache(maxsize=4)
def _each(text: str) -> Mapping[str, Mapping[str, Any]]:
    """`each` of a configuration as JSON; the workflow asks for it again and again."""
    config = json.loads(text)
    inputs = _inputs(config)
    own = {"configuration": digest(config)}
    return {name: {**merged(config, name), KEY: {**own, "name": name, "inputs": inputs[name]}} for name in inputs}


def _inputs(config: Mapping[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    """By variant, domain and kind of input: the first of "", the variants before it and itself that makes the same."""
    order = ["", *names(config)]
    own = {name: merged(config, name) for name in order}
    makers: dict[str, dict[str, dict[str, str]]] = {name: {} for name in order[1:]}
    for domain in config["domains"]:
        needs = {name: _needs(own[name], domain) for name in order}
        offers = {name: {**needs[name], MODELS: _models(own[name], domain)} for name in order}
        for place, name in enumerate(order[1:], start=1):
            makers[name][domain] = {
                kind: next(other for other in order[: place + 1] if _serves(offers[other].get(kind), need))
                for kind, need in needs[name].items()
            }
    return makers


def _serves(offer: Settings | None, need: Settings) -> bool:
    """Whether what a configuration makes is what another one needs; it may make more models."""
    return offer is not None and all(key in offer and offer[key] == value for key, value in need.items())


def _needs(config: Mapping[str, Any], domain: str) -> dict[str, Settings]:
    """What the inputs of a domain depend on, by kind, from the data up; warm starts where a row needs them."""
    resolved = {row: resolve_settings(config, domain, row) for name, row in jobs(config) if name == domain}
    used = {name for settings in resolved.values() for name in settings["models"]}
    needs = {DATA: dependencies.stage_settings("data", resolve_settings(config, domain))}
    needs[MODELS] = {name: made for name, made in _models(config, domain).items() if name in used}
    for row in INPUTS:
        if row in resolved:
            needs[row] = dependencies.run_settings("warm_start", resolved[row])
    return needs


def _models(config: Mapping[str, Any], domain: str) -> Settings:
    """What every model of a configuration depends on; if it is made from scratch, on the domain's data too."""
    settings = resolve_settings(config, domain)
    data = dependencies.stage_settings("data", settings)
    specs = {name: model_spec(config, name, domain) for name in config["models"]}
    return {
        name: {**data, **dependencies.scratch_model_settings(settings, spec)}
        if spec["source"] == "scratch"
        else dependencies.model_settings(spec)
        for name, spec in specs.items()
    }
