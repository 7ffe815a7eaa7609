"""What CoLLM-CC and CoLLM-DC share: temporal difference targets and critic loss (paper Eq. 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def y(reward: torch.Tensor, next_value: torch.Tensor, terminal: torch.Tensor, gamma: float) -> torch.Tensor:
    """One-step target y_t = r_t + gamma * V(h_{t+1}), or r_t where the episode ended; all [batch], no gradient."""
    return (reward + gamma * next_value * (~terminal)).detach()


def delta(target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Temporal difference error delta_t = y_t - V(h_t), used as the advantage; [batch], no gradient."""
    return (target - value).detach()


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
