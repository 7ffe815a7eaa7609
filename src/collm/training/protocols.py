"""Test-time protocols of the paper's section 6.2 in which agents read each other: pipeline and discussion.

Baselines without training, for comparison only: they are not decentralised, every agent's prompt quotes the others.
Nothing here is used by a method that is trained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from collm.common.seeds import derive
from collm.domains.base import Message
from collm.domains.thoughts import without_thoughts
from collm.llm.team import Response
from collm.training.rollout import Node, Rollout


class ReadingOthers(Rollout, ABC):
    """Agents answer in order; the prompt of each quotes what it may read of the others."""

    @abstractmethod
    def heard(self, node: Node, agent: int) -> dict[int, str]:
        """Texts of other agents, by agent, that are to stand at the end of this agent's prompt."""

    def _respond(self, nodes: Sequence[Node], copies: int) -> int:
        tokens = 0
        for node in nodes:
            node.actions = [(k,) * len(node.observations) for k in range(copies)]
        for agent in range(len(nodes[0].observations)):
            answers = self._ask(nodes, agent, copies, "response")
            for node, responses in zip(nodes, answers, strict=True):
                node.responses.append(responses)
                node.prompts.append(responses[0].prompt)
                tokens += sum(len(response.tokens) for response in responses)
        return tokens

    def _ask(self, nodes: Sequence[Node], agent: int, copies: int, purpose: str) -> list[list[Response]]:
        requests = []
        for node in nodes:
            messages = quoting(node.observations[agent], self.heard(node, agent))
            prompt = self._prompt(node, agent, messages)
            keys = [derive(node.seed, *node.path, "agent", agent, purpose, k) for k in range(copies)]
            requests.append((agent, prompt, keys))
        return self.team.respond(requests, self.sampling, self.settings.decode, self.settings.max_rows)


class Pipeline(ReadingOthers):
    """Agents answer one after another; every one reads what those before it have answered in this turn."""

    def heard(self, node: Node, agent: int) -> dict[int, str]:
        """Answers of the agents before this one (the first sample of each)."""
        return {other: responses[0].text for other, responses in enumerate(node.responses[:agent])}

    def seconds(self, node: Node) -> float:
        """Agents wait for each other: the sum over agents."""
        return sum(group[0].seconds for group in node.responses)


class Discussion(ReadingOthers):
    """Agents answer at the same time; every one reads what the others answered in the turn before.

    An episode of one turn has no turn before: there, drafts are exchanged first. They count as tokens and time.
    """

    def heard(self, node: Node, agent: int) -> dict[int, str]:
        """The others' newest texts: their drafts as soon as all are there, or their answers of the turn before."""
        if node.turn > 0:
            last = {other: past[-1].response for other, past in enumerate(node.histories)}
        else:
            last = dict(enumerate(draft.text for draft in node.drafts))
        return {other: text for other, text in last.items() if other != agent}

    def _respond(self, nodes: Sequence[Node], copies: int) -> int:
        if self.settings.turns > 1:
            return super()._respond(nodes, copies)
        rounds = [self._ask(nodes, agent, 1, "draft") for agent in range(len(nodes[0].observations))]
        for place, node in enumerate(nodes):
            node.drafts = [drafts[place][0] for drafts in rounds]
        return sum(len(draft.tokens) for node in nodes for draft in node.drafts) + super()._respond(nodes, copies)

    def seconds(self, node: Node) -> float:
        """Agents of one round work side by side: the slowest draft plus the slowest answer."""
        return max((draft.seconds for draft in node.drafts), default=0.0) + super().seconds(node)


# By row. Rows that are not named here play as they were trained: nobody reads anybody.
PROTOCOLS: dict[str, type[Rollout]] = {"pipeline": Pipeline, "discussion": Discussion}


def quoting(messages: Sequence[Message], answers: dict[int, str]) -> list[Message]:
    """An agent's messages with the other agents' answers, without their thoughts, at the end of the last one."""
    if not answers:
        return list(messages)
    quoted = "\n\n".join(f"Agent {other + 1} answered:\n{without_thoughts(text)}" for other, text in answers.items())
    last = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{quoted}"}
    return [*messages[:-1], last]
