"""Trained numbers and optimisers of a team's members, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from collm.llm.team import Team


def state_of(team: Team, optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Copies of all members' trained parameters in main memory, and the optimisers' own states by name."""
    return {
        "members": {m.name: {name: part.detach().cpu().clone() for name, part in m.parameters()} for m in team.members},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
    }


def restore(team: Team, optimisers: Mapping[str, torch.optim.Optimizer], state: Mapping[str, Any]) -> None:
    """Put back what `state_of` gave."""
    with torch.no_grad():
        for member in team.members:
            for name, part in member.parameters():
                part.copy_(state["members"][member.name][name])
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
