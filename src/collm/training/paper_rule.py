"""The paper's update rule (Alg. 1 and 2): minibatches of one rollout, ratios against the policy that played."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from collm.config.job import TrainingConfig
from collm.methods import actor_critic, monte_carlo
from collm.methods.registry import Row
from collm.methods.signal import Node, Signal, samples_of
from collm.training.critics import Critics
from collm.training.minibatches import Batch, paper_batches
from collm.training.policies import EarlierPolicies


class PaperRule:
    """Every minibatch trains all agents and steps every critic once.

    Targets bootstrap from the critics as they are at each step. The errors that serve as advantages (Eq. 2, 4) are
    those of the critics before the first step on the rollout: later they have been fitted to these very samples.
    """

    importance_ratio = True
    informs_critics = True  # of the turn and the last reward (m_t), if the settings say so

    def __init__(self, row: Row, settings: TrainingConfig, critics: Critics, policies: EarlierPolicies, gamma: float):
        self.row, self.settings, self.gamma = row, settings, gamma
        self.critics, self.policies = critics, policies

    def batches(self, nodes: Sequence[Node], draw: random.Random, last: bool) -> list[Batch]:
        """The optimiser steps on a rollout, in order; `last` (end of an epoch) changes nothing."""
        settings, groups = self.settings, self.row.critics is None
        batches = paper_batches(nodes, settings.minibatch_size, settings.update_epochs, draw, by_node=groups)
        self.policies.forget()
        self.policies.remember(batches[1:], skip=batches[:1])
        signal = self._signal(nodes, several=len(batches) > 1)
        return [dataclasses.replace(batch, signal=signal) for batch in batches]

    def _signal(self, nodes: Sequence[Node], several: bool) -> Signal | None:
        """What the rollout teaches, from before its first step; None leaves it to the only step, see `Batch`."""
        settings, agents = self.settings, len(nodes[0].prompts)
        if self.row.critics is None:
            limit = settings.advantage_clip
            return monte_carlo.signal(self.row.name, nodes, agents, self.gamma, settings.normalize_advantage, limit)
        if not several:
            return None
        samples, of_actions = samples_of(nodes), self.critics.of_actions
        units = [unit for node in nodes for unit in actor_critic.units(node, of_actions)]
        values = {critic: self.critics.values(critic, units) for critic in range(len(self.critics))}
        targets = {critic: self.critics.targets(critic, samples, known) for critic, known in values.items()}
        return self.critics.signal(samples, targets, values)

    def state(self) -> list[Any]:
        """Nothing waits from one rollout to the next."""
        return []

    def restore(self, state: list[Any]) -> None:
        """Nothing to go on with."""
