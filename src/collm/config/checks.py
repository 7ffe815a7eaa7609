"""What one setting implies for another: contradictions that are refused, and what the released update rule fixes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from collm import domains
from collm.common.errors import ConfigError
from collm.config.job import Job, automatic
from collm.domains import contract
from collm.methods.registry import METHODS, ROWS, UNTRAINED, lineage

RELEASED: dict[str, dict[str, Any]] = {
    "training": {
        "tasks_per_rollout": 1,
        "update_epochs": 1,
        "shuffle": False,
        "gradient_clip": None,
        "advantage_floor": 0.0,
        "advantage_clip": None,
        "score": "raw",
        "global_information": False,
        "td_lambda": 0.0,
        "lambda_follows_critic": False,
        "critic_steps": 1,
        "critic_warm_up": 0,
        "ratio_clip": None,
        "importance_ratio": "product",
        "loss_per": "sequence",
        "negative_weight": 1.0,
        "divergence_limit": None,
        "rate_warm_up": 0,
        "rate_decay": "none",
        "kl_coefficient": 0.0,
        "entropy_coefficient": 0.0,
        "entropy_floor": None,
        "entropy_ceiling": None,
    },
}  # what comlrl 1.3.6 does and has no setting for
RELEASED_TURNS: dict[str, dict[str, Any]] = {"rollout": {"generations": 1}}  # and where critics meet several turns

NEEDED = {
    "scratch": ("layers", "hidden", "heads", "vocabulary", "context", "pretrain"),
    "wheel": ("package",),
    "folder": ("path",),
    "hub": ("id",),
}  # keys that a model's source cannot do without


def fix(resolved: dict[str, Any], method: str) -> dict[str, Any]:
    """Set what the released update rule fixes in resolved settings; returns what the changed keys were, dotted.

    Args:
        resolved: the settings of a job, changed in place.
        method: the job's row. With critics, its own or those of a row that it is `like`, an episode of several turns is
            played with one response per prompt: the released critics value no tree.
    """
    before = {}
    turns = resolved["rollout"]["turns"] > 1 and any(ROWS[row].critics is not None for row in lineage(method))
    for block, values in [*RELEASED.items(), *(RELEASED_TURNS.items() if turns else ())]:
        for key, value in values.items():
            if resolved[block][key] != value:
                before[f"{block}.{key}"] = resolved[block][key]
                resolved[block][key] = value
    return before


def fixed_in_words(job: Job) -> str | None:
    """One line that names the keys which `semantics: released` fixed, None if none had to change."""
    if not job.raw.get("fixed"):
        return None
    changes = []
    for name, before in job.raw["fixed"].items():
        block, key = name.split(".")
        changes.append(f"{name} {job.raw[block][key]} (configured: {before})")
    return f"semantics released fixes {'; '.join(changes)}"


def reward_bounds(domain: str, options: Mapping[str, Any], profile: str, num_agents: int) -> tuple[float, float]:
    """Least and best reward of a domain; raises ConfigError on an option or a number of agents that it refuses."""
    return _reward_bounds(domain, json.dumps(options, sort_keys=True), profile, num_agents)


@functools.cache
def _reward_bounds(domain: str, options: str, profile: str, num_agents: int) -> tuple[float, float]:
    built = domains.build(domain, json.loads(options), profile, num_agents)
    contract.check_instance(built)
    return built.min_reward, built.max_reward


def check_model(name: str, spec: Mapping[str, Any]) -> None:
    """ConfigError if a model lacks a key that its source needs, or has a shape that cannot be made."""
    missing = [key for key in NEEDED[spec["source"]] if not spec.get(key)]
    if missing:
        raise ConfigError(
            f"models.{name}: source {spec['source']} needs the key {missing[0]}; write models.{name}.{missing[0]}"
        )
    if spec["source"] == "scratch" and spec["hidden"] % (2 * spec["heads"]):
        raise ConfigError(
            f"models.{name}.hidden is {spec['hidden']} with {spec['heads']} heads; every head takes an even share: "
            f"write a multiple of {2 * spec['heads']:g}"
        )


def check_job(job: Job) -> None:
    """Refuse settings that contradict each other, before anything is made of them.

    Raises:
        ConfigError: names job, key, value and what to set.
    """
    where = f"{job.domain}/{job.method}"
    reward_bounds(job.domain, job.options, job.profile, job.team.num_agents)
    _check_backend(job, where)
    _check_storage(job, where)
    if job.method in METHODS:
        _check_rates(job, where)
        _check_groups(job, where)
        _check_critics(job, where)
        _check_options(job, where)
        _check_together(job, where)
    _check_early_stop(job, where)
    _check_turns(job, where)
    if job.method in UNTRAINED or not job.warm_start.enabled:
        return
    if job.warm_start.source == "best_of_n" and all(
        job.models[name]["source"] == "scratch" for name in job.team.agents
    ):
        raise ConfigError(
            f"{where}: warm_start.source best_of_n needs a pretrained model; scratch models know nothing yet: "
            "use demonstrations"
        )


def check_team(domain: str, method: str, team: Mapping[str, Any]) -> None:
    """Refuse a team that the domain has no roles for, or whose list of models is not one per agent.

    Args:
        team: the resolved block, with a list of models under `agents`.
    Raises:
        ConfigError: names job, key, value and what is allowed.
    """
    where, number, models, single = f"{domain}/{method}", team["num_agents"], team["agents"], ROWS[method].single
    sizes = domains.get(domain).team_sizes
    if sizes is not None and number not in sizes:
        raise ConfigError(
            f"{where}: team.num_agents is {number}; {domain} is played by {' or '.join(map(str, sizes))} agents: "
            "set team.num_agents to one of them"
        )
    own = method if method in METHODS else ROWS[method].like
    if single and number != 1:
        raise ConfigError(
            f"{where}: team.num_agents is {number}; {method} is one agent alone: set methods.{own}.team.num_agents to 1"
        )
    if len(models) != number:
        alone = f"; {method} is one agent alone: set methods.{own}.team.agents to one name" if single else ""
        raise ConfigError(
            f"{where}: team.agents names {len(models)} models for team.num_agents {number}; "
            f"give one name for all agents or one per agent{alone}"
        )
    if team["adapters"] == "shared" and len(set(models)) > 1:
        raise ConfigError(
            f"{where}: team.adapters is shared with team.agents {', '.join(models)}; agents that share an adapter "
            "stand on one model: give one name, or set team.adapters to per_agent"
        )


def _check_storage(job: Job, where: str) -> None:
    """How weights and optimiser states are kept, against what is trained."""
    team = job.team
    if team.states == "bfloat16" and (team.adapter != "full" or team.dtype != "bfloat16"):
        raise ConfigError(
            f"{where}: team.states is bfloat16 with team.adapter {team.adapter} and team.dtype {team.dtype}; it is for "
            "whole copies in bfloat16, states of all else are float32: set it to float32, or team.adapter to full and "
            "team.dtype to bfloat16"
        )
    if team.quantization == "none":
        return
    if team.adapter == "full":
        raise ConfigError(
            f"{where}: team.quantization is {team.quantization} with team.adapter full; weights in 4 bits are not "
            "trained: use team.adapter lora, or set team.quantization to none"
        )
    if job.rollout.backend == "vllm":
        raise ConfigError(
            f"{where}: team.quantization is {team.quantization} with rollout.backend vllm, whose engines load the base "
            "as it is: use rollout.backend transformers, or set team.quantization to none"
        )


def _check_turns(job: Job, where: str) -> None:
    longest = domains.get(job.domain).max_turns
    if longest is not None and job.rollout.turns > longest:
        raise ConfigError(
            f"{where}: rollout.turns is {job.rollout.turns}; at most {longest} is possible in {job.domain}"
        )


def _check_backend(job: Job, where: str) -> None:
    """What vLLM cannot serve, before it is installed or loaded."""
    if job.rollout.backend != "vllm":
        return
    use = "or rollout.backend transformers"
    if "rollout.max_rows" in automatic(job):
        raise ConfigError(
            f"{where}: rollout.max_rows is auto with rollout.backend vllm, whose engines take their memory at the "
            f"start: give a number, {use}"
        )
    if job.team.adapter == "full":
        raise ConfigError(
            f"{where}: rollout.backend is vllm with team.adapter full; agents reach vLLM as adapters on a shared base: "
            f"use team.adapter lora, {use}"
        )
    if job.team.dtype != "bfloat16" and job.team.precision != "bf16":
        raise ConfigError(
            f"{where}: rollout.backend is vllm with team.dtype {job.team.dtype} and team.precision fp32; vLLM's "
            f"kernels for adapters compute in bfloat16: set team.dtype bfloat16 or team.precision bf16, {use}"
        )
    if not 0.01 <= job.rollout.temperature <= 2:
        raise ConfigError(
            f"{where}: rollout.temperature is {job.rollout.temperature:g}; vLLM samples at 0.01 to 2: change it, {use}"
        )


def _check_rates(job: Job, where: str) -> None:
    """A list of learning rates has one per agent, and agents that are trained as one have one."""
    rates, number = job.training.agent_learning_rate, job.team.num_agents
    if not isinstance(rates, tuple):
        return
    single = ROWS[job.method].single
    alone = f"; {job.method} is one agent alone: set methods.{job.method}.training to one rate" if single else ""
    if len(rates) != number:
        raise ConfigError(
            f"{where}: training.agent_learning_rate names {len(rates)} rates for team.num_agents {number}; give one "
            f"number for all agents or one per agent{alone}"
        )
    if job.team.one_for_all:
        raise ConfigError(
            f"{where}: training.agent_learning_rate names {len(rates)} rates with team.adapters shared; what all "
            "agents share has one: give one number, or set team.adapters to per_agent"
        )


def _check_groups(job: Job, where: str) -> None:
    """Monte Carlo methods compare the responses of a group, which is never split."""
    if METHODS[job.method].critics is not None:
        return
    rollout, minibatch = job.rollout, job.training.minibatch_size
    if rollout.generations < 2:
        raise ConfigError(
            f"{where}: rollout.generations is {rollout.generations}; {job.method} compares responses of a group "
            "and needs at least 2"
        )
    crossed = rollout.joint_mode == "cross"
    size = rollout.generations ** (job.team.num_agents if crossed else 1)
    if minibatch % size:
        power = f" to the power of {job.team.num_agents} agents ({size})" if crossed else ""
        raise ConfigError(
            f"{where}: training.minibatch_size {minibatch} is no multiple of rollout.generations {rollout.generations}"
            f"{power}; groups are never split"
        )


def _check_critics(job: Job, where: str) -> None:
    training, critics = job.training, METHODS[job.method].critics
    if training.shared_backbone and critics == "joint":
        raise ConfigError(
            f"{where}: training.shared_backbone is true; a critic of the joint history shares no agent's backbone: "
            f"set it under methods.collm_dc (or ac), or to false for {job.method}"
        )
    for key, off in (("critic_steps", 1), ("critic_warm_up", 0)):
        if training.shared_backbone and critics is not None and getattr(training, key) > off:
            raise ConfigError(
                f"{where}: training.{key} is {getattr(training, key)} with training.shared_backbone true; a critic on "
                f"its agent's backbone cannot learn without moving the agent: set {key} to {off} or shared_backbone "
                "to false"
            )
    if training.value_clip is not None and job.semantics == "released" and not training.shared_backbone:
        raise ConfigError(
            f"{where}: training.value_clip is {training.value_clip}; the released code clips values only where critics "
            "share the agents' backbones: set it to null or training.shared_backbone to true"
        )


def _check_options(job: Job, where: str) -> None:
    rollout = job.rollout
    floor, ceiling = job.training.entropy_floor, job.training.entropy_ceiling
    if floor is not None and ceiling is not None and floor >= ceiling:
        raise ConfigError(
            f"{where}: training.entropy_floor is {floor:g} and training.entropy_ceiling {ceiling:g}; the floor lies "
            "below the ceiling: change one, or set it to null"
        )
    cuts = rollout.top_p < 1 or rollout.top_k is not None
    if job.training.score == "sampled" and job.training.kl_coefficient and cuts:
        raise ConfigError(
            f"{where}: training.score is sampled with training.kl_coefficient {job.training.kl_coefficient:g} and "
            f"rollout.top_p {rollout.top_p:g}, rollout.top_k {rollout.top_k}; a divergence from a policy that never "
            "draws some tokens is infinite: set score to raw, kl_coefficient to 0, or top_p to 1 and top_k to null"
        )
    if job.training.kl_coefficient and job.team.adapter == "full":
        raise ConfigError(
            f"{where}: training.kl_coefficient is {job.training.kl_coefficient} with team.adapter full; the reference "
            "is the base with its adapters off, which whole copies do not keep: use team.adapter lora or set it to 0"
        )


def _check_together(job: Job, where: str) -> None:
    """What runs of one process cannot share."""
    kind = job.training.together
    if kind == "none":
        return
    sizes = automatic(job)
    obstacles = {
        f"{' and '.join(sizes)} auto: a run does not know what the others of its process will need; give numbers": (
            bool(sizes)
        ),
        "team.adapter full: whole copies share no base; use team.adapter lora": job.team.adapter == "full",
        "rollout.backend vllm: its engines serve one run; use rollout.backend transformers": (
            job.rollout.backend == "vllm"
        ),
        "report.tracker wandb: it follows one run of a process; use tensorboard or none": job.tracker == "wandb",
    }
    for words, there in obstacles.items():
        if there:
            raise ConfigError(f"{where}: training.together is {kind} with {words}, or set training.together to none")


def check_joined(domain: str, jobs: Sequence[Job]) -> None:
    """Refuse methods of a domain that say different things of what is trained in one process, or that cannot be.

    Raises:
        ConfigError: names the domain, two methods and what to set.
    """
    trained = [job for job in jobs if job.method in METHODS]
    for job in trained[1:]:
        first, kind, other = trained[0], trained[0].training.together, job.training.together
        if other != kind:
            raise ConfigError(
                f"{domain}: training.together is {kind} for {first.method} and {other} for {job.method}; set it under "
                "defaults or for the whole domain"
            )
        for key in ("precision", "tf32", "deterministic"):
            one, two = getattr(first.team, key), getattr(job.team, key)
            if kind in ("methods", "all") and one != two:
                raise ConfigError(
                    f"{domain}: training.together is {kind}, and team.{key} is {one} for {first.method} and {two} for "
                    f"{job.method}; a process has one: make them the same, or set training.together to seeds or none"
                )


def _check_early_stop(job: Job, where: str) -> None:
    """Refuse a threshold that no reward of the domain passes, or that every one passes."""
    stop, scale, shift = job.rollout.early_stop, job.rollout.reward_scale, job.rollout.reward_shift
    if stop is None:
        return
    bounds = reward_bounds(job.domain, job.options, job.profile, job.team.num_agents)
    lowest, best = sorted(scale * reward + shift for reward in bounds)
    if lowest <= stop < best:
        return
    raise ConfigError(
        f"{where}: rollout.early_stop {stop:g} is {'never' if stop >= best else 'always'} passed: under profile "
        f"{job.profile} rewards lie between {bounds[0]:g} and {bounds[1]:g}, after reward_scale "
        f"{scale:g} and reward_shift {shift:g} between {lowest:g} and {best:g}; set reward_shift to null (minus the "
        "best reward), or early_stop to null to play all turns"
    )
