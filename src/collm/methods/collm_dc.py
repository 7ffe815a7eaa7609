"""CoLLM-DC: every agent has a critic of its own that sees only that agent's history (paper Eq. 2, 3, Alg. 2)."""

from __future__ import annotations


def local_history(prompt: str, information: str | None = None) -> str:
    """Text that an agent's own critic reads: its current prompt and, in paper semantics, m_t."""
    return prompt if information is None else f"{prompt}\n\n{information}"
