"""MARLOO: MAGRPO's tree with a leave-one-out baseline (paper Eq. 1 with b = mean of the others; RLOO)."""

from __future__ import annotations

import torch


def advantage(returns: torch.Tensor) -> torch.Tensor:
    """A^k = R^k - mean of the other K - 1 returns = (K R^k - sum R) / (K - 1), [K].

    The baseline does not depend on response k: the expected gradient is the exact one.
    """
    count = returns.numel()
    return (count * returns - returns.sum()) / (count - 1)
