"""The paper's update rule (Alg. 1 and 2): minibatches of played samples, ratios against the policy that played."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from collm.config.job import TrainingConfig
from collm.methods import actor_critic, monte_carlo
from collm.methods.registry import Row
from collm.methods.signal import Node, Sample, Signal, Unit, samples_of
from collm.training.critics import Critics
from collm.training.minibatches import Batch, filling, joint_samples, paper_batches
from collm.training.policies import Answer, EarlierPolicies, answer


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Joint samples that no minibatch had room for, with what their own rollout says of them.

    Attributes:
        samples: a whole group (Monte Carlo), or one joint sample.
        advantages: [agent][joint sample].
        values: [critic][unit], from before the first step after they were played.
        logprobs: log pi_old of the responses in them.
    """

    samples: list[Sample]
    advantages: dict[int, dict[Sample, float]]
    values: dict[int, dict[Unit, float]]
    logprobs: dict[Answer, float]


class PaperRule:
    """Every minibatch trains all agents and steps every critic once.

    Minibatches are full: samples of a rollout that do not fill one wait for the next rollout, so that a run makes
    ceil(samples / minibatch_size) steps, as the paper counts them (appendix D.2). A sample that waited has the ratio of
    the policy that played it, and the advantage from then.

    Targets bootstrap from the critics as they are at each step. The errors that serve as advantages (Eq. 2, 4) are
    those of the critics before the first step on the rollout: later they have been fitted to these very samples.
    """

    importance_ratio = True
    informs_critics = True  # of the turn and the last reward (m_t), if the settings say so
    reads_as_actors = False  # critics read text in their own tokenizer
    rests = True  # agents whose advantages are all zero are not moved

    def __init__(self, row: Row, settings: TrainingConfig, critics: Critics, policies: EarlierPolicies, gamma: float):
        self.row, self.settings, self.gamma = row, settings, gamma
        self.critics, self.policies = critics, policies
        self.waiting: list[Waiting] = []

    def batches(self, nodes: Sequence[Node], draw: random.Random, last: bool, more: bool) -> list[Batch]:
        """The optimiser steps that a rollout makes possible, in order.

        Args:
            last: of an epoch; changes nothing.
            more: rollouts follow: what fills no minibatch waits for them. Otherwise the last minibatch may be smaller.
        """
        settings, by_node = self.settings, self.row.critics is None
        before = self.waiting
        played = joint_samples(nodes, by_node)
        groups = [waiting.samples for waiting in before] + played
        count = filling(groups, settings.minibatch_size) if more else len(groups)
        chosen = [sample for group in groups[:count] for sample in group]
        batches = paper_batches(chosen, settings.minibatch_size, settings.update_epochs, draw, by_node)
        self.policies.begin({name: score for waiting in before for name, score in waiting.logprobs.items()})
        self.policies.remember([sample for group in groups[count:] for sample in group])
        later = [sample for batch in batches[1:] for sample in batch.samples]
        self.policies.remember(later, skip=batches[0].samples if batches else ())
        several = len(batches) != 1 or bool(before) or count < len(groups)
        signal = self._signal(nodes, several)
        if signal is not None:
            signal = _joined(signal, before)
            self.waiting = [self._waiting(group, signal) for group in groups[count:]]
        return [dataclasses.replace(batch, signal=signal) for batch in batches]

    def _signal(self, nodes: Sequence[Node], several: bool) -> Signal | None:
        """What the rollout teaches, from before its first step; None leaves it to the only step, see `Batch`."""
        agents = len(nodes[0].prompts)
        if self.row.critics is None:
            return monte_carlo.signal(self.row.name, nodes, agents, self.gamma, self.critics.scaling)
        if not several:
            return None
        samples, of_actions = samples_of(nodes), self.critics.of_actions
        units = [unit for node in nodes for unit in actor_critic.units(node, of_actions)]
        values = {critic: self.critics.values(critic, units) for critic in range(len(self.critics))}
        targets = {critic: self.critics.targets(critic, samples, known) for critic, known in values.items()}
        return self.critics.signal(samples, targets, values)

    def _waiting(self, samples: list[Sample], signal: Signal) -> Waiting:
        """What is kept of samples that wait."""
        units = {actor_critic.unit(sample, self.critics.of_actions) for sample in samples}
        names = {answer(agent, *sample) for agent in signal.advantages for sample in samples}
        return Waiting(
            samples,
            {agent: {sample: own[sample] for sample in samples} for agent, own in signal.advantages.items()},
            {critic: {unit: own[unit] for unit in units} for critic, own in signal.values.items()},
            {name: self.policies.old[name].item() for name in names},
        )

    def state(self) -> list[Waiting]:
        """What waits for the next rollout, to be kept in a checkpoint."""
        return self.waiting

    def restore(self, state: list[Waiting]) -> None:
        """Continue with what waited when a checkpoint was made."""
        self.waiting = state


def _joined(signal: Signal, before: Sequence[Waiting]) -> Signal:
    """The signal of a rollout together with that of samples which waited."""
    advantages = {agent: dict(own) for agent, own in signal.advantages.items()}
    values = {critic: dict(own) for critic, own in signal.values.items()}
    for waiting in before:
        for agent, own in advantages.items():
            own |= waiting.advantages[agent]
        for critic, of_units in values.items():
            of_units |= waiting.values[critic]
    return Signal(advantages, values)
