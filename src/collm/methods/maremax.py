"""MAREMAX: MAGRPO's tree with the group's best return as baseline (paper Eq. 1 with b = max; after ReMax).

The original ReMax takes the return of a greedily decoded response; here, as in the released code, it is the largest of
the group, so that no response is ever pushed up, only the worse ones down.
"""

from __future__ import annotations

import torch


def advantage(returns: torch.Tensor) -> torch.Tensor:
    """A^k = R^k - max_l R^l <= 0 over the K responses of a node, [K]; the baseline depends on k, hence a bias."""
    return returns - returns.max()
