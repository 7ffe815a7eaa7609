"""Supervised warm-start: every agent's adapter learns to answer its own prompts from demonstrations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from collm.common.errors import ConfigError, NonFiniteLoss
from collm.common.seeds import derive
from collm.config.job import WarmStartConfig
from collm.domains.base import Demonstration, Domain, Task
from collm.llm.member import Member
from collm.llm.team import Team
from collm.training.optimisers import optimiser
from collm.training.rollout import Rollout


@dataclass(frozen=True)
class Example:
    """Prompt and response (with its end token) of one agent, as token ids."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


def demonstrations(
    domain: Domain, tasks: Sequence[Task], per_task: int, noise: float, seed: int
) -> list[Demonstration]:
    """The domain's own demonstrations, `per_task` draws of every task; they see training tasks only.

    Args:
        noise: in [0, 1], how far the demonstrations are degraded (0: best play).
        seed: of the run; the draws of a task depend on it and on the task alone.
    Raises:
        ConfigError: no task has any (a coding set without solutions, say).
    """
    drawn: list[Demonstration] = []
    for task in tasks:
        for draw in range(per_task):
            drawn += domain.demonstrations(task, random.Random(derive("demonstration", seed, task.id, draw)), noise)
    if not drawn:
        raise ConfigError(
            f"{domain.name}: none of the {len(tasks)} training tasks has a demonstration; "
            "set warm_start.source to best_of_n or warm_start.enabled to false"
        )
    return drawn


def best_of_n(rollout: Rollout, tasks: Sequence[Task], best_of: int, seed: int) -> list[Demonstration]:
    """The team's own best joint answer to every task out of `best_of`, where it beats the task's mean.

    Args:
        rollout: plays episodes of one turn.
    Raises:
        ConfigError: no task has a joint answer better than its mean; nothing could be learnt.
    """
    chosen = []
    seeds = [derive("best_of_n", seed, task.id) for task in tasks]
    for root in rollout.play(tasks, seeds, generations=best_of).roots:
        best = max(range(best_of), key=lambda j: root.rewards[j])
        if root.rewards[best] <= sum(root.rewards) / best_of:
            continue
        for agent, messages in enumerate(root.observations):
            text = root.responses[agent][root.actions[best][agent]].text
            chosen.append(Demonstration(root.task.id, agent, 0, tuple(messages), text))
    if not chosen:
        raise ConfigError(
            f"warm_start.source best_of_n found no answer better than its task's mean over {len(tasks)} tasks; "
            "raise warm_start.best_of, or use demonstrations"
        )
    return chosen


def examples(team: Team, demonstrated: Sequence[Demonstration], reserve: int) -> list[list[Example]]:
    """Token ids per agent, [agent][example]; responses are cut to `reserve` tokens, the end token included."""
    per_agent: list[list[Example]] = [[] for _ in team.agents]
    for item in demonstrated:
        base = team.agents[item.agent].base
        end = base.tokenizer.eos_token_id
        ids = base.encoder.response(item.response)
        response = (*ids, end) if len(ids) < reserve else ids[:reserve]
        per_agent[item.agent].append(Example(team.prompt(item.agent, item.messages, reserve), response))
    return per_agent


def rising_share(steps: int) -> float:
    """Share of the steps in which the learning rate rises: a tenth, but two steps at least (OneCycleLR divides by
    the number of rising steps less one)."""
    return min(1.0, max(0.1, 2 / steps))


