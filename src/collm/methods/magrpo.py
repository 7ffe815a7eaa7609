"""MAGRPO: Monte Carlo returns compared within a group of joint responses, no critic (paper §4.1, Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def G(rewards: Sequence[float], children: Sequence[Sequence[float] | None], gamma: float) -> list[float]:
    """Monte Carlo return of every joint action of a node.

    Args:
        rewards: r^j per joint action j.
        children: returns of the joint actions of j's child node, None for a leaf.
        gamma: discount.
    Returns:
        G^j = r^j + gamma * mean of the child's returns, or r^j at a leaf.
    """
    returns = []
    for reward, child in zip(rewards, children, strict=True):
        returns.append(reward if child is None else reward + gamma * sum(child) / len(child))
    return returns


def response_returns(
    returns: Sequence[float], actions: Sequence[Sequence[int]], agent: int, k: int, total: bool = False
) -> torch.Tensor:
    """Return of each of an agent's `k` responses: the mean over the joint actions that it takes part in, [k].

    `actions[j][agent]` is the response that joint action j uses; with aligned joint actions the mean has one term. With
    crossed ones the mean over the partners' responses estimates the same quantity with less variance. `total` sums
    instead, as the released code does, which scales by K^(n-1).
    """
    sums = torch.zeros(k, dtype=torch.float64)
    counts = torch.zeros(k, dtype=torch.float64)
    for value, action in zip(returns, actions, strict=True):
        sums[action[agent]] += value
        counts[action[agent]] += 1
    return sums if total else sums / counts


def advantage(returns: torch.Tensor) -> torch.Tensor:
    """Eq. 1 with b = mean return of the group: A^k = R^k - mean(R) over the K responses of a node, [K].

    The baseline contains the response itself: the expected gradient is (K - 1) / K of the exact one.
    """
    return returns - returns.mean()
