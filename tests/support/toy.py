"""A domain of a few words whose reward is a checksum of the texts, and settings for teams small enough for tests."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch

from collm.common.seeds import derive
from collm.config.job import RolloutConfig, TeamConfig, TrainingConfig
from collm.domains.base import Demonstration, Domain, Metric, Step, Task
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.methods.registry import METHODS
from collm.training.learner import Context, Learner
from collm.training.rollout import Node, Rollout

CRITICS = {name: method.critics for name, method in METHODS.items()}


class NoData(Domain):
    """A domain without rows: its tasks are made by the test that uses it."""

    licence = "MIT"
    metrics = (Metric("score", "Score", "", True),)
    slices = {}
    team_sizes = None

    def embedded(self, seed):
        return {}

    def read(self, folder, seed=0):
        return {}

    def hub_rows(self, split, rows):
        return []

    def demonstrations(self, task, rng, noise):
        return []

    def corpus(self, task, rng):
        return []

    def score_case(self, inputs):
        return 0.0, {}


class Toy(NoData):
    """Every agent repeats its own last response to itself; the reward lies in [0, 2)."""

    name = "toy"
    licence = "MIT"
    metrics = (Metric("score", "Score", "", True),)
    roles = ("first", "second")
    slices = {"embedded": ("train[0:8]", "test[0:4]")}
    max_reward = 2.0
    min_reward = 0.0
    team_sizes = None

    def task(self, row, index):
        return task(index)

    def key(self, task):
        return task.id

    def observe(self, task, agent, turn, history, feedback):
        text = f"word {task.fields['word']}, agent {agent}, turn {turn}"
        if history:
            text += f", told {feedback}, said {history[-1].response}"
        return [{"role": "user", "content": text}]

    def start(self, task, seed):
        return {"turns": 0}

    def step(self, task, turn, joint_action, world):
        texts = self.check_joint_action(joint_action)
        parts = {str(agent): checksum(task.id, text) for agent, text in enumerate(texts)}
        reward = sum(parts.values())
        feedback = tuple(round(part, 2) for part in parts.values())
        return Step(parts, reward, {"score": reward}, feedback, {"turns": turn + 1}, {"texts": texts})

    def demonstrations(self, task, rng, noise):
        return [
            Demonstration(task.id, agent, 0, tuple(self.observe(task, agent, 0, (), None)), "red " * (2 + agent))
            for agent in range(self.num_agents)
        ]

    def corpus(self, task, rng):
        return [task.fields["word"]]

    def score_case(self, inputs):
        return 0.0, {}


def checksum(*texts: str) -> float:
    """A number in [0, 1) that depends on every character."""
    return zlib.crc32("|".join(texts).encode()) % 1000 / 1000


WORDS = ("red", "green blue", "a much longer word to say", "one two three", "x", "yellow and black", "sea", "tree top")


def task(index: int) -> Task:
    """Task number `index`; lengths of their prompts differ."""
    return Task(f"toy-{index}", "toy", {"word": WORDS[index % len(WORDS)]})


def tasks(count: int) -> list[Task]:
    """The first `count` tasks."""
    return [task(index) for index in range(count)]


def team_settings(**changes) -> TeamConfig:
    """Two LoRA agents and critics on one base named `tiny`, in float32."""
    plain = {
        "num_agents": 2,
        "agents": ("tiny", "tiny"),
        "critic": "tiny",
        "adapter": "lora",
        "adapters": "per_agent",
        "lora": {"rank": 4, "alpha": 8, "targets": "all-linear"},
        "dtype": "float32",
        "states": "float32",
        "quantization": "none",
        "precision": "fp32",
        "tf32": False,
        "deterministic": False,
        "chat_template": True,
        "chat_template_arguments": {},
        "max_prompt_tokens": None,
    }
    return TeamConfig(**{**plain, **changes})


def rollout_settings(**changes) -> RolloutConfig:
    """One turn, one response, untempered."""
    plain = {
        "turns": 1,
        "generations": 1,
        "max_new_tokens": 6,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": None,
        "discount": 0.9,
        "reward": "every_turn",
        "reward_scale": 1.0,
        "reward_shift": 0.0,
        "early_stop": None,
        "decode": "mixed",
        "max_rows": 256,
        "joint_mode": "aligned",
        "cache": "growing",
        "backend": "transformers",
        "vllm_memory": 0.3,
    }
    return RolloutConfig(**{**plain, **changes})


def training_settings(**changes) -> TrainingConfig:
    """Minibatches of two joint samples, no clipping."""
    plain = {
        "epochs": 1,
        "max_updates": None,
        "tasks_per_rollout": 4,
        "minibatch_size": 2,
        "update_epochs": 1,
        "shuffle": True,
        "agent_learning_rate": 1e-3,
        "critic_learning_rate": 1e-3,
        "weight_decay": 0.0,
        "gradient_clip": None,
        "value_loss_coefficient": 0.6,
        "normalize_advantage": True,
        "advantage_floor": 0.0,
        "advantage_clip": None,
        "score": "raw",
        "global_information": True,
        "micro_batch_tokens": 4096,
        "together": "none",
        "checkpoint_every": 1,
        "keep_checkpoints": 2,
        "critic_type": "v",
        "td_lambda": 0.0,
        "lambda_follows_critic": False,
        "critic_steps": 1,
        "critic_warm_up": 0,
        "shared_backbone": False,
        "value_clip": None,
        "ratio_clip": None,
        "kl_coefficient": 0.0,
        "kl_reference": "start",
        "importance_ratio": "product",
        "loss_per": "sequence",
        "negative_weight": 1.0,
        "divergence_limit": None,
        "rate_warm_up": 0,
        "rate_decay": "none",
        "entropy_coefficient": 0.0,
        "entropy_floor": None,
        "entropy_ceiling": None,
        "entropy_bound_coefficient": 0.1,
        "gradient_checkpointing": False,
        "offload_optimiser": False,
    }
    return TrainingConfig(**{**plain, **changes})


def make_team(models: Path, critics: str | None = None, seed: int = 0, randomise: bool = True, **changes) -> Team:
    """A team on the models below `models`; LoRA's zero halves are randomised so that agents differ from their base."""
    settings = team_settings(**changes)
    folders = {name: models / name for name in {*settings.agents, settings.critic}}
    team = Team(settings, folders, seed, critics)
    if randomise:
        draw = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for member in team.members:
                for name, part in member.parameters():
                    if "lora_B" in name:
                        part.copy_(0.05 * torch.randn(part.shape, generator=draw))
    return team


