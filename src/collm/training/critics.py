"""The critics of a team: what they read, in tokens, and what they say of nodes and joint actions.

Both are addressed by units (`collm.methods.signal.Unit`): (node, None) for a critic of type V, which values a joint or
local history, (node, j) for one of type Q, which values a joint action there. What follows from the values stands in
`collm.methods`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from collm.common.errors import ConfigError
from collm.config.job import TrainingConfig
from collm.llm.batching import by_length
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.methods import actor_critic, collm_cc, collm_dc, policy_gradient
from collm.methods.registry import Row
from collm.methods.signal import Node, Sample, Signal, Unit
from collm.runs.distributed import Processes
from collm.training.step_metrics import explained_variance

KEEP_EXPLAINED = 0.2  # weight of the newest rollout in the running mean of the explained variance
LEAST_EXPLAINED = -1.0  # a critic far off has no lower bound; one such rollout would hold lambda at 1 for dozens


@dataclass(frozen=True)
class Context:
    """What learning has to know of the episodes.

    Attributes:
        gamma: discount.
        turns: H.
        max_reward: the largest one, as the learner sees it (for m_t).
        reward_range: largest less smallest reward, as the learner sees them.
        sampling: score responses under the policy that samples them (temperature, top-p, top-k); None: under the plain
            softmax (paper §5.2).
    """

    gamma: float
    turns: int
    max_reward: float
    reward_range: float
    sampling: Sampling | None = None


class ActorCritic(Protocol):
    """What `collm_cc` and `collm_dc` define."""

    def critic_reads(
        self, critic: int, prompts: Sequence[str], joint_action: Sequence[str] | None, information: str | None
    ) -> str: ...

    def agents_of(self, critic: int, agents: int) -> tuple[int, ...]: ...

    def signal(
        self,
        samples: Sequence[Sample],
        targets: Mapping[int, Sequence[float]],
        values: Mapping[int, Mapping[Unit, float]],
        agents: int,
        of_actions: bool,
        returns: Sequence[float],
        scaling: policy_gradient.Scaling,
    ) -> Signal: ...


METHODS: dict[str, ActorCritic] = {"joint": collm_cc, "local": collm_dc}  # by the critics of a row


class Critics:
    """The critics of a team, as functions of units; none for Monte Carlo methods."""

    def __init__(
        self,
        team: Team,
        row: Row,
        settings: TrainingConfig,
        context: Context,
        informed: bool,
        reads_as_actors: bool = False,
    ):
        """Critics of the method `row`.

        Args:
            informed: whether critics are told m_t.
            reads_as_actors: as in the released code a local critic reads the token ids of its agent, and a joint one
                the agents' prompts with their chat marks, in the tokenizer of agent 0.
        Raises:
            ConfigError: critics read ids of a tokenizer that their own model does not share.
        """
        self.team, self.settings, self.context, self.informed = team, settings, context, informed
        self._method = METHODS[row.critics] if row.critics is not None else None
        self.processes = Processes.of(team.accelerator)
        self.of_actions = settings.critic_type == "q"
        self.shared = settings.shared_backbone and row.critics == "local"
        self.reads_as_actors = reads_as_actors
        self.reads_ids = self.shared or (reads_as_actors and row.critics == "local")
        if reads_as_actors and self._method is not None:
            self._check_tokenizers()
        floor = settings.advantage_floor * context.reward_range
        self.scaling = policy_gradient.Scaling(settings.normalize_advantage, settings.advantage_clip, floor)
        self.explained = 0.0  # running mean of the variance of returns that critics explain before they learn them
        self.trace = self._trace()

    def _trace(self) -> float:
        """lambda of the next rollout; with `lambda_follows_critic` 1 - (1 - lambda) * the explained variance."""
        settings = self.settings
        if not settings.lambda_follows_critic:
            return settings.td_lambda
        return 1.0 - (1.0 - settings.td_lambda) * max(0.0, self.explained)

    def begin(self) -> None:
        """Begin a rollout: lambda stays what it is now until the next one."""
        self.trace = self._trace()

    def __len__(self) -> int:
        return 0 if self._method is None else len(self.team.critics)

    @property
    def method(self) -> ActorCritic:
        """The method's own file; ValueError for a method without critics."""
        if self._method is None:
            raise ValueError("Monte Carlo methods have no critics")
        return self._method

    def agents(self, critic: int) -> tuple[int, ...]:
        """Agents that learn from a critic."""
        return self.method.agents_of(critic, len(self.team.agents))

    def text(self, critic: int, unit: Unit) -> tuple[int, ...]:
        """Token ids of what a critic reads of a unit, in the critic's own tokenizer.

        A critic that shares its agent's backbone reads the agent's prompt (and response) as the agent itself did. So
        does any local critic of the released code, where a joint one reads in agent 0's tokenizer.
        """
        node, j = unit
        information = self._information(node)
        responses = None if j is None else [node.responses[agent][k] for agent, k in enumerate(node.actions[j])]
        joint_action = [response.text for response in responses] if responses else None
        if self.reads_ids:
            ids = node.prompts[critic] + (responses[critic].tokens if responses else ())
            return self.team.continued(critic, ids, f"\n\n{information}" if information else "")
        if self.reads_as_actors:
            read = [self.team.prompt_text(agent, ids) for agent, ids in enumerate(node.prompts)]
            return self.team.text_ids(critic, self.method.critic_reads(critic, read, joint_action, None), agent=0)
        prompts = ["\n\n".join(message["content"] for message in messages) for messages in node.observations]
        return self.team.text_ids(critic, self.method.critic_reads(critic, prompts, joint_action, information))

    def _check_tokenizers(self) -> None:
        """Refuse token ids that mean something else to a critic."""
        for critic, member in enumerate(self.team.critics):
            base, agent = member.base, self.team.agents[self.agents(critic)[0]].base
            if base.folder == agent.folder:
                continue
            theirs, known = agent.tokenizer.get_vocab(), base.tokenizer.get_vocab()
            rows = base.model.get_input_embeddings().weight.shape[0]
            other = sorted(token for token, number in theirs.items() if known.get(token, number) != number)
            if other or max(theirs.values()) >= rows or not theirs.keys() & known.keys():
                example = f" (token {other[0]!r}: {theirs[other[0]]} and {known[other[0]]})" if other else ""
                raise ConfigError(
                    f"semantics released: {member.name} on model {base.name!r} reads token ids of {agent.name!r}, "
                    f"which mean something else there{example}; take one model for agents and critics, or set "
                    "semantics to paper"
                )

    def _information(self, node: Node) -> str | None:
        if not self.informed:
            return None
        return actor_critic.m(node.turn, self.context.turns, node.last_reward, self.context.max_reward)

    @torch.no_grad()
    def values(self, critic: int, units: Iterable[Unit]) -> dict[Unit, float]:
        """Values of units, without gradient; every unit is computed once, by one of the processes."""
        distinct = list(dict.fromkeys(units))
        texts = [self.text(critic, unit) for unit in distinct]
        mine = self.processes.share([len(text) for text in texts])
        values = [0.0] * len(mine)
        for part in by_length([len(texts[index]) for index in mine], self.settings.micro_batch_tokens):
            for place, value in zip(
                part, self.team.values(critic, [texts[mine[p]] for p in part]).tolist(), strict=True
            ):
                values[place] = value
        return dict(zip(distinct, self.processes.gather(values), strict=True))

    def values_elsewhere(self, critic: int, samples: Sequence[Sample]) -> dict[Unit, float]:
        """Values that the targets of `samples` bootstrap from, but for those that are valued with `samples` anyway."""
        own = {actor_critic.unit(sample, self.of_actions) for sample in samples}
        needed = actor_critic.bootstraps(samples, self.trace, self.of_actions)
        return self.values(critic, [unit for unit in needed if unit not in own])

    def targets(
        self, critic: int, samples: Sequence[Sample], values: Mapping[Unit, float] | None = None
    ) -> list[float]:
        """y of every joint sample (Eq. 3, 5).

        Args:
            values: what to bootstrap from, fixed at some earlier time; None asks the critic as it is now.
        """
        trace = self.trace
        if values is None:
            values = self.values(critic, actor_critic.bootstraps(samples, trace, self.of_actions))
        return actor_critic.targets(samples, values, self.context.gamma, trace, self.of_actions)

    def signal(
        self,
        samples: Sequence[Sample],
        targets: Mapping[int, Sequence[float]],
        values: Mapping[int, Mapping[Unit, float]],
    ) -> Signal:
        """What joint samples teach the agents, by the method's own file; targets and values are [critic]."""
        returns = actor_critic.targets(samples, {}, self.context.gamma, 1.0, self.of_actions)
        agents = len(self.team.agents)
        self._note_explained(samples, returns, values)
        return self.method.signal(samples, targets, values, agents, self.of_actions, returns, self.scaling)

    def _note_explained(
        self, samples: Sequence[Sample], returns: Sequence[float], values: Mapping[int, Mapping[Unit, float]]
    ) -> None:
        """Move the running mean by what values from before a rollout's first step explain of its returns."""
        shares = []
        for of_units in values.values():
            own = [of_units[actor_critic.unit(sample, self.of_actions)] for sample in samples]
            share = explained_variance(torch.tensor(own), torch.tensor(list(returns)))
            shares.append(max(LEAST_EXPLAINED, share))
        if shares:
            self.explained += KEEP_EXPLAINED * (sum(shares) / len(shares) - self.explained)
