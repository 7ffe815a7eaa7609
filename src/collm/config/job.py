"""The settings of one job as frozen dataclasses; `collm.config.resolve` makes them.

Every setting of a job is declared here, with its type, its range and one line about it; `collm.config.schema` makes the
schema of these classes and declares models, sources of data and the report. Default values stand in config/config.yaml
alone; options of domains are declared by the domains, with their defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collm import domains
from collm.config.messages import known
from collm.config.setting import AUTO, numbered, setting
from collm.domains.base import Domain

SOURCES = ("embedded", "path", "hub")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters; `TeamConfig.lora` is a mapping of these keys."""

    rank: int = setting("Rank r.", minimum=1)
    alpha: float = setting("Scale numerator; the update is scaled by alpha / rank.", above=0)
    targets: str | tuple[str, ...] = setting("all-linear, or module names.", entries=str)


@dataclasses.dataclass(frozen=True)
class TeamConfig:
    """Agents, critics and the bases that they stand on."""

    num_agents: int = setting("Number of agents n.", minimum=1)
    agents: tuple[str, ...] = setting("Model name for all agents, or one per agent.", entries=str)  # resolved: each
    critic: str = setting("Model that critics stand on.")
    adapter: str = setting("Adapters on a shared frozen base or whole models.", choices=("lora", "full"))
    adapters: str = setting(
        "An adapter (or whole model) of its own for each agent, or one for all.", choices=("per_agent", "shared")
    )
    lora: Mapping[str, Any] = setting("Low-rank adapters.", block=LoraConfig)
    dtype: str = setting("Storage of bases, and of whole copies.", choices=("float32", "bfloat16"))
    states: str = setting("Optimiser states of whole copies in bfloat16.", choices=("float32", "bfloat16"))
    quantization: str = setting("Storage of a frozen base's linear maps in 4 bits.", choices=("none", "nf4"))
    precision: str = setting("Autocast precision.", choices=("fp32", "bf16"))
    tf32: bool = setting("Products of float32 numbers in TF32 on a GPU.")
    deterministic: bool = setting("Only algorithms that give the same bits again.")
    chat_template: bool = setting("Render prompts with the tokenizer's chat template.")
    chat_template_arguments: Mapping[str, Any] = setting("What the chat template is given, by name.", mapping=True)
    max_prompt_tokens: int | None = setting("Longest prompt; null means what the context leaves.", minimum=16)

    @property
    def one_for_all(self) -> bool:
        """Whether several agents share what is trained."""
        return self.adapters == "shared" and self.num_agents > 1

    @property
    def keeps_masters(self) -> bool:
        """Whether optimisers add steps up on float32 copies of bfloat16 weights."""
        return self.adapter == "full" and self.dtype == "bfloat16" and self.states == "float32"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which rows train and test; `Job.data` is a mapping of these keys and of those of `schema.SourceConfig`."""

    source: str | None = setting("This domain's own source; null means data.source.", choices=SOURCES)
    train: str | None = setting("Slices like split[a:b] joined by +.")
    test: str | None = setting("Slices like split[a:b] joined by +.")
    revision: str | None = setting("Commit of the hub data set.")


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """How episodes are played and responses sampled."""

    turns: int = setting("Turns H.", minimum=1)
    generations: int = setting("Responses K per agent and prompt.", minimum=1)
    max_new_tokens: int = setting("Longest response in tokens.", minimum=1)
    temperature: float = setting("Sampling temperature.", above=0)
    top_p: float = setting("Nucleus mass.", above=0, maximum=1)
    top_k: int | None = setting("Most probable tokens kept.", minimum=1)
    discount: float = setting("Discount gamma over turns.", minimum=0, maximum=1)
    reward: str = setting("Which turns of an episode are paid.", choices=("every_turn", "last_turn"))
    reward_scale: float = setting("Reward scale.")
    reward_shift: float = setting("Reward shift; null means minus the best reward.", nullable=True)
    early_stop: float | None = setting("Shifted reward above which an episode stops.")
    decode: str = setting("Agents of one base in one batch or in turn.", choices=("mixed", "sequential"))
    max_rows: int = setting("Rows decoded at once; auto: what fits a GPU.", minimum=1, auto=256)
    cache: str = setting(
        "Cache of decoding: one that grows, fixed shapes, or by the device.", choices=("auto", "growing", "static")
    )
    joint_mode: str = setting("K joint actions per node, or all K to the power of n.", choices=("aligned", "cross"))
    backend: str = setting("What samples responses.", choices=("transformers", "vllm"))
    vllm_memory: float = setting("Share of a GPU's memory per base that vLLM takes.", above=0, below=1)


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
    """Supervised fine-tuning before reinforcement learning."""

    enabled: bool = setting("Whether agents are fine-tuned first.")
    source: str = setting("Where targets come from.", choices=("demonstrations", "best_of_n"))
    noise: float = setting("Degradation of demonstrations.", minimum=0, maximum=1)
    per_task: int = setting("Demonstrations per task and agent.", minimum=1)
    epochs: int = setting("Passes over the demonstrations.", minimum=1)
    batch_size: int = setting("Demonstrations per step.", minimum=1)
    learning_rate: float = setting("Peak learning rate.", above=0)
    best_of: int = setting("Joint samples per task for best_of_n.", minimum=2)
    max_tasks: int | None = setting("Training tasks used.", minimum=1)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The reinforcement learner."""

    epochs: int = setting("Passes over training tasks.", minimum=1)
    max_updates: int | None = setting("Updates after which training ends.", minimum=1)
    tasks_per_rollout: int = setting("Tasks rolled out with one policy.", minimum=1)
    minibatch_size: int = setting("Joint samples per optimiser step.", minimum=1)
    update_epochs: int = setting("Passes E over a rollout.", minimum=1)
    shuffle: bool = setting("Shuffle tasks every epoch.")
    agent_learning_rate: float | tuple[float, ...] = setting(
        "Learning rate of all agents, or one per agent.", above=0, entries=float
    )
    critic_learning_rate: float = setting("Learning rate of critics.", above=0)
    weight_decay: float = setting("AdamW weight decay.", minimum=0)
    gradient_clip: float | None = setting("Largest gradient norm.", above=0)
    value_loss_coefficient: float = setting("Factor of the value loss.", above=0)
    normalize_advantage: bool = setting("Normalise advantages.")
    advantage_floor: float = setting(
        "Least deviation of returns, as a share of the reward's range.", minimum=0, below=1
    )
    advantage_clip: float | None = setting("Clamp of advantages.", above=0)
    score: str = setting(
        "Policy that log-probabilities are of: the softmax, or as sampled.", choices=("raw", "sampled")
    )
    global_information: bool = setting("Critics see m_t.")
    micro_batch_tokens: int = setting(
        "Padded tokens per forward and backward pass; auto: what fits a GPU.", minimum=16, auto=8192
    )
    together: str = setting(
        "Runs of a benchmark that share a process and are decoded together.",
        choices=("none", "seeds", "methods", "all"),
    )
    checkpoint_every: int = setting("Rollouts between checkpoints.", minimum=1)
    keep_checkpoints: int = setting("Checkpoints kept.", minimum=2)
    critic_type: str = setting("Critics value histories or joint actions.", choices=("v", "q"))
    td_lambda: float = setting("Lambda of the critics' targets: 0 is TD(0), 1 Monte Carlo.", minimum=0, maximum=1)
    lambda_follows_critic: bool = setting("Lambda nearer 1 as long as critics explain little.")
    critic_steps: int = setting("Critic steps per policy step.", minimum=1)
    critic_warm_up: int = setting("First rollouts that only critics learn from.", minimum=0)
    shared_backbone: bool = setting("Local critics are value heads on their agents.")
    value_clip: float | None = setting("Largest change of a value that is rewarded.", above=0)
    ratio_clip: float | None = setting("Clip of the importance ratio around 1.", above=0, below=1)
    importance_ratio: str = setting(
        "Ratio of whole responses, or its geometric mean per token.", choices=("product", "geometric")
    )
    loss_per: str = setting(
        "What counts the same in the policy loss, however long.", choices=("sequence", "response", "token")
    )
    negative_weight: float = setting("Factor of advantages below 0.", above=0, maximum=1)
    divergence_limit: float | None = setting("Nats per token from the rollout's policy that end its passes.", above=0)
    rate_warm_up: int = setting("Steps over which learning rates rise.", minimum=0)
    rate_decay: str = setting("How learning rates fall to a twentieth.", choices=("none", "linear", "cosine"))
    kl_coefficient: float = setting("Weight of the divergence from the reference.", minimum=0)
    kl_reference: str = setting("Policy to stay close to: that of the start, or the base.", choices=("start", "base"))
    entropy_coefficient: float = setting("Weight of the entropy bonus.", minimum=0)
    entropy_floor: float | None = setting("Mean entropy per token below which it is pushed up.", above=0)
    entropy_ceiling: float | None = setting("Mean entropy per token above which it is pushed down.", above=0)
    entropy_bound_coefficient: float = setting("Weight of entropy outside of its bounds.", above=0)
    gradient_checkpointing: bool = setting("Compute layers again in the backward pass.")
    offload_optimiser: bool = setting("Optimiser states live in main memory.")

    def agent_rate(self, agent: int) -> float:
        """Learning rate of one agent."""
        rates = self.agent_learning_rate
        return rates[agent] if isinstance(rates, tuple) else rates


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The evaluation protocol, the same for every method."""

    samples: int = setting("Samples per test task.", minimum=1)
    every: int | None = setting("Rollouts between evaluations.", minimum=1)
    samples_during: int = setting("Samples per task while training.", minimum=1)
    tasks_during: int | None = setting("Test tasks used while training.", minimum=1)
    examples: int = setting("Episodes kept whole at each evaluation while training.", minimum=0)
    latency_tasks: int = setting("Tasks timed one by one.", minimum=0)
    shown_samples: int | None = setting(
        "Samples of each test task of which samples.jsonl also holds what agents were shown and told; null: all.",
        minimum=0,
    )


# The blocks of settings under `defaults`, `domain.<name>` and `methods.<name>`.
BLOCKS: Mapping[str, type] = {
    "team": TeamConfig,
    "data": DataConfig,
    "rollout": RolloutConfig,
    "warm_start": WarmStartConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
}


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


def build_domain(job: Job) -> Domain:
    """The domain of a job, with its options, its profile and its number of agents.

    Raises:
        ConfigError: an option or a number of agents that the domain refuses.
    """
    return domains.build(job.domain, job.options, job.profile, job.team.num_agents)


def model_of(job: Job, name: str) -> Mapping[str, Any]:
    """Specification of one of the job's models; raises ConfigError for a name that the job does not use."""
    known("model", name, job.models)
    model: Mapping[str, Any] = job.models[name]
    return model


def automatic(job: Job) -> tuple[str, ...]:
    """Dotted keys of the job that are "auto" in its files; until `sized` they have the numbers of their declaration."""
    automatic = []
    for block in ("rollout", "training"):
        numbers = numbered(BLOCKS[block], job.raw[block])
        automatic += [f"{block}.{key}" for key, value in job.raw[block].items() if value == AUTO != numbers[key]]
    return tuple(automatic)


def sized(job: Job, sizes: Mapping[str, int]) -> Job:
    """The job with other numbers for some dotted keys of `rollout` and `training`; `raw` stays as files have it."""
    new: dict[str, dict[str, int]] = {"rollout": {}, "training": {}}
    for name, size in sizes.items():
        block, key = name.split(".")
        new[block][key] = size
    rollout, training = (dataclasses.replace(getattr(job, block), **own) for block, own in new.items())
    return dataclasses.replace(job, rollout=rollout, training=training)


def digest(value: Any) -> str:
    """Short hash of any JSON value, for rerun triggers and fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
