"""Expectations of the learner's gradients over all episodes: every sample once, weighted by its probability.

The learner's own code computes targets, advantages, log-probabilities, losses and gradients; only weights come in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from exact_values import Exact
from support.toy import training_settings

from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.methods import actor_critic
from collm.methods.registry import METHODS
from collm.methods.signal import Sample
from collm.training.critics import Context
from collm.training.learner import Learner
from collm.training.rollout import Node

Weights = Mapping[Sample, float]  # joint sample -> weight


class Expectation(Learner):
    """A learner whose losses are weighted sums over samples instead of means, and which keeps gradients unstepped."""

    weights: Weights = {}

    def gradients(self, nodes: Sequence[Node], weights: Weights) -> dict[str, torch.Tensor]:
        """Weighted sum of the descent directions of every member, [numbers]."""
        self.weights, self.sums = weights, {}
        list(self.update(nodes, random.Random(0), last=True))
        return self.sums

    def _of(self, batch) -> torch.Tensor:
        weights = [self.weights.get(sample, 0.0) for sample in batch.samples]
        return torch.tensor(weights) * len(batch.samples)

    def _advantage(self, agent, batch, signal):
        return super()._advantage(agent, batch, signal) * self._of(batch)

    def _value_loss(self, critic, batch, samples, target, value):
        return super()._value_loss(critic, batch, samples, target, value) * self._of(batch)[list(samples)]

    def _optimise(self, member, batch):
        parts = [part for _, part in member.parameters()]
        flat = [torch.zeros_like(p).flatten() if p.grad is None else -p.grad.flatten() for p in parts]
        self.sums[member.name] = self.sums.get(member.name, 0.0) + torch.cat(flat)
        for part in parts:
            part.grad = None
        return 0.0


class Table:
    """Critics as tables over token ids in place of transformers: any function of what a critic reads."""

    def __init__(self, team: Team):
        self.index: dict[tuple[int, tuple[int, ...]], int] = {}
        self.numbers = torch.nn.Parameter(torch.zeros(0))
        self.start: Callable[[], float] = lambda: 0.0
        team.values = self.values

    def values(self, critic: int, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """[batch] entries; texts not met before get the value of `start`."""
        new = [text for text in dict.fromkeys(texts) if (critic, text) not in self.index]
        if new:
            for text in new:
                self.index[critic, text] = len(self.index)
            grown = torch.cat([self.numbers.detach(), torch.tensor([self.start() for _ in new])])
            self.numbers = torch.nn.Parameter(grown)
        return self.numbers[[self.index[critic, text] for text in texts]]

    def set(self, critic: int, text: tuple[int, ...], value: float) -> None:
        """Put an entry; ValueError if another value stands there already."""
        with torch.no_grad():
            known = (critic, text) in self.index
            place = self.values(critic, [text])
            if known and abs(place.item() - value) > 1e-9:
                raise ValueError(f"two values for one text: {place.item()} and {value}")
            self.numbers[self.index[critic, text]] = value


def make_learner(
    team: Team, method: str, folder: Path, turns: int, gamma: float = 1.0, sampling: Sampling | None = None, **changes
) -> Expectation:
    """A weighted learner of a method, everything in one minibatch, advantages not normalised."""
    plain = {
        "minibatch_size": 10**9,
        "normalize_advantage": False,
        "global_information": False,
        "value_loss_coefficient": 0.5,
        "micro_batch_tokens": 20_000,
    }
    settings = training_settings(**{**plain, **changes})
    context = Context(gamma, turns, 1.0, 2.0, sampling)
    return Expectation(team, METHODS[method], settings, "paper", context, folder / "nonfinite.json")


def probabilities(exact: Exact, nodes: Sequence[Node]) -> dict[Sample, float]:
    """Weight of every joint sample: its probability, or that of its whole episode where nodes have one sample each.

    Either way the weights of a turn sum to one.
    """
    weights: dict[Sample, float] = {}
    root, single = None, all(len(node.actions) == 1 for node in nodes)
    for node in nodes:
        root = node if node.turn == 0 else root
        if not single:
            reached, joint = exact.reach(node.task, node.path), exact.log_joint(node.task, node.path).exp().tolist()
            weights |= {(node, j): reached * joint[j] for j in range(len(node.actions))}
            continue
        chain = list(root.walk())
        weights[node, 0] = exact.reach(node.task, [joint_of(exact, one, 0) for one in chain])
    return weights


def joint_of(exact: Exact, node: Node, j: int) -> int:
    """Number in `exact.joint` of joint action `j` of a node."""
    texts = [node.responses[agent][k].text for agent, k in enumerate(node.actions[j])]
    return exact.joint.index(tuple(exact.domain.texts.index(text) for text in texts))


def path_of(exact: Exact, nodes: Sequence[Node]) -> dict[Node, tuple[int, ...]]:
    """Joint actions that lead to every node, in the numbers of `exact.joint`."""
    paths: dict[Node, tuple[int, ...]] = {}
    for node in nodes:
        if node.turn == 0:
            paths[node] = ()
        for j, child in enumerate(node.children):
            if child is not None:
                paths[child] = (*paths[node], joint_of(exact, node, j))
    return paths


def fill(table: Table, learner: Learner, exact: Exact, nodes: Sequence[Node]) -> None:
    """Exact values into the critics' table: V or Q of joint histories, V of local ones."""
    local = [exact.local_values(agent) for agent in exact.agents] if learner.row.critics == "local" else []
    paths = path_of(exact, nodes)
    for node in nodes:
        path = paths[node]
        for critic in range(len(learner.critics)):
            if local:
                value = local[critic][exact.prompts(node.task, path)[critic]]
                table.set(critic, learner.critics.text(critic, (node, None)), value)
                continue
            for unit in actor_critic.units(node, learner.critics.of_actions):
                j = None if unit[1] is None else joint_of(exact, node, unit[1])
                value = exact.value(node.task, path) if j is None else exact.q(node.task, path)[j]
                table.set(critic, learner.critics.text(critic, unit), value.item())


def relative(estimate: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return ((estimate - expected).norm() / expected.norm()).item()