def play(team: Team, count: int = 2, seed: int = 0, node_stop: bool = False, **changes) -> list[Node]:
    """All nodes of `count` toy episodes."""
    rollout = Rollout(team, Toy({}, num_agents=len(team.agents)), rollout_settings(**changes), node_stop)
    seeds = [derive("episode", seed, index) for index in range(count)]
    return rollout.play(tasks(count), seeds).nodes()


def make_learner(
    team: Team,
    method: str,
    folder: Path,
    semantics: str = "paper",
    turns: int = 1,
    sampling: Sampling | None = None,
    **changes,
) -> Learner:
    """A learner of `method` whose evidence goes to `folder`."""
    context = Context(0.9, turns, Toy.max_reward, Toy.max_reward - Toy.min_reward, sampling)
    return Learner(team, METHODS[method], training_settings(**changes), semantics, context, folder / "nonfinite.json")


def update(
    learner: Learner, nodes: Sequence[Node], seed: int = 0, last: bool = False, more: bool = False
) -> list[dict[str, float]]:
    """Figures of all optimiser steps of one update."""
    return list(learner.update(nodes, random.Random(seed), last=last, more=more))


def numbers(team: Team) -> dict[str, torch.Tensor]:
    """Copies of all trained numbers, member by member as one vector."""
    return {m.name: torch.cat([p.detach().flatten().clone() for _, p in m.parameters()]) for m in team.members}


def with_plain_descent(learner, rate=1.0):
    """Steps of minus `rate` times the gradient, so that a step shows the gradient."""
    for member in learner.team.members:
        parameters = [part for _, part in member.parameters()]
        learner.optimisers[member.name] = torch.optim.SGD(parameters, lr=rate)
    return learner


def critic_ids(team, node, method, agent, turns, information=True):
    """Token ids of the text that a critic has to read, written down once more.

    Without `information` by the released code: the ids of the agent itself, or the joint text with chat marks.
    """
    if not information and method != "collm_cc":
        return list(node.prompts[agent])
    prompts = [messages[0]["content"] for messages in node.observations]
    if not information and team.settings.chat_template:
        render = team.agents[0].base.tokenizer.apply_chat_template
        prompts = [render(list(m), tokenize=False, add_generation_prompt=True) for m in node.observations]
    joint = "\n\n".join(f"[Agent {agent}] {prompt}" for agent, prompt in enumerate(prompts))
    told = "no reward so far" if node.turn == 0 else f"a last reward of {node.last_reward:.2f}"
    m_t = f"Turn {node.turn + 1} of {turns}. The team has {told}; the best possible is 2.00."
    text = joint if method == "collm_cc" else prompts[agent]
    return team.agents[0].base.tokenizer(text + (f"\n\n{m_t}" if information else ""))["input_ids"]


def normalised(values):
    """(v - mean) / population deviation, in plain Python."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / max(deviation, 1e-6) for v in values]


def setting(models_folder, tmp_path, method, semantics="paper", turns=1, team_changes=None, **changes):
    """A team with the critics of `method`, and its learner."""
    shared = changes.get("shared_backbone") and CRITICS[method] == "local"
    team = make_team(models_folder, "shared" if shared else CRITICS[method], **(team_changes or {}))
    return team, make_learner(team, method, tmp_path, semantics, turns, **changes)
