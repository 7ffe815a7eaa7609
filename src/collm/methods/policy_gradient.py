"""What all methods share: importance ratio, advantage normalisation, policy loss (paper §4.1, Eq. 1, 2, 4)."""

from __future__ import annotations

import torch

SMALLEST_DEVIATION = 1e-6


def rho(log_pi: torch.Tensor, log_pi_old: torch.Tensor) -> torch.Tensor:
    """Importance ratio rho = pi_theta(a|h) / pi_old(a|h) of whole responses, [batch] (paper, below Eq. 1).

    The exponent is kept within 20, beyond which a ratio carries no information but overflows.
    """
    return torch.exp((log_pi - log_pi_old.detach()).clamp(-20.0, 20.0))


def policy_loss(log_pi: torch.Tensor, advantage: torch.Tensor, log_pi_old: torch.Tensor | None = None) -> torch.Tensor:
    """Per-sample loss [batch] whose gradient is the negative policy gradient of Eq. 1, 2 and 4.

    With `log_pi_old`: -rho * A, as grad rho = rho * grad log pi. Without: -log pi * A (the released code).
    """
    weight = log_pi if log_pi_old is None else rho(log_pi, log_pi_old)
    return -weight * advantage.detach()


def normalise(advantage: torch.Tensor) -> torch.Tensor:
    """(A - mean) / max(population deviation, 1e-6) over a vector; a single value stays as it is."""
    if advantage.numel() < 2:
        return advantage
    centred = advantage - advantage.mean()
    return centred / advantage.std(unbiased=False).clamp(min=SMALLEST_DEVIATION)


def normalise_by(advantage: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Normalise [batch] advantages within each turn, as the released code does.

    Returns shrink from turn to turn; while the critic has not learnt that, one mean over all turns would push the
    responses of whole turns up and those of others down.
    """
    result = advantage.clone()
    for number in turn.unique():
        result[turn == number] = normalise(advantage[turn == number])
    return result


def clip(advantage: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Clamp advantages to [-limit, limit]: one reading of "advantage clip" in the paper's appendix C.3."""
    return advantage if limit is None else advantage.clamp(-limit, limit)
