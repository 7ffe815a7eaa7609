"""Which joint samples make up which optimiser step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from collm.methods.signal import Node, Sample, Signal


@dataclass(frozen=True)
class Batch:
    """Joint samples of one optimiser step, the agents that it trains, and what the samples teach.

    `signal` is None in the only step on a rollout of an actor-critic method: there the critics' values before the step
    come from the pass that trains them.
    """

    samples: list[Sample]
    agents: tuple[int, ...]
    signal: Signal | None = None


def paper_batches(
    samples: Sequence[Sample], minibatch_size: int, update_epochs: int, draw: random.Random, by_node: bool
) -> list[Batch]:
    """Shuffled minibatches of joint samples for `update_epochs` passes; every batch trains all agents.

    Nodes are shuffled whole, so that responses to one prompt mostly share a minibatch. `by_node`: they always do
    (groups of the Monte Carlo methods); otherwise minibatches are cut at exactly `minibatch_size` joint samples.

    Args:
        samples: those of one node stand one after another.
    """
    if not samples:
        return []
    agents = tuple(range(len(samples[0][0].prompts)))
    groups = [list(group) for _, group in itertools.groupby(samples, key=lambda sample: id(sample[0]))]
    batches = []
    for _ in range(update_epochs):
        order = list(groups)
        draw.shuffle(order)
        parts = _whole_groups(order, minibatch_size) if by_node else _cut_anywhere(order, minibatch_size)
        batches += [Batch(samples, agents) for samples in parts]
    return batches


def joint_samples(nodes: Sequence[Node], by_node: bool) -> list[list[Sample]]:
    """The joint samples of every node together, or each on its own."""
    if by_node:
        return [[(node, j) for j in range(len(node.actions))] for node in nodes]
    return [[(node, j)] for node in nodes for j in range(len(node.actions))]


def filling(groups: Sequence[Sequence[Sample]], minibatch_size: int) -> int:
    """How many of the first `groups`, which are of one size, fill whole minibatches."""
    if not groups:
        return 0
    per_minibatch = max(1, minibatch_size // len(groups[0]))
    return len(groups) // per_minibatch * per_minibatch


def _whole_groups(groups: Sequence[list[Sample]], size: int) -> list[list[Sample]]:
    batches: list[list[Sample]] = []
    for group in groups:
        if batches and len(batches[-1]) + len(group) <= size:
            batches[-1].extend(group)
        else:
            batches.append(list(group))
    return batches


def _cut_anywhere(groups: Sequence[list[Sample]], size: int) -> list[list[Sample]]:
    samples = [sample for group in groups for sample in group]
    return [samples[start : start + size] for start in range(0, len(samples), size)]
