"""CoLLM-DC: every agent has a critic of its own that sees only that agent's history (paper §4.2, Eq. 2, 3, Alg. 2).

    critic i reads   h_i,t, then m_t                                               `local_history`
    target           y_i,t = r_t + gamma * V_i(h_i,t+1)                            `actor_critic.y` (with lambda)
    advantage        A_i,t = delta_i,t = y_i,t - V_i(h_i,t)                        `advantages`
    normalisation    (A_i,t - mean) / deviation over the rollout, turn by turn     `signal`
    critic loss      (y_i,t - V_i(h_i,t))^2                                        `actor_critic.value_loss`
    policy loss      -rho_i * A_i,t                                                `policy_gradient.policy_loss`

AC is CoLLM-DC with one agent, whose local history is the whole one (section 6.2).

`advantages` and `signal` stand in collm_cc.py in almost the same lines, on purpose: each file can be read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collm.methods import actor_critic, policy_gradient
from collm.methods.signal import Sample, Signal, Unit


def local_history(prompt: str, action: str | None = None, information: str | None = None) -> str:
    """Text that an agent's own critic reads.

    Args:
        prompt: the agent's current prompt (its history stands in it).
        action: its response for a critic of type Q, None for V.
        information: m_t, appended last (paper semantics only).
    """
    return "\n\n".join(part for part in (prompt, action, information) if part is not None)


def critic_reads(
    critic: int, prompts: Sequence[str], joint_action: Sequence[str] | None, information: str | None
) -> str:
    """What critic number `critic` reads: the history of the agent of that number, nothing of the others."""
    return local_history(prompts[critic], joint_action[critic] if joint_action is not None else None, information)


def agents_of(critic: int, agents: int) -> tuple[int, ...]:
    """Agents that learn from a critic: the one whose critic it is."""
    return (critic,)


def advantages(
    agent: int, samples: Sequence[Sample], targets: Sequence[float], values: Mapping[Unit, float], of_actions: bool
) -> list[float]:
    """Advantage of every joint sample, not normalised, [samples]: delta_i,t = y_i,t - V_i(h_i,t) (Eq. 2).

    With a critic of type Q (`of_actions`, not in the paper) it is Q less a baseline: `actor_critic.action_advantage`.
    """
    if of_actions:
        return actor_critic.action_advantages(agent, samples, values)
    return [y - values[node, None] for (node, _), y in zip(samples, targets, strict=True)]


def signal(
    samples: Sequence[Sample],
    targets: Mapping[int, Sequence[float]],
    values: Mapping[int, Mapping[Unit, float]],
    agents: int,
    of_actions: bool,
    returns: Sequence[float],
    scaling: policy_gradient.Scaling,
) -> Signal:
    """What joint samples teach every agent, from its own critic's targets and values.

    Args:
        returns: [samples] discounted rewards to the end of the episode.
        scaling: how advantages are normalised and clamped; samples whose returns do not differ teach nothing.
    """
    raw = {agent: advantages(agent, samples, targets[agent], values[agent], of_actions) for agent in range(agents)}
    return Signal(policy_gradient.scaled(raw, samples, returns, scaling), values)
