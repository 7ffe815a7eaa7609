"""Which joint samples make up which optimiser step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from collm.training.rollout import Node

Sample = tuple[Node, int]  # node and index of a joint action


@dataclass(frozen=True)
class Batch:
    """Joint samples of one optimiser step and the agents that it trains."""

    samples: list[Sample]
    agents: tuple[int, ...]


def paper_batches(
    nodes: Sequence[Node], minibatch_size: int, update_epochs: int, draw: random.Random, by_node: bool
) -> list[Batch]:
    """Shuffled minibatches of joint samples for `update_epochs` passes; every batch trains all agents.

    Nodes are shuffled whole, so that responses to one prompt mostly share a minibatch. `by_node`: they always do
    (groups of the Monte Carlo methods); otherwise minibatches are cut at exactly `minibatch_size` joint samples.
    """
    agents = tuple(range(len(nodes[0].prompts)))
    units = _units(nodes, by_node=True)
    batches = []
    for _ in range(update_epochs):
        order = list(units)
        draw.shuffle(order)
        parts = _cut(order, minibatch_size) if by_node else _slice(order, minibatch_size)
        batches += [Batch(samples, agents) for samples in parts]
    return batches


def _units(nodes: Sequence[Node], by_node: bool) -> list[list[Sample]]:
    if by_node:
        return [[(node, j) for j in range(len(node.actions))] for node in nodes]
    return [[(node, j)] for node in nodes for j in range(len(node.actions))]


def _cut(units: Sequence[list[Sample]], minibatch: int) -> list[list[Sample]]:
    batches: list[list[Sample]] = []
    for unit in units:
        if batches and len(batches[-1]) + len(unit) <= minibatch:
            batches[-1].extend(unit)
        else:
            batches.append(list(unit))
    return batches


def _slice(units: Sequence[list[Sample]], minibatch: int) -> list[list[Sample]]:
    samples = [sample for unit in units for sample in unit]
    return [samples[start : start + minibatch] for start in range(0, len(samples), minibatch)]


class Buffers:
    """Released semantics: one buffer per agent; a unit is a node (MAGRPO) or a joint sample (actor-critic)."""

    def __init__(self, agents: int):
        self._waiting: list[list[list[Sample]]] = [[] for _ in range(agents)]
        self._arrivals: list[tuple[int, list[Sample]]] = []

    def push(self, nodes: Sequence[Node], by_node: bool) -> None:
        """Queue units in the order in which the released code pushes them.

        MAGRPO: all nodes of a task for agent 0, then for agent 1; actor-critic: turn by turn, agent by agent.
        """
        agents = range(len(self._waiting))
        if not by_node:
            self._arrivals += [(agent, unit) for unit in _units(nodes, False) for agent in agents]
            return
        trees: dict[int, list[Node]] = {}
        root = 0
        for node in nodes:
            root = id(node) if node.turn == 0 else root
            trees.setdefault(root, []).append(node)
        for tree in trees.values():
            self._arrivals += [(agent, unit) for agent in agents for unit in _units(tree, True)]

    def drain(self, size: int, draw: random.Random, flush: bool) -> list[Batch]:
        """Batches of buffers that became full, in order; with `flush` also of what is left."""
        batches: list[Batch] = []
        for agent, unit in self._arrivals:
            self._waiting[agent].append(unit)
            if len(self._waiting[agent]) >= size:
                batches += self._process(agent, size, draw)
        self._arrivals = []
        if flush:
            for agent, waiting in enumerate(self._waiting):
                if waiting:
                    batches += self._process(agent, size, draw)
        return batches

    def _process(self, agent: int, size: int, draw: random.Random) -> list[Batch]:
        """Split a buffer by turn, ascending; every turn is shuffled and cut into minibatches."""
        units, self._waiting[agent] = self._waiting[agent], []
        by_turn: dict[int, list[list[Sample]]] = {}
        for unit in units:
            by_turn.setdefault(unit[0][0].turn, []).append(unit)
        batches = []
        for turn in sorted(by_turn):
            order = by_turn[turn]
            draw.shuffle(order)
            for start in range(0, len(order), size):
                samples = [sample for unit in order[start : start + size] for sample in unit]
                batches.append(Batch(samples, (agent,)))
        return batches

    def state(self) -> list[list[list[Sample]]]:
        """What waits in the buffers, to be kept in a checkpoint."""
        return self._waiting

    def restore(self, waiting: list[list[list[Sample]]]) -> None:
        """Continue with the buffers of a checkpoint."""
        self._waiting = waiting
