"""What a stage depends on, as dotted keys of a job's resolved settings, and which keys change no result.

A job runs again only if a setting changes that its stage depends on; everything else reaches it through its input
files. All functions are pure: they take resolved settings (`resolve.resolve_settings`) and return plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from collm.common.mappings import flatten
from collm.domains.options import COMMON

Stage = Literal["data", "scratch_model", "warm_start", "train", "evaluate"]

# Blocks or keys, by stage; a block stands for all its keys.
PLAYED = ("profile", "semantics", "options", "team", "rollout")
WATCHED = ("evaluation.tasks_during", "evaluation.samples_during", "evaluation.examples")
DEPENDS: dict[Stage, tuple[str, ...]] = {
    "data": ("data", "options", "profile", "team.num_agents"),
    "scratch_model": ("revision", "options", "team.num_agents"),
    "warm_start": ("revision", *PLAYED, *WATCHED, "warm_start"),
    "train": ("revision", *PLAYED, *WATCHED, "evaluation.every", "training", "warm_start.enabled"),
    "evaluate": (*PLAYED, "evaluation.samples", "evaluation.shown_samples", "evaluation.latency_tasks"),
}

# Keys that change no result: how much of a machine is used, and what is kept on the way.
MEMORY_KNOBS = (
    "rollout.max_rows",
    "rollout.cache",
    "rollout.vllm_memory",
    "training.micro_batch_tokens",
    "training.gradient_checkpointing",
    "training.offload_optimiser",
    "training.together",
    "team.deterministic",
)
BOOKKEEPING = ("training.checkpoint_every", "training.keep_checkpoints")
# What a checkpoint's fingerprint leaves out: a run goes on after one of these (or a key below it) has changed.
KNOBS = (
    "configuration",
    "tracker",
    "sandbox",
    "plugins",
    "fixed",
    *MEMORY_KNOBS,
    *BOOKKEEPING,
    "evaluation.latency_tasks",
    "evaluation.shown_samples",
)
# Keys of `PLAYED` that mean something in training alone.
OF_TRAINING = ("team.critic", "rollout.generations", "rollout.discount", "rollout.joint_mode", "rollout.reward")
# Options that change what is paid and neither rows nor prompts; see `collm.domains.reward`.
PAID = tuple(f"options.{name}" for name in COMMON)
# Keys, with those below them, inside a stage's blocks that do not change what it computes.
NEUTRAL: dict[Stage, frozenset[str]] = {
    "data": frozenset(PAID),
    "scratch_model": frozenset(PAID),
    "warm_start": frozenset((*MEMORY_KNOBS, *OF_TRAINING, "warm_start.enabled")),
    "train": frozenset((*MEMORY_KNOBS, *BOOKKEEPING)),
    "evaluate": frozenset((*MEMORY_KNOBS, *OF_TRAINING, "team.states")),
}


def stage_settings(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `stage` depends on, with dotted keys: Snakemake compares them and names the one that changed.

    Args:
        settings: resolved settings of the job.
    """
    return {key: value for key, value in flatten(settings).items() if _depends(stage, key)}


def model_settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a prepared model depends on: its specification with dotted keys, without where a run puts it."""
    return {key: value for key, value in flatten(spec).items() if key != "device_map"}


def scratch_model_settings(settings: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a model made from scratch depends on: its specification, and what the training text is made of."""
    return {**stage_settings("scratch_model", settings), **model_settings(spec)}


def report_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tables and figures depend on beside result files, from a merged configuration."""
    return {key: config["report"][key] for key in ("estimator", "resamples")}


def run_settings(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the adapters of a run depend on: settings of their stage, of the data, and of the models below them."""
    own = {**stage_settings("data", settings), **stage_settings(stage, settings)}
    for name, spec in settings["models"].items():
        own |= {f"models.{name}.{key}": value for key, value in model_settings(spec).items()}
    return own


def _depends(stage: Stage, key: str) -> bool:
    """Whether a dotted key is in one of the stage's blocks and counts there."""
    blocks = DEPENDS[stage]
    return _within(key, blocks) and not _within(key, NEUTRAL[stage])


def _within(key: str, blocks: Iterable[str]) -> bool:
    """Whether a key is one of the blocks or below one."""
    return any(key == block or key.startswith(f"{block}.") for block in blocks)
