"""Configuration: overlays merged, checked against the JSON Schema, resolved to one block of settings per job."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from collm import consistency
from collm.errors import ConfigError, suggestion
from collm.methods import METHODS

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
BLOCKS = ("team", "data", "rollout", "warm_start", "training", "evaluation")
BASELINES = {
    "raw": "grpo", "parallel": None, "pipeline": None, "discussion": None, "warm_start": None,
    "warm_start_single": "grpo",
}  # rows without reinforcement learning, each with the method whose settings it shares (its number of agents, say)
UNTRAINED = consistency.UNTRAINED
WARM_STARTS = ("warm_start", "warm_start_single")


@dataclasses.dataclass(frozen=True)
class Team:
    """Agents, critics and the bases that they stand on."""

    num_agents: int
    agents: tuple[str, ...]  # one model name per agent
    critic: str
    adapter: str  # lora | full
    lora: Mapping[str, Any]  # rank, alpha, targets
    dtype: str  # storage of frozen bases
    precision: str  # autocast: fp32 | bf16
    chat_template: bool
    max_prompt_tokens: int | None


@dataclasses.dataclass(frozen=True)
class Rollout:
    """How episodes are played and responses sampled."""

    turns: int
    generations: int
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int | None
    discount: float
    reward_scale: float
    reward_shift: float
    early_stop: float | None
    decode: str  # mixed | sequential
    max_rows: int
    joint_mode: str = "aligned"  # aligned | cross
    backend: str = "transformers"  # transformers | vllm
    vllm_memory: float = 0.3


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """Supervised fine-tuning before reinforcement learning."""

    enabled: bool
    source: str  # demonstrations | best_of_n
    noise: float
    per_task: int
    epochs: int
    batch: int
    learning_rate: float
    best_of: int
    max_tasks: int | None


@dataclasses.dataclass(frozen=True)
class Training:
    """The reinforcement learner."""

    epochs: int
    max_updates: int | None
    tasks_per_rollout: int
    minibatch: int  # joint samples per optimiser step
    passes: int
    shuffle: bool
    agent_learning_rate: float
    critic_learning_rate: float
    weight_decay: float
    gradient_clip: float | None
    value_loss_coefficient: float
    normalize_advantage: bool
    advantage_clip: float | None
    global_information: bool
    micro_batch_tokens: int
    checkpoint_every: int
    keep_checkpoints: int
    critic_type: str = "v"  # v | q
    td_lambda: float = 0.0
    shared_backbone: bool = False
    value_clip: float | None = None
    ratio_clip: float | None = None
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0
    gradient_checkpointing: bool = False
    offload_optimiser: bool = False


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The evaluation protocol, the same for every method."""

    samples: int
    every: int | None
    samples_during: int
    tasks_during: int | None
    examples: int
    latency_tasks: int


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that one job may depend on; `raw` is the same as plain JSON for fingerprints and run.json."""

    domain: str
    method: str
    profile: str
    semantics: str
    revision: str
    sandbox: str  # refuse | allow_weak
    tracker: str
    options: Mapping[str, Any]
    data: Mapping[str, Any]
    models: Mapping[str, Any]
    team: Team
    rollout: Rollout
    warm_start: WarmStart
    training: Training
    evaluation: Evaluation
    raw: Mapping[str, Any] = dataclasses.field(repr=False)


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; values of `overlay` win, lists are replaced whole."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def load(files: Iterable[str | Path]) -> dict[str, Any]:
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
    check(config)
    return config


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def check(config: Mapping[str, Any]) -> None:
    """Check a merged configuration: schema first, then what one key implies for another.

    Raises:
        ConfigError: names the key, the value, what is allowed and the nearest valid key.
    """
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.path)))
    if errors:
        raise ConfigError(_describe(errors[0]))
    if config["data"]["source"] == "path" and not config["data"].get("path"):
        raise ConfigError("data.source is 'path' but data.path is empty; set data.path to the folder of data sets")
    for domain in config["domains"]:
        for method in [*config["methods"], *config["baselines"]]:
            consistency.check_job(job(config, domain, method), config["models"])


def settings(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> dict[str, Any]:
    """Resolve the settings of one job: defaults < defaults.methods < domain < domain.methods.

    Of a method that is `like` another one (see `collm.methods`) the other's settings come right below its own. A null
    `rollout.reward_shift` becomes minus the domain's best reward (under the profile), scaled. The released update
    rule fixes some keys last (`consistency.RELEASED`); what they were is kept under "fixed".

    Raises:
        ConfigError: unknown domain or method, or a key that no file sets.
    """
    properties = schema()["properties"]
    _known("domain", domain, properties["domains"]["items"]["enum"])
    methods = properties["methods"]["items"]["enum"]
    _known("method", method, [*methods, *BASELINES])
    own = config.get("domain", {}).get(domain, {})
    resolved: dict[str, Any] = {}
    for layer in (config["defaults"], own):
        resolved = merge(resolved, {key: value for key, value in layer.items() if key != "methods"})
        for name in _family(method):
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
        best = consistency.build(domain, resolved["options"], config["profile"], team["num_agents"]).max_reward
        resolved["rollout"] = {**rollout, "reward_shift": -rollout["reward_scale"] * best}
    resolved["fixed"] = consistency.fix(resolved) if config["semantics"] == "released" else {}
    return copy.deepcopy({"domain": domain, "method": method, "tracker": config["report"]["tracker"], **resolved})


def job(config: Mapping[str, Any], domain: str, method: str = "warm_start") -> Job:
    """The settings of one job as frozen dataclasses; raises ConfigError as `settings` does."""
    raw = settings(config, domain, method)
    plain = {key: raw[key] for key in ("domain", "method", "profile", "semantics", "revision", "sandbox", "tracker")}
    mappings = {key: raw[key] for key in ("options", "data", "models")}
    team = Team(**{**raw["team"], "agents": tuple(raw["team"]["agents"])})
    return Job(
        **plain,
        **mappings,
        raw=raw,
        team=team,
        rollout=Rollout(**raw["rollout"]),
        warm_start=WarmStart(**raw["warm_start"]),
        training=Training(**raw["training"]),
        evaluation=Evaluation(**raw["evaluation"]),
    )


def start(method: str, enabled: bool) -> str | None:
    """Whose fine-tuned adapters a method starts from: a team's or a single agent's warm start; None if disabled."""
    if not enabled:
        return None
    return "warm_start_single" if METHODS[method].single else "warm_start"


def _family(method: str) -> list[str]:
    """A method (or baseline) and those that it is like, the most general one first."""
    names = [method]
    while (like := BASELINES.get(names[0]) if names[0] in BASELINES else METHODS[names[0]].like) is not None:
        names.insert(0, like)
    return names


def model_spec(config: Mapping[str, Any], name: str, domain: str | None) -> dict[str, Any]:
    """Specification of a model, with what `per_domain` says for a model made from scratch on that domain's text.

    Raises:
        ConfigError: unknown model, or `per_domain` on one that all domains share.
    """
    _known("model", name, config["models"])
    spec = dict(config["models"][name])
    own = spec.pop("per_domain", {})
    if own and spec["source"] != "scratch":
        raise ConfigError(
            f"models.{name}.per_domain: only models of source scratch differ per domain, this one is {spec['source']}; "
            "give the domain a model of its own by domain.<name>.team.agents"
        )
    return merge(spec, own.get(domain, {}))


def model(job: Job, name: str) -> Mapping[str, Any]:
    """Specification of one of the job's models; raises ConfigError for a name that the job does not use."""
    _known("model", name, job.models)
    return job.models[name]


