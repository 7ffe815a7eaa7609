"""CoLLM-DC: every agent has a critic of its own that sees only that agent's history (paper Eq. 2, 3, Alg. 2)."""

from __future__ import annotations


def local_history(prompt: str, action: str | None = None, information: str | None = None) -> str:
    """Text that an agent's own critic reads.

    Args:
        prompt: the agent's current prompt (its history stands in it).
        action: its response for a critic of type Q, None for V.
        information: m_t, appended last (paper semantics only).
    """
    return "\n\n".join(part for part in (prompt, action, information) if part is not None)
