"""The settings of one job as frozen dataclasses; `collm.config.resolve` makes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collm.config.schema import known


@dataclasses.dataclass(frozen=True)
class TeamConfig:
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
class RolloutConfig:
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
class WarmStartConfig:
    """Supervised fine-tuning before reinforcement learning."""

    enabled: bool
    source: str  # demonstrations | best_of_n
    noise: float
    per_task: int
    epochs: int
    batch_size: int
    learning_rate: float
    best_of: int
    max_tasks: int | None


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The reinforcement learner."""

    epochs: int
    max_updates: int | None
    tasks_per_rollout: int
    minibatch_size: int  # joint samples per optimiser step
    update_epochs: int
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
class EvaluationConfig:
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
    team: TeamConfig
    rollout: RolloutConfig
    warm_start: WarmStartConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    raw: Mapping[str, Any] = dataclasses.field(repr=False)


def model_of(job: Job, name: str) -> Mapping[str, Any]:
    """Specification of one of the job's models; raises ConfigError for a name that the job does not use."""
    known("model", name, job.models)
    return job.models[name]


def digest(value: Any) -> str:
    """Short hash of any JSON value, for rerun triggers and fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
