"""Gradients of single responses, as all inner products between them: enough for every estimator on these episodes.

At the first step on a rollout the importance ratio is 1 and an agent's policy gradient is the sum over responses i of
w_i grad log pi(a_i | h_i), with w_i = A_i / batch. Its squared norm is w^T M w with M_ij = <grad log pi(a_i),
grad log pi(a_j)>. So M is measured once, and advantages, batches and weights of any kind follow without another pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from started_team import Started

from collm.methods.signal import Node, Sample, samples_of
from collm.training.policies import pair


@dataclass(frozen=True)
class ScoredEpisodes:
    """Played episodes with what their responses pull at.

    Attributes:
        units: nodes of every root, in the order of play: what batches are made of.
        place: number of a joint sample, 0 to N - 1.
        products: [agent] of [N, N] inner products, float64.
        lengths: [agent] of [N] tokens.
        logprobs: [agent] of [N] sums of log-probabilities.
        entropies: [agent] of [N] mean entropies per token, in nats.
    """

    units: list[list[Node]]
    place: dict[Sample, int]
    products: list[torch.Tensor]
    lengths: list[torch.Tensor]
    logprobs: list[torch.Tensor]
    entropies: list[torch.Tensor]

    def power(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """[batches, batches] inner products of gradients, summed over agents; weights are [agent] of [batches, N]."""
        parts = [w.double() @ m @ w.double().T for w, m in zip(weights, self.products, strict=True)]
        return torch.stack(parts).sum(dim=0)

    def row(self, advantages: Mapping[Sample, float]) -> torch.Tensor:
        """[N] weights of a batch: advantage / number of its joint samples, 0 for what is not in it."""
        row = torch.zeros(len(self.place), dtype=torch.float64)
        for sample, advantage in advantages.items():
            row[self.place[sample]] = advantage / len(advantages)
        return row


def scored(started: Started, roots: Sequence[Node]) -> ScoredEpisodes:
    """Score every response of trees and multiply their gradients with each other.

    Memory: 4 bytes x joint samples x numbers of one agent.
    """
    units = [list(root.walk()) for root in roots]
    samples = samples_of([node for unit in units for node in unit])
    products, lengths, logprobs, entropies = [], [], [], []
    for agent in range(len(started.team.agents)):
        gradients, scores, spread = _of_agent(started, agent, samples)
        products.append(_products(gradients))
        lengths.append(torch.tensor([float(len(pair(agent, *sample)[1])) for sample in samples]))
        logprobs.append(scores)
        entropies.append(spread)
    return ScoredEpisodes(units, {s: i for i, s in enumerate(samples)}, products, lengths, logprobs, entropies)


def _of_agent(
    started: Started, agent: int, samples: Sequence[Sample]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[N, numbers] gradients of log pi, [N] log pi, [N] entropies of an agent's responses."""
    team, sampling = started.team, started.context.sampling
    parameters = [part for _, part in team.agents[agent].parameters()]
    gradients = torch.zeros(len(samples), sum(part.numel() for part in parameters))
    scores, entropies = torch.zeros(len(samples)), torch.zeros(len(samples))
    for index, sample in enumerate(samples):
        logprob, entropy = team.logprobs(agent, [pair(agent, *sample)], sampling=sampling)
        parts = torch.autograd.grad(logprob.sum(), parameters, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for g, p in zip(parts, parameters, strict=True)]
        gradients[index] = torch.cat([part.flatten() for part in filled]).cpu()
        scores[index], entropies[index] = logprob.item(), entropy.item()
    return gradients, scores, entropies


def _products(gradients: torch.Tensor) -> torch.Tensor:
    """[N, N] inner products in float64, by blocks of columns."""
    total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for block in gradients.split(8192, dim=1):
        wide = block.double()
        total += wide @ wide.T
    return total