class SupervisedFit:
    """Fits all agents to examples of their own; one step trains one batch of every agent.

    What agents share takes one optimiser step on the sum of their losses.
    """

    def __init__(
        self,
        team: Team,
        data: Sequence[Sequence[Example]],
        settings: WarmStartConfig,
        micro_batch_tokens: int,
        seed: int,
    ):
        """Make optimisers and schedules.

        Args:
            data: examples of every agent, [agent][example].
            micro_batch_tokens: prompt and response tokens of one forward pass, padding included; results do not
                depend on it but for rounding.
        """
        self.team, self.data, self.batch_size, self.seed = team, data, settings.batch_size, seed
        self.micro_batch_tokens = micro_batch_tokens
        self.per_epoch = -(-max(map(len, data)) // self.batch_size)
        self.total = self.per_epoch * settings.epochs
        self.step_number = 0
        rate = settings.learning_rate
        self.learners: dict[Member, list[int]] = {}  # agents by what is trained for them
        for place, agent in enumerate(team.agents):
            self.learners.setdefault(agent.learner, []).append(place)
        self.optimisers = [optimiser(learner, team.settings, rate, weight_decay=0.0) for learner in self.learners]
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                own,
                rate,
                total_steps=self.total + 1,
                pct_start=rising_share(self.total + 1),
                cycle_momentum=False,  # the rate alone: AdamW keeps its beta1
            )
            for own in self.optimisers
        ]

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step_number >= self.total

    def step(self) -> dict[str, float]:
        """Make the next step.

        Returns:
            Its number from 1, the loss per response token of every agent and their mean, in nats, and the tokens
            worked on.
        Raises:
            NonFiniteLoss: a loss or gradient is NaN or infinite; agents before this one have made their part.
        """
        epoch, place = divmod(self.step_number, self.per_epoch)
        metrics: dict[str, float] = {"step": self.step_number + 1}
        tokens = 0
        for number, agents in enumerate(self.learners.values()):
            for agent in agents:
                batch = self._batch(agent, epoch, place)
                metrics[f"loss/agent_{agent}"] = self._backward(agent, batch)
                tokens += sum(len(example.prompt) + len(example.response) for example in batch)
            self._move(number)
        self.step_number += 1
        metrics["loss"] = sum(metrics[f"loss/agent_{agent}"] for agent in range(len(self.data))) / len(self.data)
        return {**metrics, "tokens": tokens}

    def _batch(self, agent: int, epoch: int, place: int) -> list[Example]:
        """Batch number `place` of an epoch; an agent with fewer examples than others begins again from its first."""
        examples = self.data[agent]
        order = list(range(len(examples)))
        random.Random(derive("warm_start", self.seed, agent, epoch)).shuffle(order)
        size, first = min(self.batch_size, len(examples)), place * self.batch_size
        return [examples[order[(first + k) % len(examples)]] for k in range(size)]

    def _backward(self, agent: int, batch: Sequence[Example]) -> float:
        """Accumulate an agent's gradient of the mean negative log-likelihood per response token, which it returns."""
        count = sum(len(example.response) for example in batch)
        total = 0.0
        ordered = sorted(batch, key=lambda example: len(example.prompt) + len(example.response))
        while ordered:
            longest = len(ordered[-1].prompt) + len(ordered[-1].response)
            size = max(1, min(len(ordered), self.micro_batch_tokens // longest))
            part, ordered = ordered[-size:], ordered[:-size]
            logprobs, _ = self.team.logprobs(agent, [(example.prompt, example.response) for example in part])
            loss = -logprobs.sum() / count
            self._guard(loss, f"loss of agent {agent}")
            self.team.accelerator.backward(loss)
            total += loss.item()
        return total

    def _move(self, number: int) -> None:
        """One optimiser step of the learner of that number: an agent, or what all share."""
        learner, agents = list(self.learners.items())[number]
        parameters = [part for _, part in learner.parameters()]
        named = "agent " + " and ".join(map(str, agents))
        self._guard(torch.nn.utils.clip_grad_norm_(parameters, 1.0), f"gradient of {named}")
        self.optimisers[number].step()
        self.optimisers[number].zero_grad(set_to_none=True)
        self.schedules[number].step()

    def _guard(self, number: torch.Tensor, what: str) -> None:
        if not torch.isfinite(number):
            raise NonFiniteLoss(
                f"warm-start {what} is {number.item()} at step {self.step_number}; "
                "lower warm_start.learning_rate or use precision fp32"
            )
