"""Passes of a team's bases as a test wants them, whatever the bases would choose themselves."""

from __future__ import annotations

import contextlib
from typing import Any

from collm.llm.padded.passes import PaddedPasses
from collm.llm.passes import PassSettings
from collm.llm.team import Team


def settings(team: Team, **changes: Any) -> PassSettings:
    """Settings without autocast and recomputation, but for `changes`."""
    plain = {
        "device": team.device,
        "product_dtype": None,
        "autocast": contextlib.nullcontext,
        "recompute": False,
    }
    return PassSettings(**{**plain, **changes})


def padded(team: Team, chosen: PassSettings | None = None) -> Team:
    """The same team on transformers' own passes."""
    for member in team.members:
        base = member.base
        base.passes = PaddedPasses(base.model, base.adapted, base.pad, chosen or settings(team))
    return team
