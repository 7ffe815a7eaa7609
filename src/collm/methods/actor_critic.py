"""What CoLLM-CC, CoLLM-DC and AC share: targets, critic losses, global information (paper Eq. 2 to 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from collm.methods.signal import Node, Sample, Unit


def units(node: Node, of_actions: bool) -> list[Unit]:
    """All that is valued at a node: its history (V), or with `of_actions` each of its joint actions (Q)."""
    return [(node, j) for j in range(len(node.actions))] if of_actions else [(node, None)]


def unit(sample: Sample, of_actions: bool) -> Unit:
    """What is valued for a joint sample."""
    node, j = sample
    return (node, j) if of_actions else (node, None)


# targets


def y(
    reward: float, following: float | None, below: Sequence[float] = (), gamma: float = 1.0, td_lambda: float = 0.0
) -> float:
    """Target of one joint action (inside Eq. 3 and 5, which are the case lambda = 0).

    y = r + gamma * ((1 - lambda) * V(h_{t+1}) + lambda * mean of the targets one turn on), or r where the episode ends.
    lambda = 1 is the Monte Carlo return; in between, y - V is the generalised advantage estimate.

    Args:
        reward: r.
        following: V of the history that follows (for a critic of type Q the mean of Q over its joint actions); None at
            the end of an episode.
        below: targets of the joint actions one turn on; only read for lambda > 0.
        gamma: discount.
        td_lambda: lambda.
    """
    if following is None:
        return reward
    later = td_lambda * sum(below) / len(below) if td_lambda else 0.0
    return reward + gamma * ((1.0 - td_lambda) * following + later)


def targets(
    samples: Sequence[Sample], values: Mapping[Unit, float], gamma: float, td_lambda: float, of_actions: bool
) -> list[float]:
    """y of every joint sample from a critic's values of what follows (see `bootstraps`)."""
    reckoned: dict[Sample, float] = {}

    def target(node: Node, j: int) -> float:
        if (node, j) not in reckoned:
            child = node.children[j]
            following = None if child is None else bootstrap(child)
            below = [target(child, i) for i in range(len(child.actions))] if child is not None and td_lambda else ()
            reckoned[node, j] = y(node.rewards[j], following, below, gamma, td_lambda)
        return reckoned[node, j]

    def bootstrap(node: Node) -> float:
        of_node = [values[item] for item in units(node, of_actions)] if td_lambda < 1.0 else [0.0]
        return sum(of_node) / len(of_node)

    return [target(node, j) for node, j in samples]


def bootstraps(samples: Sequence[Sample], td_lambda: float, of_actions: bool) -> list[Unit]:
    """Units that the targets of `samples` bootstrap from: one turn on, or with lambda > 0 all that follow."""
    if td_lambda == 1.0:
        return []
    children = [node.children[j] for node, j in samples]
    later = [node for child in children if child is not None for node in (child.walk() if td_lambda else [child])]
    return [item for node in later for item in units(node, of_actions)]


# advantages of critics of type Q (not in the paper)


def action_advantage(values: Sequence[float], actions: Sequence[Sequence[int]], agent: int) -> list[float]:
    """Advantages of a node's joint actions under a critic of type Q, from the point of view of one agent.

    A_i^j = Q(h, a^j) - mean of Q(h, a^l) over the joint actions l in which agent i gives another of its responses. That
    baseline does not depend on the agent's own response, so that it adds no bias; without another response it is 0.
    (The error y - Q, in analogy to V, has mean zero under an exact Q and teaches nothing.)
    """
    advantages = []
    for value, action in zip(values, actions, strict=True):
        others = [q for q, other in zip(values, actions, strict=True) if other[agent] != action[agent]]
        advantages.append(value - (sum(others) / len(others) if others else 0.0))
    return advantages


def action_advantages(agent: int, samples: Sequence[Sample], values: Mapping[Unit, float]) -> list[float]:
    """`action_advantage` of every joint sample."""
    of_node = {
        node: action_advantage([values[item] for item in units(node, True)], node.actions, agent) for node, _ in samples
    }
    return [of_node[node][j] for node, j in samples]


# losses of critics


def value_loss(target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Per-sample squared error (y - V)^2, [batch] (Eq. 3, 5; the target is held fixed)."""
    return (target.detach() - value).square()


def clipped_value_loss(target: torch.Tensor, value: torch.Tensor, old: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Larger of the plain and the clipped squared error, V_clip = V_old + clamp(V - V_old, -eps, eps)."""
    clipped = old + (value - old).clamp(-epsilon, epsilon)
    return torch.maximum(value_loss(target, value), value_loss(target, clipped))


def m(turn: int, turns: int, last_reward: float | None, max_reward: float) -> str:
    """Global information m_t for critics as text: turn and last reward (appendix E.3); our wording."""
    last = "no reward so far" if last_reward is None else f"a last reward of {last_reward:.2f}"
    return f"Turn {turn + 1} of {turns}. The team has {last}; the best possible is {max_reward:.2f}."
