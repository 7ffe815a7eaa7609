"""Batches of made-up tokens, as long as a run's own can be, to see what memory they take (`fitting`).

Nothing of a team changes but its gradients, which are none before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from collm.config.job import Job, automatic
from collm.llm.batching import Pair, by_length, by_prompt
from collm.llm.member import Member
from collm.llm.responding import first_of_learner
from collm.llm.sampling import Request, Sampling
from collm.llm.team import Team
from collm.methods.registry import WARM_STARTS
from collm.planning import memory
from collm.planning.counts import CRITIC_LABEL_TOKENS, Lengths
from collm.runs.fitting import Search

LEAST_TOKENS = 16  # of a micro-batch, as the setting allows
NEVER = frozenset({-1})  # ends of a response: no token


def searches(
    job: Job, team: Team, critics: str | None, lengths: Lengths, tests: int, trained: bool
) -> dict[str, Search]:
    """What is to be measured of the settings that are "auto", rows first: their caches stay while agents learn.

    Args:
        critics: of the team (`collm.llm.team`).
        lengths: of prompts and responses.
        tests: number of test tasks.
        trained: whether there is learning; without it micro-batches keep nothing and stay as they are.
    """
    largest = memory.training_batches(job, lengths, critics, tests)
    if not trained:
        largest = memory.evaluation_batches(job, lengths, tests)
    texts = Texts.of(job, lengths, critics)
    trials = TrialBatches(team, job, texts)
    agents = len(team.agents)
    found = {
        "rollout.max_rows": Search(trials.decode, 1, 8 * agents, agents * largest.rows),
        "training.micro_batch_tokens": Search(trials.learn, LEAST_TOKENS, texts.longest, texts.update),
    }
    if not trained:
        del found["training.micro_batch_tokens"]
    return {name: search for name, search in found.items() if name in automatic(job)}


@dataclass(frozen=True)
class Texts:
    """The longest texts of a run, in tokens.

    Attributes:
        prompt: of an agent.
        response: of an agent.
        copies: responses per prompt.
        read: what a critic reads.
        samples: prompts with a response, or texts of a critic, that an optimiser step is made of.
    """

    prompt: int
    response: int
    copies: int
    read: int
    samples: int

    @classmethod
    def of(cls, job: Job, lengths: Lengths, critics: str | None) -> Texts:
        """The longest texts of a job; `lengths` are those of its prompts."""
        plan, fine_tuned = job.rollout, job.method in WARM_STARTS
        read = (job.team.num_agents if critics == "joint" else 1) * lengths.longest + CRITIC_LABEL_TOKENS
        if job.training.critic_type == "q":
            read += (job.team.num_agents if critics == "joint" else 1) * lengths.response
        copies = 1 if fine_tuned else plan.generations
        samples = job.warm_start.batch_size if fine_tuned else job.training.minibatch_size
        return cls(lengths.longest, lengths.response, copies, read if critics else 0, samples)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence of a backward pass."""
        return max(self.prompt + self.response, self.read)

    @property
    def update(self) -> int:
        """Tokens of an optimiser step, if no prompt stood twice."""
        return self.samples * self.longest


class TrialBatches:
    """Batches for a team."""

    def __init__(self, team: Team, job: Job, texts: Texts):
        self.team, self.texts, self.mixed = team, texts, job.rollout.decode == "mixed"
        plan, training = job.rollout, job.training
        self.sampling = Sampling(plan.max_new_tokens, plan.temperature, plan.top_p, plan.top_k)
        self.scored_as = self.sampling if training.score == "sampled" else None
        bounded = training.entropy_floor is not None or training.entropy_ceiling is not None
        self.entropy = training.entropy_coefficient > 0 or bounded

    def decode(self, rows: int) -> None:
        """Draw `rows` responses of full length to as many prompts, on every base of the agents in turn."""
        for agents in self._decoded_together():
            base, each = agents[0].base, max(1, rows // len(agents))
            length = max(1, min(self.texts.prompt, base.context - self.sampling.max_new_tokens))
            requests = [
                Request(group, _tokens(length, group * each + row, base.model), (row,))
                for group in range(len(agents))
                for row in range(each)
            ]
            base.passes.decode([agent.adapter for agent in agents], requests, self.sampling, NEVER)

    def learn(self, tokens: int) -> None:
        """A forward and a backward pass over at most `tokens` padded tokens, of an agent and a critic of every base."""
        try:
            for member in self._one_of_a_kind(self.team.agents):
                pairs = self._pairs(member)
                part = max(by_prompt(pairs, tokens), key=len)
                member.activate()
                scored = [pairs[index] for index in part]
                scores, entropy = member.base.passes.logprobs(member.adapter, scored, self.entropy, self.scored_as)
                self.team.accelerator.backward(scores.sum() + entropy.sum() if self.entropy else scores.sum())
            for member in self._one_of_a_kind(self.team.critics):
                texts = self._read(member)
                part = by_length([len(text) for text in texts], tokens)[0]
                member.activate()
                states = member.base.passes.last_states(member.adapter, [texts[index] for index in part])
                self.team.accelerator.backward(member.value(states).sum())
        finally:
            for member in self.team.members:
                for _, trained in member.parameters():
                    trained.grad = None

    def _decoded_together(self) -> Iterator[list[Member]]:
        """Agents that answer in one batch."""
        agents = [self.team.agents[place] for place in dict.fromkeys(first_of_learner(self.team.agents))]
        alone = [agent for agent in agents if not (self.mixed and agent.adapter and agent.base.passes.mixes)]
        bases = dict.fromkeys(agent.base for agent in agents if agent not in alone)
        yield from ([agent for agent in agents if agent.base is base and agent not in alone] for base in bases)
        yield from ([agent] for agent in {agent.base: agent for agent in alone}.values())

    @staticmethod
    def _one_of_a_kind(members: Sequence[Member]) -> list[Member]:
        return list({member.base: member for member in members}.values())

    def _pairs(self, member: Member) -> list[Pair]:
        plan = self.texts
        length = max(1, min(plan.prompt, member.base.context - plan.response))
        return [
            (_tokens(length, row // plan.copies, member.base.model), _tokens(plan.response, row, member.base.model))
            for row in range(plan.samples)
        ]

    def _read(self, member: Member) -> list[tuple[int, ...]]:
        length = min(self.texts.read, member.base.context)
        return [_tokens(length, row, member.base.model) for row in range(self.texts.samples)]


def _tokens(length: int, number: int, model: torch.nn.Module) -> tuple[int, ...]:
    """Token ids that differ from those of any other number."""
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    return tuple((number + (3 + number // rows) * place) % rows for place in range(length))
