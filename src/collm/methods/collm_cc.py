"""CoLLM-CC: one critic on the joint history of all agents gives them all the same error (paper Eq. 4, 5, Alg. 1)."""

from __future__ import annotations

from collections.abc import Sequence


def joint_history(
    prompts: Sequence[str], joint_action: Sequence[str] | None = None, information: str | None = None
) -> str:
    """Text that the joint critic reads: every agent's prompt under its label, then, for Q, the joint action.

    Args:
        prompts: the current prompt of each agent (histories stand in the prompts).
        joint_action: the agents' responses for a critic of type Q, None for V.
        information: m_t, appended last (paper semantics only).
    """
    parts = [f"[Agent {agent}] {prompt}" for agent, prompt in enumerate(prompts)]
    if joint_action is not None:
        parts.append("[Joint Action]")
        parts += [f"[Agent {agent} action]\n{action}" for agent, action in enumerate(joint_action)]
    if information is not None:
        parts.append(information)
    return "\n\n".join(parts)
