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


def response_returns(returns: Sequence[float], actions: Sequence[Sequence[int]], agent: int, k: int) -> torch.Tensor:
    """Return of each of an agent's `k` responses: the sum over the joint actions that it takes part in.

    `actions[j][agent]` is the response that joint action j uses; with aligned joint actions the sum has one term.
    """
    totals = torch.zeros(k, dtype=torch.float64)
    for value, action in zip(returns, actions, strict=True):
        totals[action[agent]] += value
    return totals


def advantage(returns: torch.Tensor, mode: str = "mean") -> torch.Tensor:
    """Group advantage over the K responses of a node, before normalisation.

    Args:
        returns: [K].
        mode: mean (MAGRPO), raw (MAREINFORCE), max (MAREMAX), rloo (MARLOO).
    Raises:
        ValueError: unknown mode.
    """
    if mode == "mean":
        return returns - returns.mean()
    if mode == "raw":
        return returns.clone()
    if mode == "max":
        return returns - returns.max()
    if mode == "rloo":
        count = returns.numel()
        return (count * returns - returns.sum()) / (count - 1)
    raise ValueError(f"advantage mode {mode!r}; allowed: mean, raw, max, rloo")
