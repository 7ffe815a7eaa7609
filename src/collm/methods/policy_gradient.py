"""What all methods share: importance ratio, advantage normalisation, policy loss (paper §4.1, Eq. 1, 2, 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from collm.methods.signal import Sample

SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Scaling:
    """How advantages are brought to one scale before they enter the loss.

    Attributes:
        normalise: by mean and deviation of the samples that are compared with each other.
        limit: advantages are clamped to plus or minus this; None: not at all.
        floor: deviation of returns, in units of reward, below which samples do not differ; 0 is off.
    """

    normalise: bool
    limit: float | None = None
    floor: float = 0.0


def rho(log_pi: torch.Tensor, log_pi_old: torch.Tensor, length: torch.Tensor | None = None) -> torch.Tensor:
    """Importance ratio rho = pi_theta(a|h) / pi_old(a|h) of whole responses, [batch] (paper, below Eq. 1).

    The exponent is kept within 20, beyond which a ratio carries no information but overflows.

    Args:
        length: [batch] tokens of the responses; given, the ratio is the geometric mean of those of the tokens (GSPO,
            arXiv 2507.18071, Eq. 7), which stays near 1 for long responses, too. Not in the paper.
    """
    change = log_pi - log_pi_old.detach()
    return torch.exp((change if length is None else change / length).clamp(-20.0, 20.0))


def policy_loss(
    log_pi: torch.Tensor,
    advantage: torch.Tensor,
    log_pi_old: torch.Tensor | None = None,
    ratio_clip: float | None = None,
    length: torch.Tensor | None = None,
) -> torch.Tensor:
    """Per-sample loss [batch] whose gradient is the negative policy gradient of Eq. 1, 2 and 4.

    With `log_pi_old`: -rho * A, as grad rho = rho * grad log pi. Without: -log pi * A (the released code). With
    `ratio_clip` (not in the paper): PPO's -min(rho * A, clip(rho, 1 - eps, 1 + eps) * A). With `length` the geometric
    ratio (`rho`), times the length, so that the gradient at rho = 1 is the same as without.
    """
    advantage = advantage.detach()
    if log_pi_old is None:
        return -log_pi * advantage
    ratio = rho(log_pi, log_pi_old, length)
    advantage = advantage if length is None else length * advantage
    if ratio_clip is None:
        return -ratio * advantage
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - ratio_clip, 1.0 + ratio_clip) * advantage)


def loss_weight(loss_per: str, length: torch.Tensor) -> torch.Tensor:
    """Factors [batch] of the responses' losses: what counts the same, however long it is (not in the paper).

    sequence: 1, every response with the sum over its tokens (Eq. 1). response: 1 / length, every response the same
    (GRPO). token: 1 / mean length, every token the same (DAPO, arXiv 2503.14476, Eq. 12).

    Args:
        length: [batch] tokens of all responses of a step.
    """
    if loss_per == "response":
        return 1.0 / length
    return torch.ones_like(length) / (length.mean() if loss_per == "token" else 1.0)


def weigh_negative(advantage: torch.Tensor, weight: float) -> torch.Tensor:
    """Advantages [batch] of which those below 0 count `weight` times as much (not in the paper).

    What pushes a response down makes all others likelier, wherever that leads; what pushes one up says where to go.
    """
    return torch.where(advantage < 0, weight * advantage, advantage)


def entropy_loss(entropy: torch.Tensor, floor: float | None, ceiling: float | None) -> torch.Tensor:
    """Nats per token [batch] by which the mean entropy of responses is outside of its bounds (not in the paper)."""
    below = (floor - entropy).clamp(min=0.0) if floor is not None else torch.zeros_like(entropy)
    above = (entropy - ceiling).clamp(min=0.0) if ceiling is not None else torch.zeros_like(entropy)
    return below + above


def moved(log_pi: torch.Tensor, log_pi_old: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """How far a policy has moved from the one that played, in nats per token, [batch], never negative.

    rho - 1 - log rho of the geometric ratio: the low-variance estimate of KL(pi_old || pi) by responses of pi_old.
    """
    change = ((log_pi - log_pi_old) / length).clamp(-20.0, 20.0)
    return torch.exp(change) - 1.0 - change


def kl_loss(
    log_pi: torch.Tensor, log_pi_reference: torch.Tensor, log_pi_old: torch.Tensor | None = None
) -> torch.Tensor:
    """Per-sample loss [batch] whose expected gradient is that of KL(pi || pi_reference) over whole responses.

    rho * (log pi - log pi_reference)^2 / 2 with rho held fixed: its gradient is rho * (log pi - log pi_reference) *
    grad log pi, the score-function estimate of the gradient of the divergence. Not in the paper; off by default.
    """
    weight = 1.0 if log_pi_old is None else rho(log_pi.detach(), log_pi_old)
    return weight * (log_pi - log_pi_reference.detach()).square() / 2.0


def normalise(advantage: torch.Tensor, floor: float = 0.0, returns: torch.Tensor | None = None) -> torch.Tensor:
    """(A - mean) / max(population deviation, floor, 1e-6) over a vector; a single value stays as it is.

    Where the returns themselves deviate by less than `floor`, the samples do not differ in what they earned: what their
    advantages differ by is rounding or the critic's own noise, which a division by its deviation would turn into a full
    step. All advantages are 0 then.

    Args:
        floor: in units of reward; 0 leaves the guard against a division by zero alone.
        returns: what the samples earned, undiminished by any baseline; None: the advantages tell.
    """
    if advantage.numel() < 2:
        return advantage
    contrast = (advantage if returns is None else returns).std(unbiased=False)
    if floor and contrast < floor:
        return torch.zeros_like(advantage)
    centred = advantage - advantage.mean()
    return centred / advantage.std(unbiased=False).clamp(min=max(SMALLEST_DEVIATION, floor))


def normalise_by(
    advantage: torch.Tensor, turn: torch.Tensor, floor: float = 0.0, returns: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalise [samples] advantages within each turn; `floor` and `returns` as in `normalise`.

    Returns shrink from turn to turn; while the critic has not learnt that, one mean over all turns would push the
    responses of whole turns up and those of others down. A turn with a single sample, which has no deviation of its
    own, takes mean and deviation of all samples, so that it stands on the same scale as the others; if no turn has
    two samples, nothing can be compared and all stay as they are.
    """
    turns = sorted(set(turn.tolist()))
    if not any(int((turn == number).sum()) > 1 for number in turns):
        return advantage
    returns = advantage if returns is None else returns
    overall, result = normalise(advantage, floor, returns), advantage.clone()
    for number in turns:
        own = turn == number
        result[own] = normalise(advantage[own], floor, returns[own]) if int(own.sum()) > 1 else overall[own]
    return result


def clip(advantage: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Clamp advantages to [-limit, limit]: one reading of "advantage clip" in the paper's appendix C.3."""
    return advantage if limit is None else advantage.clamp(-limit, limit)


def scaled(
    raw: Mapping[int, Sequence[float]], samples: Sequence[Sample], returns: Sequence[float], scaling: Scaling
) -> dict[int, dict[Sample, float]]:
    """Advantages per agent as they enter the loss: normalised within each turn and clamped, as asked for.

    Args:
        raw: [agent][samples].
        returns: [samples] discounted rewards to the end of the episode, which say whether samples differ.
    Returns:
        [agent][joint sample].
    """
    turns = torch.tensor([node.turn for node, _ in samples])
    earned = torch.tensor(returns, dtype=torch.get_default_dtype())
    advantages = {}
    for agent, numbers in raw.items():
        advantage = torch.tensor(numbers, dtype=torch.get_default_dtype())
        if scaling.normalise:
            advantage = normalise_by(advantage, turns, scaling.floor, earned)
        advantage = clip(advantage, scaling.limit)
        advantages[agent] = dict(zip(samples, advantage.tolist(), strict=True))
    return advantages
