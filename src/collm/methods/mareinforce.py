"""MAREINFORCE: MAGRPO's tree without a baseline, A^k = R^k (paper Eq. 1 with b = 0; REINFORCE, Williams 1992)."""

from __future__ import annotations

import torch


def advantage(returns: torch.Tensor) -> torch.Tensor:
    """The returns themselves as advantages of the K responses of a node, [K]: unbiased, of the highest variance."""
    return returns.clone()
