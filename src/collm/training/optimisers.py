"""The optimiser of a member: AdamW, on float32 copies where the weights that it trains are kept in bfloat16.

A bfloat16 number has 8 significant bits: a weight of 0.02 does not move by less than 6.1e-5, and steps of usual rates
are smaller. Steps are therefore added up in float32, and what the model computes with is that, rounded
(`team.states: float32`; mixed-precision training, arXiv 1710.03740, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from collm.config.job import TeamConfig
from collm.llm.member import Member
from collm.llm.memory_savers import HOME, OffloadedAdamW


class MasterAdamW(torch.optim.AdamW):
    """AdamW on float32 copies of parameters, which are set to the copies, rounded, after every step.

    Parameters that are in float32 already are their own copies. With `offload` copies and moments live in main memory
    and steps are made there; gradients go there and weights come back.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], offload: bool = False, **options: Any):
        self.trained = list(parameters)
        self.masters = [_master(part, HOME if offload else part.device) for part in self.trained]
        super().__init__(self.masters, **options)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step and round. A closure is not supported."""
        if closure is not None:
            raise ValueError("MasterAdamW takes no closure")
        apart = [(part, own) for part, own in zip(self.trained, self.masters, strict=True) if part is not own]
        for part, own in apart:
            own.grad = None if part.grad is None else part.grad.to(own.device, own.dtype)
        super().step()
        for part, own in apart:
            own.grad = None
            part.copy_(own)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of what is trained."""
        super().zero_grad(set_to_none)
        for part in self.trained:
            if set_to_none:
                part.grad = None
            elif part.grad is not None:
                part.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """AdamW's, with the copy of every parameter beside its moments, as "master"."""
        whole = super().state_dict()
        copies = {index: {"master": own.detach()} for index, own in enumerate(self.masters)}
        return {**whole, "state": {index: {**whole["state"].get(index, {}), **copy} for index, copy in copies.items()}}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, the trained parameters included."""
        kept = {index: dict(own) for index, own in state_dict["state"].items()}
        for index, (part, own) in enumerate(zip(self.trained, self.masters, strict=True)):
            own.copy_(kept[index].pop("master"))
            part.copy_(own)
        super().load_state_dict({**state_dict, "state": {index: own for index, own in kept.items() if own}})


def _master(part: torch.nn.Parameter, device: torch.device) -> torch.nn.Parameter:
    if part.dtype == torch.float32 and part.device == device:
        return part
    return torch.nn.Parameter(part.detach().to(device, torch.float32, copy=True))


def optimiser(
    member: Member,
    settings: TeamConfig,
    rate: float,
    weight_decay: float,
    offload: bool = False,
    fused: bool | None = None,
) -> torch.optim.AdamW:
    """The optimiser of what a member trains.

    Args:
        offload: its states live in main memory (`training.offload_optimiser`).
        fused: as AdamW takes it.
    """
    parameters = [parameter for _, parameter in member.parameters()]
    if settings.keeps_masters:
        return MasterAdamW(parameters, offload, lr=rate, weight_decay=weight_decay, fused=fused)
    kind = OffloadedAdamW if offload else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=weight_decay, fused=fused)
