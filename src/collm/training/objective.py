"""What an agent's step minimises: the policy loss of `collm.methods.policy_gradient` with the options that are on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from collm.config.job import TrainingConfig
from collm.methods import policy_gradient


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of responses, one entry per joint sample, all [samples].

    Attributes:
        now: under the policy that learns.
        entropy: mean per token of the policy that learns.
        length: tokens.
        old: under the policy that played; None: no importance ratio.
        reference: under the reference of the divergence; None: without.
    """

    now: torch.Tensor
    entropy: torch.Tensor
    length: torch.Tensor
    old: torch.Tensor | None
    reference: torch.Tensor | None

    def repeated(self, copies: torch.Tensor) -> Scores:
        """Every response as often as it has joint samples, [responses] to [samples]."""
        old, reference = self.old, self.reference
        return Scores(
            self.now.repeat_interleave(copies),
            self.entropy.repeat_interleave(copies),
            self.length.repeat_interleave(copies),
            None if old is None else old.repeat_interleave(copies),
            None if reference is None else reference.repeat_interleave(copies),
        )

    @property
    def moved(self) -> torch.Tensor | None:
        """How far the policy has moved from the one that played, in nats per token."""
        return None if self.old is None else policy_gradient.moved(self.now.detach(), self.old, self.length)

    @property
    def divergence(self) -> torch.Tensor | None:
        """Estimated divergence from the reference, in nats per response."""
        return None if self.reference is None else (self.now - self.reference).detach()


class Objective:
    """The loss of an agent's step."""

    def __init__(self, settings: TrainingConfig):
        self.settings = settings
        self.bounded = settings.entropy_floor is not None or settings.entropy_ceiling is not None
        self.entropy_gradient = settings.entropy_coefficient > 0 or self.bounded
        self.regularised = settings.entropy_coefficient > 0 or settings.kl_coefficient > 0

    def weighed(self, advantage: torch.Tensor) -> torch.Tensor:
        """[samples] advantages as they enter the loss."""
        return policy_gradient.weigh_negative(advantage, self.settings.negative_weight)

    def weight(self, length: torch.Tensor) -> torch.Tensor:
        """[samples] factors of the losses of a step's responses; `length` is that of all of them."""
        return policy_gradient.loss_weight(self.settings.loss_per, length)

    def ratio(self, scores: Scores) -> torch.Tensor | None:
        """[samples] importance ratios; None where the update rule has none."""
        if scores.old is None:
            return None
        return policy_gradient.rho(scores.now.detach(), scores.old, self._length(scores))

    def loss(self, advantage: torch.Tensor, weight: torch.Tensor, scores: Scores) -> torch.Tensor:
        """[samples] losses."""
        settings = self.settings
        loss = policy_gradient.policy_loss(scores.now, advantage, scores.old, settings.ratio_clip, self._length(scores))
        if scores.reference is not None:
            loss = loss + settings.kl_coefficient * policy_gradient.kl_loss(scores.now, scores.reference, scores.old)
        loss = weight * loss
        if settings.entropy_coefficient:
            loss = loss - settings.entropy_coefficient * scores.entropy
        if self.bounded:
            loss = loss + settings.entropy_bound_coefficient * self.outside(scores.entropy)
        return loss

    def outside(self, entropy: torch.Tensor) -> torch.Tensor:
        """[samples] nats per token by which entropies are outside of their bounds."""
        return policy_gradient.entropy_loss(entropy, self.settings.entropy_floor, self.settings.entropy_ceiling)

    def _length(self, scores: Scores) -> torch.Tensor | None:
        return scores.length if self.settings.importance_ratio == "geometric" else None
