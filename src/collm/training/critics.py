"""What critics read, what they say, and the targets and advantages that follow from it (paper Eq. 2 to 5).

A critic of type V values a node (a joint or local history), one of type Q a joint action at a node. Both are addressed
by units: (node, None) or (node, j).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from collm.config.job import TrainingConfig
from collm.llm.batching import by_length
from collm.llm.team import Team
from collm.methods import actor_critic, collm_cc, collm_dc
from collm.methods.registry import Row
from collm.runs.distributed import Processes
from collm.training.minibatches import Sample
from collm.training.rollout import Node

Unit = tuple[Node, int | None]
Key = tuple[int, int | None]  # id of the node, joint action


@dataclass(frozen=True)
class Context:
    """What learning has to know of the episodes: discount gamma, turns H, largest reward (for m_t)."""

    gamma: float
    turns: int
    max_reward: float


def key(unit: Unit) -> Key:
    """What a unit is looked up by."""
    return id(unit[0]), unit[1]


class Critics:
    """The critics of a team, as functions of nodes."""

    def __init__(self, team: Team, method: Row, settings: TrainingConfig, released: bool, context: Context):
        self.team, self.method, self.settings = team, method, settings
        self.released, self.context = released, context
        self.processes = Processes.of(team.accelerator)
        self.of_actions = settings.critic_type == "q"
        self.shared = settings.shared_backbone and method.critics == "local"

    def __len__(self) -> int:
        return 0 if self.method.critics is None else len(self.team.critics)

    def agents(self, critic: int) -> tuple[int, ...]:
        """Agents that learn from a critic."""
        return tuple(range(len(self.team.agents))) if self.method.critics == "joint" else (critic,)

    def unit(self, node: Node, j: int) -> Unit:
        """What is valued for joint action `j` of a node."""
        return (node, j) if self.of_actions else (node, None)

    def units(self, node: Node) -> list[Unit]:
        """All that is valued at a node."""
        return [(node, j) for j in range(len(node.actions))] if self.of_actions else [(node, None)]

    # what critics read

    def text(self, critic: int, unit: Unit) -> tuple[int, ...]:
        """Token ids of what a critic reads of a unit, in the critic's own tokenizer.

        A critic that shares its agent's backbone reads the agent's prompt (and response) as the agent itself did.
        """
        node, j = unit
        information = self._information(node)
        said = None if j is None else [node.responses[agent][k] for agent, k in enumerate(node.actions[j])]
        if self.shared:
            ids = node.prompts[critic] + (said[critic].tokens if said else ())
            return ids + (self.team.text_ids(critic, f"\n\n{information}") if information else ())
        prompts = ["\n\n".join(message["content"] for message in messages) for messages in node.observations]
        texts = [response.text for response in said] if said else None
        if self.method.critics == "joint":
            return self.team.text_ids(critic, collm_cc.joint_history(prompts, texts, information))
        action = texts[critic] if texts else None
        return self.team.text_ids(critic, collm_dc.local_history(prompts[critic], action, information))

    def _information(self, node: Node) -> str | None:
        if self.released or not self.settings.global_information:
            return None
        return actor_critic.m(node.turn, self.context.turns, node.last_reward, self.context.max_reward)

    # what they say

    @torch.no_grad()
    def values(self, critic: int, units: Iterable[Unit]) -> dict[Key, float]:
        """Values of units, without gradient; every unit is computed once, by one of the processes."""
        distinct = list({key(unit): unit for unit in units}.values())
        texts = [self.text(critic, unit) for unit in distinct]
        mine = self.processes.share([len(text) for text in texts])
        found = [0.0] * len(mine)
        for part in by_length([len(texts[index]) for index in mine], self.settings.micro_batch_tokens):
            values = self.team.values(critic, [texts[mine[place]] for place in part]).tolist()
            for place, value in zip(part, values, strict=True):
                found[place] = value
        return {key(unit): value for unit, value in zip(distinct, self.processes.gather(found), strict=True)}

    def values_elsewhere(self, critic: int, samples: Sequence[Sample]) -> dict[Key, float]:
        """Values that the targets of `samples` bootstrap from, but for those that are valued with `samples` anyway."""
        own = {key(self.unit(*sample)) for sample in samples}
        asked = self._asked(samples, self.settings.td_lambda)
        return self.values(critic, [unit for unit in asked if key(unit) not in own])

    # what follows from it

    def targets(self, critic: int, samples: Sequence[Sample], known: Mapping[Key, float] | None = None) -> list[float]:
        """y of every joint sample (Eq. 3, 5).

        Args:
            known: values to bootstrap from, fixed at some earlier time; None asks the critic as it is now.
        """
        trace, gamma = self.settings.td_lambda, self.context.gamma
        if known is None:
            known = self.values(critic, self._asked(samples, trace))
        found: dict[Key, float] = {}

        def target(node: Node, j: int) -> float:
            if (id(node), j) not in found:
                child = node.children[j]
                following = None if child is None else bootstrap(child)
                below = [target(child, i) for i in range(len(child.actions))] if child is not None and trace else ()
                found[id(node), j] = actor_critic.y(node.rewards[j], following, below, gamma, trace)
            return found[id(node), j]

        def bootstrap(node: Node) -> float:
            values = [known[key(unit)] for unit in self.units(node)] if trace < 1.0 else [0.0]
            return sum(values) / len(values)

        return [target(node, j) for node, j in samples]

    def _asked(self, samples: Sequence[Sample], trace: float) -> list[Unit]:
        """Units that the targets of `samples` bootstrap from: one turn on, or with lambda > 0 all that follow."""
        if trace == 1.0:
            return []
        children = [node.children[j] for node, j in samples]
        later = [node for child in children if child is not None for node in (child.walk() if trace else [child])]
        return [unit for node in later for unit in self.units(node)]

    def advantages(
        self, agent: int, samples: Sequence[Sample], targets: Sequence[float], known: Mapping[Key, float]
    ) -> list[float]:
        """Advantage of every joint sample for an agent, not normalised.

        V: y - V(h), the temporal difference error of Eq. 2 and 4. Q: Q(h, a) less a baseline, see
        `actor_critic.action_advantage` (the released code: y - Q(h, a)).
        """
        if not self.of_actions or self.released:
            return [y - known[key(self.unit(*sample))] for sample, y in zip(samples, targets, strict=True)]
        found: dict[int, list[float]] = {}
        for node, _ in samples:
            if id(node) not in found:
                values = [known[key(unit)] for unit in self.units(node)]
                found[id(node)] = actor_critic.action_advantage(values, node.actions, agent)
        return [found[id(node)][j] for node, j in samples]
