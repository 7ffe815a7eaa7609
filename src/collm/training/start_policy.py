"""How far the agents have moved from the policy that training began with: the KL divergence, measured at evaluations.

A run that leaves its start has left what the model knew, and its language mostly goes before its reward does. The start
is kept as a copy of the agents' adapters in main memory. At an evaluation some of its responses are scored twice, with
the present adapters and with those of the start. How many follows from what was learnt since the last one, so that it
costs about a fiftieth of the run at most: a joint sample that is learnt from takes at least four passes of an agent
(decoding; forward and backward), a response here takes two. Whole copies (`team.adapter: full`) are not measured: a
second copy of every model would have to be kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from collm.llm.batching import Pair, by_prompt
from collm.llm.member import Member
from collm.llm.team import Team
from collm.runs.distributed import Processes
from collm.training.rollout import Node

SAMPLES = 32  # joint samples that are learnt from, per response of each agent that is scored
LEAST, MOST = 2, 16  # responses of each agent at one evaluation


class StartPolicy:
    """The agents as they were when this was made, and the episodes of an evaluation that may be scored."""

    def __init__(self, team: Team, tasks: Sequence[str], budget: int):
        """Keep a copy of the agents' adapters.

        Args:
            tasks: ids of the test tasks; of each of the first `MOST` the first episode may be scored.
            budget: padded tokens per pass (`training.micro_batch_tokens`).
        """
        self.team, self.budget = team, budget
        self.processes = Processes.of(team.accelerator)
        self._watched = {task: place for place, task in enumerate(tasks[:MOST])}
        self._seen: dict[int, Node] = {}  # by the place of the task
        learners = dict.fromkeys(agent.learner for agent in team.agents)
        kept = {learner: [part.detach().cpu().clone() for part in _adapter(learner)] for learner in learners}
        self._kept = [kept[agent.learner] for agent in team.agents]

    def note(self, roots: Sequence[Node]) -> None:
        """Remember the first nodes of those episodes of the present policy that `distance` may need."""
        for root in roots:
            if root.task.id in self._watched:
                self._seen.setdefault(self._watched[root.task.id], root)

    @torch.no_grad()
    def distance(self, samples: int) -> dict[str, float]:
        """Under "kl_to_start/agent_i" the mean of log pi - log pi_start over tokens that were noted, in nats per token.

        Of responses drawn at temperature 1 from the whole softmax this estimates KL(pi, pi_start); drawn otherwise it
        is the same mean over what is played. What was noted is forgotten. Of several processes each scores its own.

        Args:
            samples: joint samples that were learnt from since the last evaluation; decides how many responses are
                scored, one of each task, of its turns in rotation. 0: nothing was learnt yet, nothing is scored.
        """
        if samples == 0:
            self._seen = {}
            return {f"kl_to_start/{member.name}": 0.0 for member in self.team.agents}
        count = min(max(LEAST, samples // SAMPLES), MOST)
        nodes = [_rotated(root, place) for place, root in sorted(self._seen.items()) if place < count]
        self._seen = {}
        own = [self._moved(agent, nodes) for agent in range(len(self.team.agents))]
        parts = self.processes.gather([own])
        distances = {}
        for agent, member in enumerate(self.team.agents):
            moved, tokens = (sum(part[agent][place] for part in parts) for place in (0, 1))
            distances[f"kl_to_start/{member.name}"] = moved / tokens
        return distances

    def _moved(self, agent: int, nodes: Sequence[Node]) -> tuple[float, int]:
        """Sum of log pi - log pi_start over the responses of an agent, and their tokens."""
        pairs: list[Pair] = [(said.prompt, said.tokens) for node in nodes for said in node.responses[agent]]
        now = self._logprob(agent, pairs)
        with self._at_the_start(agent):
            start = self._logprob(agent, pairs)
        return now - start, sum(len(response) for _, response in pairs)

    def _logprob(self, agent: int, pairs: Sequence[Pair]) -> float:
        """The sum of the responses' log-probabilities, by batches that are the same for both policies."""
        parts = by_prompt(pairs, self.budget)
        return sum(self.team.logprobs(agent, [pairs[i] for i in part])[0].double().sum().item() for part in parts)

    @contextlib.contextmanager
    def _at_the_start(self, agent: int) -> Iterator[None]:
        """The agent's adapter as it was, within a block; afterwards the present one again, bit for bit."""
        parts = _adapter(self.team.agents[agent])
        present = [part.detach().clone() for part in parts]
        try:
            _put(parts, self._kept[agent])
            yield
        finally:
            _put(parts, present)


def _rotated(root: Node, place: int) -> Node:
    """One turn of an episode: the first of the first task, the second of the second, and so on."""
    turns = list(root.walk())
    return turns[place % len(turns)]


def _adapter(member: Member) -> list[torch.nn.Parameter]:
    """The adapter's numbers; a value head says nothing about the policy."""
    return [part for name, part in member.parameters() if not name.startswith("value_head.")]


@torch.no_grad()
def _put(parts: Sequence[torch.nn.Parameter], numbers: Sequence[torch.Tensor]) -> None:
    for part, number in zip(parts, numbers, strict=True):
        part.copy_(number)
