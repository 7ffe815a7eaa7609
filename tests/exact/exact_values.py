"""Exact policies, values, gradients and optima of the small world, by enumeration and one sequence at a time.

Nothing here uses the project's batching, targets or losses: environment steps, plain forward passes of single
unpadded sequences, and sums.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from small_world import ACTIONS, SmallWorld

from collm.domains.base import Exchange, Task
from collm.llm.sampling import Sampling
from collm.llm.team import Team


def remembered(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of (task, path) that is computed once per instance."""

    @functools.wraps(method)
    def looked_up(self: Exact, task: Task, path: Sequence[int] = ()) -> Any:
        place = (method.__name__, task.id, tuple(path))
        if place not in self._memory:
            self._memory[place] = method(self, task, path)
        return self._memory[place]

    return looked_up


class Exact:
    """A team in a small world: its policy as differentiable tables, and what follows from it."""

    def __init__(
        self,
        team: Team,
        domain: SmallWorld,
        longest: int = 1,
        gamma: float = 1.0,
        sampling: Sampling | None = None,
    ):
        """`sampling`: the policy is what is drawn so; None: the plain softmax."""
        self.sampling = sampling
        self.team, self.domain, self.longest, self.gamma = team, domain, longest, gamma
        self.agents = range(domain.num_agents)
        self.joint = list(itertools.product(range(len(domain.texts)), repeat=domain.num_agents))
        self._policies: dict[tuple[int, str], torch.Tensor] = {}
        self._memory: dict[tuple[object, ...], Any] = {}

    # policies

    def log_policy(self, agent: int, prompt: str) -> torch.Tensor:
        """[actions] log-probabilities of whole responses, with graph; each token from a pass of its own."""
        if (agent, prompt) not in self._policies:
            member = self.team.agents[agent]
            causal, tokenizer = member.activate(), member.base.tokenizer
            start = tokenizer.convert_tokens_to_ids(list(prompt))
            known: dict[tuple[int, ...], torch.Tensor] = {}
            totals = []
            for action in ACTIONS[self.longest]:
                tokens, total = tokenizer.convert_tokens_to_ids(list(action)), 0.0
                for place, token in enumerate(tokens):
                    before = tuple(tokens[:place])
                    if before not in known:
                        logits = causal(input_ids=torch.tensor([[*start, *before]])).logits[0, -1]
                        known[before] = torch.log_softmax(self._drawn(logits), -1)
                    total = total + known[before][token]
                totals.append(total)
            self._policies[agent, prompt] = torch.stack(totals)
        return self._policies[agent, prompt]

    def _drawn(self, logits: torch.Tensor) -> torch.Tensor:
        """[vocabulary] logits of what is drawn: tempered, and cut by top-p."""
        if self.sampling is None:
            return logits
        scaled = logits / self.sampling.temperature
        shares, order = torch.softmax(scaled.detach(), -1).sort(descending=True)
        for place, token in enumerate(order.tolist()):
            if shares[:place].sum().item() >= self.sampling.top_p:
                scaled = scaled.index_fill(-1, torch.tensor(token), -1e6)
        return scaled

    def prompt(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: object) -> str:
        """The agent's whole local history as it reads it."""
        return self.domain.observe(task, agent, turn, history, feedback)[0]["content"]

    # values: a joint history is (task, joint actions so far)

    @remembered
    def prompts(self, task: Task, path: Sequence[int]) -> list[str]:
        """Every agent's prompt after the joint actions `path`."""
        world, feedback, histories = self.domain.start(task, 0), [None] * len(self.agents), [()] * len(self.agents)
        for turn, j in enumerate(path):
            texts = [self.domain.texts[action] for action in self.joint[j]]
            step = self.domain.step(task, turn, texts, world)
            world, feedback = step.world, step.feedback
            histories = [(*past, Exchange((), own)) for past, own in zip(histories, texts, strict=True)]
        return [self.prompt(task, agent, len(path), histories[agent], feedback[agent]) for agent in self.agents]

    @remembered
    def reward(self, task: Task, path: Sequence[int]) -> float:
        """Reward of the last joint action of `path`."""
        world = self.domain.start(task, 0)
        for turn, j in enumerate(path):
            step = self.domain.step(task, turn, [self.domain.texts[action] for action in self.joint[j]], world)
            world = step.world
        return step.reward

    @remembered
    def log_joint(self, task: Task, path: Sequence[int]) -> torch.Tensor:
        """[joint actions] log-probabilities after `path`, with graph."""
        own = [self.log_policy(agent, prompt) for agent, prompt in enumerate(self.prompts(task, path))]
        return torch.stack([sum(own[agent][a] for agent, a in enumerate(action)) for action in self.joint])

    @remembered
    def q(self, task: Task, path: Sequence[int] = ()) -> torch.Tensor:
        """[joint actions] exact Q(h, a), with graph."""
        values = []
        for j in range(len(self.joint)):
            later = (*path, j)
            value = torch.tensor(self.reward(task, later))
            if len(later) < self.domain.turns:
                value = value + self.gamma * self.value(task, later)
            values.append(value)
        return torch.stack(values)

    @remembered
    def value(self, task: Task, path: Sequence[int] = ()) -> torch.Tensor:
        """Exact V(h) of a joint history, with graph."""
        return (self.log_joint(task, path).exp() * self.q(task, path)).sum()

    def objective(self) -> torch.Tensor:
        """J: expected return over tasks, with graph."""
        tasks = self.domain.tasks()
        return sum(self.value(task) for task in tasks) / len(tasks)

    @remembered
    def reach(self, task: Task, path: Sequence[int]) -> float:
        """Probability of a joint history, tasks equally likely."""
        total = 1.0 / len(self.domain.tasks())
        for turn, j in enumerate(path):
            total *= self.log_joint(task, path[:turn])[j].exp().item()
        return total

    def histories(self, turn: int) -> list[tuple[Task, tuple[int, ...]]]:
        """All joint histories of a turn."""
        paths = itertools.product(range(len(self.joint)), repeat=turn)
        return [(task, path) for path in paths for task in self.domain.tasks()]

    # gradients

    def gradient(self, agent: int, scalar: torch.Tensor) -> torch.Tensor:
        """Gradient of a scalar with respect to all numbers that an agent trains."""
        self.team.agents[agent].activate()  # parameters of an adapter that is not active take no gradient
        parts = [part for _, part in self.team.agents[agent].parameters()]
        gradients = torch.autograd.grad(scalar, parts, retain_graph=True, allow_unused=True)
        pairs = zip(gradients, parts, strict=True)
        return torch.cat([(torch.zeros_like(part) if g is None else g).flatten() for g, part in pairs])

    def turn_gradient(self, agent: int, turn: int, discounted: bool = False) -> torch.Tensor:
        """The share of a turn: sum over histories of p(h) sum over a of Q(h, a) times the gradient of pi(a | h).

        Over turns these shares sum to the gradient of J if gamma is 1 (or with `discounted`, which multiplies by
        gamma^turn): the policy gradient theorem, checked in the tests.
        """
        total = torch.tensor(0.0)
        for task, path in self.histories(turn):
            weight = self.reach(task, path) * (self.gamma**turn if discounted else 1.0)
            own = self.log_policy(agent, self.prompts(task, path)[agent])
            log_joint, q = self.log_joint(task, path).detach(), self.q(task, path).detach()
            chosen = torch.stack([own[action[agent]] for action in self.joint])
            total = total + weight * (log_joint.exp() * q * chosen).sum()
        return self.gradient(agent, total)

    # local histories

    def local_values(self, agent: int) -> dict[str, float]:
        """Exact V_i of every local history: the mean of V over the joint histories that it may stand in."""
        mass: dict[str, float] = {}
        total: dict[str, float] = {}
        for turn in range(self.domain.turns):
            for task, path in self.histories(turn):
                prompt, weight = self.prompts(task, path)[agent], self.reach(task, path)
                mass[prompt] = mass.get(prompt, 0.0) + weight
                total[prompt] = total.get(prompt, 0.0) + weight * self.value(task, path).item()
        return {prompt: total[prompt] / mass[prompt] for prompt in mass}

    # optimum

    def optimum(self) -> float:
        """Largest J of any pair of deterministic local policies, by trying all of them."""
        local = [self._reachable(agent) for agent in self.agents]
        return max(self._play(choice) for choice in itertools.product(*local))

    def _reachable(self, agent: int) -> list[dict[str, int]]:
        """Deterministic policies of an agent as tables over the local histories that they themselves reach."""
        policies: list[dict[str, int]] = [{}]
        for turn in range(self.domain.turns):
            grown = []
            for policy in policies:
                open_prompts = sorted(self._prompts_under(agent, policy, turn))
                for actions in itertools.product(range(len(self.domain.texts)), repeat=len(open_prompts)):
                    grown.append(policy | dict(zip(open_prompts, actions, strict=True)))
            policies = grown
        return policies

    def _prompts_under(self, agent: int, policy: dict[str, int], turn: int) -> set[str]:
        prompts = set()
        for task, path in self.histories(turn):
            own = [self.prompts(task, path[:t])[agent] for t in range(turn)]
            if all(policy.get(prompt) == self.joint[path[t]][agent] for t, prompt in enumerate(own)):
                prompts.add(self.prompts(task, path)[agent])
        return prompts

    def _play(self, policies: Sequence[dict[str, int]]) -> float:
        total = 0.0
        for task in self.domain.tasks():
            path: tuple[int, ...] = ()
            for turn in range(self.domain.turns):
                action = tuple(policies[agent][prompt] for agent, prompt in enumerate(self.prompts(task, path)))
                path = (*path, self.joint.index(action))
                total += self.gamma**turn * self.reward(task, path)
        return total / len(self.domain.tasks())


class PaidLast(Exact):
    """The same where the last turn alone is paid (`rollout.reward: last_turn`); no episode ends early here."""

    def reward(self, task: Task, path: Sequence[int] = ()) -> float:
        """Nothing before the last turn."""
        return super().reward(task, path) if len(path) == self.domain.turns else 0.0