def digest(value: Any) -> str:
    """Short hash of any JSON value, for rerun triggers and fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


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


def _known(kind: str, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if name not in allowed:
        raise ConfigError(f"unknown {kind} {name!r}{_hint(name, allowed)}; known: {', '.join(allowed)}")


def _hint(name: Any, allowed: Iterable[str]) -> str:
    hint = suggestion(name, allowed)
    return f" ({hint})" if hint else ""


def _describe(error: jsonschema.ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        key = f"{path}.{unknown[0]}" if path else unknown[0]
        value = error.instance[unknown[0]]
        return f"unknown key {key} (value {value!r}){_hint(unknown[0], allowed)}; allowed here: {', '.join(allowed)}"
    if error.validator == "enum":
        return (
            f"{path}: {error.instance!r} is not allowed{_hint(error.instance, error.validator_value)}; "
            f"allowed: {', '.join(map(str, error.validator_value))}"
        )
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{path or 'configuration'}: key {missing[0]} is missing; start from config/config.yaml"
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and "number" in str(error.validator_value):
        hint = "; YAML reads 5e-6 as text, write 5.0e-6"
    described = error.schema.get("description", "")
    return f"{path}: {error.instance!r} is refused: {error.message.split(' is ', 1)[-1]}{hint}" + (
        f" ({described})" if described else ""
    )
