"""What CoLLM-CC, CoLLM-DC and AC share: targets, advantages and critic loss (paper Eq. 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def y(
    reward: float, following: float | None, below: Sequence[float] = (), gamma: float = 1.0, trace: float = 0.0
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
        trace: lambda.
    """
    if following is None:
        return reward
    later = trace * sum(below) / len(below) if trace else 0.0
    return reward + gamma * ((1.0 - trace) * following + later)


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


def value_loss(target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Per-sample squared error (y - V)^2, [batch] (Eq. 3, 5; the target is held fixed)."""
    return (target.detach() - value).square()


def clipped_value_loss(target: torch.Tensor, value: torch.Tensor, old: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Larger of the plain and the clipped squared error, V_clip = V_old + clamp(V - V_old, -eps, eps)."""
    clipped = old + (value - old).clamp(-epsilon, epsilon)
    return torch.maximum(value_loss(target, value), value_loss(target, clipped))


def discounted(rewards: Sequence[float], gamma: float) -> list[float]:
    """Discounted return G_t of every turn of one trajectory (logged, not trained on)."""
    returns = []
    running = 0.0
    for reward in reversed(rewards):
        running = reward + gamma * running
        returns.append(running)
    return returns[::-1]


def m(turn: int, turns: int, last_reward: float | None, max_reward: float) -> str:
    """Global information m_t for critics as text: turn and last reward (appendix E.3); our wording."""
    last = "no reward so far" if last_reward is None else f"a last reward of {last_reward:.2f}"
    return f"Turn {turn + 1} of {turns}. The team has {last}; the best possible is {max_reward:.2f}."
