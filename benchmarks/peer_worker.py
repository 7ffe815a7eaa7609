"""Train with the released library (comlrl) and print one JSON line; runs in the peer's environment only.

Its own trainers with its own defaults, but for what makes the two sides comparable: turns, learning rate,
temperature, top-p, response length, K and samples per update are given; evaluation and tracking are off.
Every agent and critic is a full copy of the model, which is the only way this library trains.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
import types
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if importlib.util.find_spec("wandb") is None:  # comlrl imports it also where, as here, nothing is tracked
    sys.modules["wandb"] = types.ModuleType("wandb")

import protocol  # noqa: E402  (the environment must be set before the library is imported)
import torch  # noqa: E402
from comlrl.trainers.actor_critic import IACConfig, IACTrainer, MAACConfig, MAACTrainer  # noqa: E402
from comlrl.trainers.reinforce import MAGRPOConfig, MAGRPOTrainer  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from collm.domains.base import Exchange, Step  # noqa: E402  (our simulators need the standard library only)
from collm.domains.building.str_build import StrBuild  # noqa: E402

AGENTS = 2  # both sides train a team of two
TOKEN_COUNT = (
    "rows returned by each agent's generate(), after the prompt, up to and including the first end token; "
    "padding behind it is not counted"
)
KINDS = {
    "collm_cc": (MAACTrainer, MAACConfig),
    "collm_dc": (IACTrainer, IACConfig),
    "magrpo": (MAGRPOTrainer, MAGRPOConfig),
}


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the library's config; its buffers count nodes (Monte Carlo: of K samples)."""
    turns = protocol.TURNS[arguments.game]
    common = {
        "num_agents": AGENTS,
        "num_turns": turns,
        "num_train_epochs": 1,
        "eval_interval": 0,
        "num_generations": arguments.generations,
        "max_new_tokens": arguments.new_tokens,
        "agent_learning_rate": arguments.learning_rate,
        "temperature": arguments.temperature,
        "top_p": arguments.top_p,
        "rollout_buffer_size": arguments.buffer * turns,
        "early_termination_threshold": None,
        "external_prompt_passthrough": True,
    }
    if arguments.method == "magrpo":
        return common
    critic = {"critic_learning_rate": arguments.learning_rate}
    return {**common, **critic, **({"use_separate_critic": True} if arguments.method == "collm_dc" else {})}


class PromptFile:
    """One turn: the texts of the prompt file and the cheap reward."""

    def __init__(self, arguments: argparse.Namespace, meter: protocol.Meter):
        self.meter = meter
        self.rows = protocol.read_tasks(arguments.prompts, protocol.task_count(arguments))

    def prompt(self, agent: int, item: dict[str, Any]) -> str:
        """The agent's text."""
        return item["prompts"][agent]

    def reward(self, first: list[str], second: list[str]) -> list[float]:
        """One reward per joint sample."""
        return [self.meter.reward(one, two) for one, two in zip(first, second, strict=True)]

    transition = None


class Builders:
    """StrBuild's turns: the same prompts, simulator and feedback as on our side, one episode after another."""

    def __init__(self, arguments: argparse.Namespace, meter: protocol.Meter):
        self.meter, self.domain = meter, StrBuild({}, "paper", AGENTS)
        rows = self.domain.embedded(0)["paper"][: protocol.task_count(arguments)]
        self.tasks = [self.domain.task(row, index) for index, row in enumerate(rows)]
        self.rows = [{"index": index} for index in range(len(self.tasks))]
        self.steps: list[Step] = []
        self.index = 0

    def prompt(self, agent: int, item: dict[str, Any]) -> str:
        """What the agent is told first; a new episode begins."""
        self.index, self.steps = item["index"], []
        return self._text(agent, [])

    def _text(self, agent: int, history: Sequence[Exchange]) -> str:
        feedback = self.steps[-1].feedback[agent] if self.steps else None
        messages = self.domain.observe(self.tasks[self.index], agent, len(self.steps), history, feedback)
        return "\n\n".join(message["content"] for message in messages)

    def reward(self, first: list[str], second: list[str]) -> list[float]:
        """The reward of one joint action, which is played."""
        task = self.tasks[self.index]
        world = self.steps[-1].world if self.steps else self.domain.start(task, 0)
        step = self.domain.step(task, len(self.steps), (first[0], second[0]), world)
        self.steps.append(step)
        return [self.meter.note(step.reward)]

    def transition(self, agent_completions: Sequence[str], **_: Any) -> list[str]:
        """Prompts of the next turn; an agent's holds its own last response."""
        return [self._text(agent, [Exchange((), response)]) for agent, response in enumerate(agent_completions)]


