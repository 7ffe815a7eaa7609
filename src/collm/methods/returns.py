"""The return of one played episode from its raw rewards, as training counts it. No torch: reports use it, too."""

from __future__ import annotations

from collections.abc import Sequence


def episode_return(rewards: Sequence[float], discount: float, scale: float, shift: float, reward: str) -> float:
    """Discounted sum of what the turns of an episode pay: sum over t of discount^t * (scale * rewards[t] + shift).

    Args:
        rewards: raw, of every turn that was played, [turns].
        reward: `rollout.reward`; every_turn, or last_turn, by which the last one alone pays.
    """
    paid = [scale * value + shift for value in rewards]
    if reward == "last_turn":
        paid = [0.0] * (len(paid) - 1) + paid[-1:]
    return sum(discount**turn * value for turn, value in enumerate(paid))
