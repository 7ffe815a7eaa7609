"""CoLLM-CC: one critic on the joint history gives every agent the same advantage (paper §4.2, Eq. 4, 5, Alg. 1).

    critic reads     h_t = (h_1,t, ..., h_n,t), then m_t                           `joint_history`
    target           y_t = r_t + gamma * V(h_{t+1})                                `actor_critic.y` (with lambda)
    advantage        A_t = delta_t = y_t - V(h_t), for every agent alike           `advantages`
    normalisation    (A_t - mean) / deviation over the rollout, turn by turn       `signal`
    critic loss      (y_t - V(h_t))^2                                              `actor_critic.value_loss`
    policy loss      -rho_i * A_t, rho_i = pi_i(a_i,t | h_i,t) / pi_i,old(...)     `policy_gradient.policy_loss`

V and y of the advantage are those of the critic from before the first step on the rollout: later it has been fitted to
these very samples. With one minibatch per rollout, the paper's own setting, the two times are the same.

`advantages` and `signal` stand in collm_dc.py in almost the same lines, on purpose: each file can be read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collm.methods import actor_critic, policy_gradient
from collm.methods.signal import Sample, Signal, Unit


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


def critic_reads(
    critic: int, prompts: Sequence[str], joint_action: Sequence[str] | None, information: str | None
) -> str:
    """What critic number `critic`, the only one, reads: the joint history."""
    return joint_history(prompts, joint_action, information)


def agents_of(critic: int, agents: int) -> tuple[int, ...]:
    """Agents that learn from a critic: all of them from the one."""
    return tuple(range(agents))


def advantages(
    agent: int, samples: Sequence[Sample], targets: Sequence[float], values: Mapping[Unit, float], of_actions: bool
) -> list[float]:
    """Advantage of every joint sample, not normalised, [samples]: delta_t = y_t - V(h_t) (Eq. 4), whoever the agent.

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
    """What joint samples teach every agent, from the targets and values of critic 0.

    Args:
        returns: [samples] discounted rewards to the end of the episode.
        scaling: how advantages are normalised and clamped; samples whose returns do not differ teach nothing.
    """
    raw = {agent: advantages(agent, samples, targets[0], values[0], of_actions) for agent in range(agents)}
    return Signal(policy_gradient.scaled(raw, samples, returns, scaling), values)
