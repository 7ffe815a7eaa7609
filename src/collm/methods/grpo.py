"""GRPO: MAGRPO with one agent, the group mean as baseline (paper Eq. 1 with n = 1, section 6.2)."""

from __future__ import annotations

from collm.methods.magrpo import advantage

__all__ = ["advantage"]
