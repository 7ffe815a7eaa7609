"""AC: CoLLM-DC with one agent, whose local history is the whole one (paper Eq. 2, 3 with n = 1, section 6.2)."""

from __future__ import annotations

from collm.methods.collm_dc import local_history

__all__ = ["local_history"]
