"""One block of settings per job: defaults, then what the domain and the method change."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from collm import domains
from collm.common.errors import ConfigError
from collm.config import plugins
from collm.config.checks import check_job, check_team, fix, reward_bounds
from collm.config.job import (
    BLOCKS,
    EvaluationConfig,
    Job,
    LoraConfig,
    RolloutConfig,
    TeamConfig,
    TrainingConfig,
    WarmStartConfig,
)
from collm.config.messages import known
from collm.config.numbers import whole_numbers
from collm.config.setting import names, numbered
from collm.config.snapshot import digest
from collm.domains import reward
from collm.methods.registry import BASELINES, METHODS, ROWS, WARM_STARTS, lineage, start_of


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; values of `overlay` win, lists are replaced whole."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve_settings(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> dict[str, Any]:
    """Resolve the settings of one job from the layers that are meant for it (see `_layers`).

    Options of the domain that no file names have their declared defaults; those that change its reward
    (`domains.reward`) are there only where they do. A null `rollout.reward_shift` becomes minus
    the domain's best reward (under the profile), scaled. The released update rule fixes some keys last
    (`checks.fix`); what they were is kept under "fixed". "configuration" is the digest of the whole, that of
    all variants together for one of them.

    Raises:
        ConfigError: unknown domain or method, a key that no file sets, or a team that the domain has no roles for.
    """
    known("domain", domain, domains.names())
    known("method", method, [*METHODS, *BASELINES])
    config = whole_numbers(config)
    resolved: dict[str, Any] = {}
    for layer in _layers(config, domain, method):
        resolved = merge(resolved, layer)
    resolved = copy.deepcopy(resolved)
    _check_complete(resolved, domain)
    own = reward.without_defaults(resolved.get("options", {}))
    resolved["options"] = {**domains.get(domain).default_options(), **own}
    team = resolved["team"]
    if isinstance(team["agents"], str):
        team["agents"] = [team["agents"]] * team["num_agents"]
    check_team(domain, method, team)
    models = sorted({*team["agents"], team["critic"]})
    source = resolved["data"]["source"] or config["data"]["source"]
    resolved["data"] = {**config["data"], **resolved["data"], "source": source}
    resolved["models"] = {name: model_spec(config, name, domain) for name in models}
    resolved["plugins"] = config.get("plugins", [])
    for key in ("profile", "semantics", "revision", "sandbox"):
        resolved[key] = config[key]
    rollout = resolved["rollout"]
    if rollout["reward_shift"] is None:
        _, best = reward_bounds(domain, resolved["options"], config["profile"], team["num_agents"])
        rollout["reward_shift"] = -rollout["reward_scale"] * best
    resolved["fixed"] = fix(resolved, method) if config["semantics"] == "released" else {}
    whole = config.get("variant", {}).get("configuration") or digest(config)
    job = {"domain": domain, "method": method, "tracker": config["report"]["tracker"], "configuration": whole}
    return copy.deepcopy({**job, **resolved})


def layer_paths(domain: str, method: str) -> list[tuple[str, ...]]:
    """Keys that lead to the layers of a job, those that win last.

    Their order is defaults < defaults.methods < domain < domain.methods. Of a row that is `like` another one (see
    `collm.methods.registry`) the other's block comes right below its own. What `defaults.methods` says of one agent
    alone comes above the domain's block, which is about teams (their turns, say).
    """
    defaults, own = ("defaults",), ("domain", domain)
    rows = lineage(method)
    return [
        defaults,
        *((*defaults, "methods", row) for row in rows if not ROWS[row].single),
        own,
        *((*defaults, "methods", row) for row in rows if ROWS[row].single),
        *((*own, "methods", row) for row in rows),
    ]


def _layers(config: Mapping[str, Any], domain: str, method: str) -> Iterator[Mapping[str, Any]]:
    """Blocks of a merged configuration in the order in which they win (see `layer_paths`)."""
    for path in layer_paths(domain, method):
        block: Mapping[str, Any] = config
        for key in path:
            block = block.get(key, {})
        yield {key: value for key, value in block.items() if key != "methods"}


def resolve_job(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> Job:
    """The settings of one job as frozen dataclasses, checked against each other.

    Raises:
        ConfigError: as `resolve_settings` and `checks.check_job` do.
    """
    job = job_of(resolve_settings(config, domain, method))
    check_job(job)
    return job


def job_of(raw: Mapping[str, Any]) -> Job:
    """Resolved settings, as run.json holds them, as a job; they are not checked again. Its plugins are loaded.

    Raises:
        ConfigError: a key is missing or unknown, as in run.json of another version.
    """
    plugins.load(raw.get("plugins", ()))
    try:
        return _job(raw)
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"resolved settings do not fit this version of collm ({error}); use the version that wrote them"
        ) from error


def _job(raw: Mapping[str, Any]) -> Job:
    plain = {key: raw[key] for key in ("domain", "method", "profile", "semantics", "revision", "sandbox", "tracker")}
    mappings = {key: raw[key] for key in ("options", "data", "models")}
    team = TeamConfig(**{**raw["team"], "agents": tuple(raw["team"]["agents"])})
    rate = raw["training"]["agent_learning_rate"]
    rates = {"agent_learning_rate": tuple(rate) if isinstance(rate, list) else rate}
    return Job(
        **plain,
        **mappings,
        raw=raw,
        team=team,
        rollout=RolloutConfig(**numbered(RolloutConfig, raw["rollout"])),
        warm_start=WarmStartConfig(**raw["warm_start"]),
        training=TrainingConfig(**{**numbered(TrainingConfig, raw["training"]), **rates}),
        evaluation=EvaluationConfig(**raw["evaluation"]),
    )


def starts_from(method: str, enabled: bool) -> str | None:
    """Whose fine-tuned adapters a method starts from: a team's or a single agent's warm start; None if disabled."""
    return start_of(method) if enabled else None


def rows(config: Mapping[str, Any], domain: str) -> list[str]:
    """Methods and baselines that have a row in a domain's tables: warm starts only where they are enabled."""

    def warm_started(row: str) -> bool:
        return bool(resolve_settings(config, domain, row)["warm_start"]["enabled"])

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


def _check_complete(resolved: Mapping[str, Any], domain: str) -> None:
    """ConfigError if a block lacks a key: files set them all, see config/config.yaml."""
    blocks = {**BLOCKS, "team.lora": LoraConfig}
    for block, declaration in blocks.items():
        inside = resolved["team"]["lora"] if block == "team.lora" else resolved.get(block, {})
        for key in names(declaration):
            if key not in inside:
                raise ConfigError(
                    f"{domain}: {block}.{key} is not set; start from config/config.yaml and put your file after it"
                )
