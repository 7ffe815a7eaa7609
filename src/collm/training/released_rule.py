"""The update rule of the released code (comlrl 1.3.6, without its plain faults): what `semantics: released` changes.

One buffer per agent, filled in the order of play; a full buffer is split by turn; the critic steps within every agent's
update; targets and advantages are fixed at rollout and normalised within a minibatch; no importance ratio; critics read
tokens of the agents' tokenizers and are not told the turn or the last reward; returns of crossed joint actions are
summed. What that code has no setting for is fixed in `collm.config.checks.RELEASED`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collm.config.job import TrainingConfig
from collm.methods import actor_critic, monte_carlo, policy_gradient
from collm.methods.registry import Row
from collm.methods.signal import Node, Sample, Signal, samples_of
from collm.training.critics import Critics
from collm.training.minibatches import Batch, joint_samples
from collm.training.policies import EarlierPolicies


@dataclass(frozen=True)
class Lesson:
    """Joint samples that stay together, with what they teach one agent, fixed at rollout.

    A node with its group's advantages (Monte Carlo; no targets), or one joint sample with its target and error y - V.
    """

    samples: list[Sample]
    advantages: list[float]
    targets: list[float]


class ReleasedRule:
    """Lessons wait in buffers, across rollouts, until a buffer is full."""

    importance_ratio = False
    informs_critics = False
    reads_as_actors = True
    rests = False

    def __init__(self, row: Row, settings: TrainingConfig, critics: Critics, policies: EarlierPolicies, gamma: float):
        self.row, self.settings, self.gamma = row, settings, gamma
        self.critics, self.policies = critics, policies
        self.buffers = Buffers(len(critics.team.agents))

    def batches(self, nodes: Sequence[Node], draw: random.Random, last: bool, more: bool) -> list[Batch]:
        """The optimiser steps of buffers that this rollout fills, in order.

        Args:
            last: of an epoch: buffers that are not full are emptied too.
            more: changes nothing.
        """
        self.policies.begin()
        groups, size = self.row.critics is None, self.settings.minibatch_size
        if groups:
            size = max(1, size // max(len(node.actions) for node in nodes))
        advantages, targets = self._groups(nodes) if groups else self._errors(nodes)
        for agent, samples in arrivals(nodes, len(self.critics.team.agents), by_node=groups):
            y = [targets[agent][sample] for sample in samples] if targets else []
            self.buffers.push(agent, Lesson(samples, [advantages[agent][sample] for sample in samples], y))
        return [self._batch(agent, lessons) for agent, lessons in self.buffers.drain(size, draw, last)]

    def _groups(
        self, nodes: Sequence[Node]
    ) -> tuple[Mapping[int, Mapping[Sample, float]], dict[int, dict[Sample, float]]]:
        """Monte Carlo: [agent][joint sample] advantages within groups, and no targets."""
        agents, scaling = len(self.critics.team.agents), self.critics.scaling
        signal = monte_carlo.signal(self.row.name, nodes, agents, self.gamma, scaling, total=True)
        return signal.advantages, {}

    def _errors(self, nodes: Sequence[Node]) -> tuple[dict[int, dict[Sample, float]], dict[int, dict[Sample, float]]]:
        """Actor-critic: [agent][joint sample] errors y - V (or y - Q) and targets, by the critics as they are now."""
        samples, of_actions = samples_of(nodes), self.critics.of_actions
        units = [unit for node in nodes for unit in actor_critic.units(node, of_actions)]
        errors: dict[int, dict[Sample, float]] = {}
        targets: dict[int, dict[Sample, float]] = {}
        for critic in range(len(self.critics)):
            values = self.critics.values(critic, units)
            y = dict(zip(samples, self.critics.targets(critic, samples, values), strict=True))
            error = {sample: y[sample] - values[actor_critic.unit(sample, of_actions)] for sample in samples}
            for agent in self.critics.agents(critic):
                errors[agent], targets[agent] = error, y
        return errors, targets

    def _batch(self, agent: int, lessons: Sequence[Lesson]) -> Batch:
        """One optimiser step of one agent, and of its critic if it has one."""
        samples = [sample for lesson in lessons for sample in lesson.samples]
        raw = [advantage for lesson in lessons for advantage in lesson.advantages]
        if self.row.critics is None:
            return Batch(samples, (agent,), Signal({agent: dict(zip(samples, raw, strict=True))}))
        y = [target for lesson in lessons for target in lesson.targets]
        advantages = policy_gradient.scaled({agent: raw}, samples, y, self.critics.scaling)
        units = [actor_critic.unit(sample, self.critics.of_actions) for sample in samples]
        values = {unit: target - error for unit, target, error in zip(units, y, raw, strict=True)}
        critic = next(number for number in range(len(self.critics)) if agent in self.critics.agents(number))
        targets = dict(zip(samples, y, strict=True))
        return Batch(samples, (agent,), Signal(advantages, {critic: values}, {critic: targets}))

    def state(self) -> list[list[Lesson]]:
        """What waits in the buffers, to be kept in a checkpoint."""
        return self.buffers.waiting

    def restore(self, state: list[list[Lesson]]) -> None:
        """Continue with the buffers of a checkpoint."""
        self.buffers.waiting = state


def arrivals(nodes: Sequence[Node], agents: int, by_node: bool) -> list[tuple[int, list[Sample]]]:
    """(agent, joint samples that stay together) in the order in which the released code fills its buffers.

    Monte Carlo (`by_node`): all nodes of a task for agent 0, then for agent 1; actor-critic: turn by turn, agent by
    agent.
    """
    if not by_node:
        return [(agent, samples) for samples in joint_samples(nodes, by_node=False) for agent in range(agents)]
    trees: list[list[Node]] = []
    for node in nodes:
        if node.turn == 0:
            trees.append([])
        trees[-1].append(node)
    return [
        (agent, samples) for tree in trees for agent in range(agents) for samples in joint_samples(tree, by_node=True)
    ]


class Buffers:
    """One buffer of lessons per agent, [agent]."""

    def __init__(self, agents: int):
        self.waiting: list[list[Lesson]] = [[] for _ in range(agents)]
        self._arrived: list[tuple[int, Lesson]] = []

    def push(self, agent: int, lesson: Lesson) -> None:
        """Queue a lesson."""
        self._arrived.append((agent, lesson))

    def drain(self, size: int, draw: random.Random, flush: bool) -> list[tuple[int, list[Lesson]]]:
        """Minibatches of buffers that became full, in order; with `flush` also of what is left."""
        minibatches: list[tuple[int, list[Lesson]]] = []
        for agent, lesson in self._arrived:
            self.waiting[agent].append(lesson)
            if len(self.waiting[agent]) >= size:
                minibatches += self._empty(agent, size, draw)
        self._arrived = []
        if flush:
            for agent in [agent for agent, waiting in enumerate(self.waiting) if waiting]:
                minibatches += self._empty(agent, size, draw)
        return minibatches

    def _empty(self, agent: int, size: int, draw: random.Random) -> list[tuple[int, list[Lesson]]]:
        """Split a buffer by turn, ascending; every turn is shuffled and cut into minibatches."""
        lessons, self.waiting[agent] = self.waiting[agent], []
        by_turn: dict[int, list[Lesson]] = {}
        for lesson in lessons:
            by_turn.setdefault(lesson.samples[0][0].turn, []).append(lesson)
        minibatches = []
        for turn in sorted(by_turn):
            order = by_turn[turn]
            draw.shuffle(order)
            minibatches += [(agent, order[start : start + size]) for start in range(0, len(order), size)]
        return minibatches
