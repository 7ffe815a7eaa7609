"""One block of settings per job: defaults, then what the domain and the method change."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from collm.common.errors import ConfigError
from collm.config.checks import build, fix
from collm.config.job import EvaluationConfig, Job, RolloutConfig, TeamConfig, TrainingConfig, WarmStartConfig
from collm.config.schema import known, schema
from collm.methods.registry import BASELINES, WARM_STARTS, lineage, start_of

BLOCKS = ("team", "data", "rollout", "warm_start", "training", "evaluation")


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; values of `overlay` win, lists are replaced whole."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve_settings(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> dict[str, Any]:
    """Resolve the settings of one job: defaults < defaults.methods < domain < domain.methods.

    Of a row that is `like` another one (see `collm.methods.registry`) the other's settings come right below its own. A
    null `rollout.reward_shift` becomes minus the domain's best reward (under the profile), scaled. The released update
    rule fixes some keys last (`checks.RELEASED`); what they were is kept under "fixed".

    Raises:
        ConfigError: unknown domain or method, or a key that no file sets.
    """
    properties = schema()["properties"]
    known("domain", domain, properties["domains"]["items"]["enum"])
    methods = properties["methods"]["items"]["enum"]
    known("method", method, [*methods, *BASELINES])
    own = config.get("domain", {}).get(domain, {})
    resolved: dict[str, Any] = {}
    for layer in (config["defaults"], own):
        resolved = merge(resolved, {key: value for key, value in layer.items() if key != "methods"})
        for name in lineage(method):
            resolved = merge(resolved, layer.get("methods", {}).get(name, {}))
    resolved = copy.deepcopy(resolved)
    resolved.setdefault("options", {})
    _complete(resolved, domain)
    team = resolved["team"]
    if isinstance(team["agents"], str):
        team["agents"] = [team["agents"]] * team["num_agents"]
    names = sorted({*team["agents"], team["critic"]})
    source = resolved["data"]["source"] or config["data"]["source"]
    resolved["data"] = {**config["data"], **resolved["data"], "source": source}
    resolved["models"] = {name: model_spec(config, name, domain) for name in names}
    for key in ("profile", "semantics", "revision", "sandbox"):
        resolved[key] = config[key]
    rollout = resolved["rollout"]
    if rollout["reward_shift"] is None:
        best = build(domain, resolved["options"], config["profile"], team["num_agents"]).max_reward
        resolved["rollout"] = {**rollout, "reward_shift": -rollout["reward_scale"] * best}
    resolved["fixed"] = fix(resolved) if config["semantics"] == "released" else {}
    return copy.deepcopy({"domain": domain, "method": method, "tracker": config["report"]["tracker"], **resolved})


def resolve_job(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> Job:
    """The settings of one job as frozen dataclasses; raises ConfigError as `resolve_settings` does."""
    raw = resolve_settings(config, domain, method)
    plain = {key: raw[key] for key in ("domain", "method", "profile", "semantics", "revision", "sandbox", "tracker")}
    mappings = {key: raw[key] for key in ("options", "data", "models")}
    team = TeamConfig(**{**raw["team"], "agents": tuple(raw["team"]["agents"])})
    return Job(
        **plain,
        **mappings,
        raw=raw,
        team=team,
        rollout=RolloutConfig(**raw["rollout"]),
        warm_start=WarmStartConfig(**raw["warm_start"]),
        training=TrainingConfig(**raw["training"]),
        evaluation=EvaluationConfig(**raw["evaluation"]),
    )


def starts_from(method: str, enabled: bool) -> str | None:
    """Whose fine-tuned adapters a method starts from: a team's or a single agent's warm start; None if disabled."""
    return start_of(method) if enabled else None


def rows(config: Mapping[str, Any], domain: str) -> list[str]:
    """Methods and baselines that have a row in a domain's tables: warm starts only where they are enabled."""

    def warm_started(row: str) -> bool:
        return resolve_settings(config, domain, row)["warm_start"]["enabled"]

    return [row for row in (*config["methods"], *config["baselines"]) if row not in WARM_STARTS or warm_started(row)]


def model_spec(config: Mapping[str, Any], name: str, domain: str | None) -> dict[str, Any]:
    """Specification of a model, with what `per_domain` says for a model made from scratch on that domain's text.

    Raises:
        ConfigError: unknown model, or `per_domain` on one that all domains share.
    """
    known("model", name, config["models"])
    spec = dict(config["models"][name])
    own = spec.pop("per_domain", {})
    if own and spec["source"] != "scratch":
        raise ConfigError(
            f"models.{name}.per_domain: only models of source scratch differ per domain, this one is {spec['source']}; "
            "give the domain a model of its own by domain.<name>.team.agents"
        )
    return merge(spec, own.get(domain, {}))


def _complete(resolved: Mapping[str, Any], domain: str) -> None:
    definitions = schema()["$defs"]
    for block in BLOCKS:
        for key in definitions[block]["properties"]:
            if key not in resolved.get(block, {}):
                raise ConfigError(
                    f"{domain}: {block}.{key} is not set; start from config/config.yaml and put your file after it"
                )
    for key in ("rank", "alpha", "targets"):
        if key not in resolved["team"]["lora"]:
            raise ConfigError(f"{domain}: team.lora.{key} is not set; start from config/config.yaml")
    allowed = schema()["properties"]["domain"]["properties"][domain]["properties"]["options"]["properties"]
    for key in allowed:
        if key not in resolved["options"]:
            raise ConfigError(f"{domain}: domain.{domain}.options.{key} is not set; start from config/config.yaml")
