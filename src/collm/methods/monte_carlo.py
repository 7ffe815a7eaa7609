"""MAGRPO and its family: Monte Carlo returns compared within a group of joint responses, no critic (paper §4.1, Eq. 1).

    return of a joint action    G^j = r^j + gamma * mean of G over the joint actions that follow              `G`
    return of a response        R^k = mean of G^j over the joint actions j that response k takes part in      `R`
    advantage                   A^k = R^k - b, compared with the group of an agent's K responses to a prompt
        MAGRPO, GRPO    b = mean of the group        `magrpo`
        MAREINFORCE     b = 0                        `mareinforce`
        MARLOO          b = mean of the others       `marloo`
        MAREMAX         b = best of the group        `maremax`
    normalisation               (A - mean) / deviation over the group; 0 if its returns do not differ

Every agent i then ascends rho_i * A_i^k * grad log pi_i(a_i^k | h_i) (`policy_gradient`). GRPO is MAGRPO with one agent
(section 6.2).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch

from collm.methods import policy_gradient
from collm.methods.registry import ROWS
from collm.methods.signal import Node, Sample, Signal


def G(node: Node, gamma: float) -> list[float]:
    """Monte Carlo return of every joint action of a node, [J].

    G^j = r^j + gamma * mean of the returns of the node that follows, or r^j where the episode ends.
    """
    returns = []
    for reward, child in zip(node.rewards, node.children, strict=True):
        following = None if child is None else G(child, gamma)
        returns.append(reward if following is None else reward + gamma * sum(following) / len(following))
    return returns


def R(
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


def magrpo(returns: torch.Tensor) -> torch.Tensor:
    """Eq. 1 with b = mean return of the group: A^k = R^k - mean(R) over the K responses of a node, [K].

    The baseline contains the response itself: the expected gradient is (K - 1) / K of the exact one.
    """
    return returns - returns.mean()


def mareinforce(returns: torch.Tensor) -> torch.Tensor:
    """Eq. 1 with b = 0 (REINFORCE, Williams 1992): A^k = R^k, [K]. Unbiased, of the highest variance."""
    return returns.clone()


def marloo(returns: torch.Tensor) -> torch.Tensor:
    """Eq. 1 with a leave-one-out baseline (RLOO): A^k = R^k - mean of the other K - 1 returns, [K].

    That is (K R^k - sum R) / (K - 1). The baseline does not depend on response k: the expected gradient is exact.
    """
    count = returns.numel()
    return (count * returns - returns.sum()) / (count - 1)


def maremax(returns: torch.Tensor) -> torch.Tensor:
    """Eq. 1 with b = the group's best return (after ReMax): A^k = R^k - max_l R^l <= 0, [K].

    The original ReMax takes the return of a greedily decoded response; here, as in the released code, it is the largest
    of the group, so that no response is ever pushed up, only the worse ones down. As it depends on k, there is a bias.
    """
    return returns - returns.max()


ADVANTAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "magrpo": magrpo,
    "mareinforce": mareinforce,
    "marloo": marloo,
    "maremax": maremax,
    "grpo": magrpo,
}


def advantage_of(method: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes the advantages of a group of its returns, [K] -> [K]; of a method of another module its own."""
    place = ROWS[method].advantage
    if place is None:
        return ADVANTAGES[method]
    module, _, name = place.partition(":")
    function: Callable[[torch.Tensor], torch.Tensor] = getattr(importlib.import_module(module), name)
    return function


def group_advantages(
    method: str, node: Node, agent: int, gamma: float, scaling: policy_gradient.Scaling, total: bool = False
) -> torch.Tensor:
    """A of an agent's K responses at a node as they enter the loss, [K] in float64."""
    returns = R(G(node, gamma), node.actions, agent, len(node.responses[agent]), total)
    advantage = advantage_of(method)(returns)
    if scaling.normalise:
        advantage = policy_gradient.normalise(advantage, scaling.floor, returns)
    return policy_gradient.clip(advantage, scaling.limit)


def signal(
    method: str,
    nodes: Sequence[Node],
    agents: int,
    gamma: float,
    scaling: policy_gradient.Scaling,
    total: bool = False,
) -> Signal:
    """What a rollout teaches: every joint sample has the advantage of the response that an agent gives in it.

    Args:
        scaling: how the advantages of a group are normalised and clamped.
        total: see `R`.
    """
    advantages: dict[int, dict[Sample, float]] = {agent: {} for agent in range(agents)}
    for agent in range(agents):
        for node in nodes:
            of_response: list[float] = group_advantages(method, node, agent, gamma, scaling, total).tolist()
            advantages[agent] |= {(node, j): of_response[action[agent]] for j, action in enumerate(node.actions)}
    return Signal(advantages)