GAMES = {"prompts": PromptFile, "str_build": Builders}


def make_trainer(arguments: argparse.Namespace, meter: protocol.Meter) -> Any:
    """Build the library's trainer: an fp32 copy of the model per agent and critic, with optimisers."""
    game = GAMES[arguments.game](arguments, meter)
    trainer_class, config_class = KINDS[arguments.method]
    extra = {"num_agents": AGENTS} if arguments.method == "magrpo" else {"critic_model": str(arguments.model)}
    return trainer_class(
        agent_model=str(arguments.model),
        tokenizer=AutoTokenizer.from_pretrained(arguments.model),
        reward_func=lambda first, second: game.reward(first, second),
        formatters=[functools.partial(game.prompt, agent) for agent in range(AGENTS)],
        args=config_class(**settings(arguments)),
        train_dataset=Dataset.from_list(game.rows),
        model_config={"torch_dtype": torch.float32},
        external_transition=game.transition,
        **extra,
    )


def record_generations(trainer: Any) -> list[tuple[int, torch.Tensor]]:
    """Wrap every agent's generate() so that (prompt length, sequences) of each call is kept for counting."""
    kept: list[tuple[int, torch.Tensor]] = []
    for agent in trainer.agents:
        model = getattr(agent, "model", agent) if hasattr(agent, "value_head") else agent
        inner = model.generate

        def generate(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            kept.append((kwargs["input_ids"].shape[1], getattr(output, "sequences", output)))
            return output

        model.generate = generate
    return kept


def count_updates(trainer: Any) -> Counter[str]:
    """Count optimiser steps by member name while training runs."""
    steps: Counter[str] = Counter()
    if hasattr(trainer, "optimizers"):
        members = {f"agent_{i}": optimiser for i, optimiser in enumerate(trainer.optimizers)}
    else:
        members = {f"agent_{i}": optimiser for i, optimiser in enumerate(trainer.agent_optimizers)}
        critics = getattr(trainer, "critic_optimizers", None) or [trainer.critic_optimizer]
        members |= {f"critic_{i}": optimiser for i, optimiser in enumerate(critics)}
    for name, optimiser in members.items():
        optimiser.register_step_post_hook(lambda *_, name=name: steps.update([name]))
    return steps


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, train, count: the result line as a dict."""
    meter = protocol.Meter()
    trainer = make_trainer(arguments, meter)
    dtypes = {parameter.dtype for agent in trainer.agents for parameter in agent.parameters()}
    if dtypes != {torch.float32}:
        raise TypeError(f"agents hold {dtypes}, float32 is needed; export {arguments.model} again in fp32")
    generations, updates = record_generations(trainer), count_updates(trainer)
    with meter.training():
        trainer.train()
    ends = {trainer.tokenizer.eos_token_id}
    counts = [protocol.count_tokens(rows.tolist(), length, ends) for length, rows in generations]
    responses, tokens = (sum(column) for column in zip(*counts, strict=True))
    if responses != AGENTS * arguments.samples or trainer.env_step != arguments.samples:
        raise ValueError(
            f"{responses} responses and {trainer.env_step} joint samples seen, asked for {arguments.samples}"
        )
    return protocol.result(
        arguments,
        meter,
        side="peer",
        adapter="full",
        generated_tokens=tokens,
        responses=responses,
        token_count=TOKEN_COUNT,
        updates=dict(updates),
        semantics="released",
        precision="fp32 copies, fp32 products",
        versions=protocol.versions("comlrl", "torch", "transformers"),
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, train, print the line."""
    arguments = protocol.argument_parser(__doc__.splitlines()[0]).parse_args(argv)
    arguments.model = Path(arguments.model).resolve()
    protocol.check(arguments)
    return protocol.serve(lambda: work(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
