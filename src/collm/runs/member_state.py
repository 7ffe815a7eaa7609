"""Trained numbers and optimisers of a team's members, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from collm.llm.team import Team


def state_of(team: Team, optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """All members' trained parameters (copies) and the optimisers' own states, by name, in main memory."""
    return {
        "members": {m.name: {name: part.detach().cpu().clone() for name, part in m.parameters()} for m in team.members},
        "optimisers": {name: _in_main_memory(optimiser) for name, optimiser in optimisers.items()},
    }


def _in_main_memory(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state as it loads on any device: it takes it to the device of its parameters."""
    whole = optimiser.state_dict()
    moved = {
        index: {name: part.cpu() if isinstance(part, torch.Tensor) else part for name, part in own.items()}
        for index, own in whole["state"].items()
    }
    return {**whole, "state": moved}


def restore(team: Team, optimisers: Mapping[str, torch.optim.Optimizer], state: Mapping[str, Any]) -> None:
    """Put back what `state_of` gave, on the devices that members and optimisers are on now."""
    with torch.no_grad():
        for member in team.members:
            for name, part in member.parameters():
                part.copy_(state["members"][member.name][name])
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
