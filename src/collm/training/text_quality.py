"""Evaluated prose beside its reward: perplexity under the untrained base, repetition, overlap with the source.

A reward that counts words and phrases can be had by word salad. Perplexity tells: the base without adapters reads every
response after the prompt that the agent had, in one teacher-forced pass, and the mean negative log-probability of its
tokens is kept. It belongs to one base: rows of the same base can be compared, and none of different ones. Only
benchmarks of prose are measured (`Domain.source_field`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from collm.domains.base import Domain, Task
from collm.domains.prose import distinct_2, overlap, repetition
from collm.llm.batching import Pair, by_prompt
from collm.llm.team import Team
from collm.training.rollout import Node


class TextQuality:
    """The measures of the episodes of one evaluation, in the order in which they are noted."""

    def __init__(self, team: Team, domain: Domain, budget: int):
        """`budget`: padded tokens per pass (`training.micro_batch_tokens`)."""
        self.team, self.domain, self.budget = team, domain, budget
        self.measured = bool(domain.source_field)
        self.bases = all(agent.adapter is not None for agent in team.agents)  # whole copies have left theirs
        self._found: list[dict[str, float | None]] = []
        if self.measured and not self.bases:
            print(
                "perplexity is not measured: team.adapter is full, so that no untrained base is left", file=sys.stderr
            )

    def note(self, roots: Sequence[Node]) -> None:
        """Measure the last turns of episodes, one joint action each."""
        if not self.measured:
            return
        nodes = [list(root.walk())[-1] for root in roots]
        surprise = self._surprise(nodes) if self.bases else [None] * len(nodes)
        for node, nats in zip(nodes, surprise, strict=True):
            texts = [responses[0].text for responses in node.responses]
            self._found.append({"nats_per_token": nats, **self._of_texts(node.task, texts)})

    def put(self, rows: Sequence[dict[str, Any]]) -> None:
        """Give every row of the noted episodes its measures, under "text_quality"."""
        if self.measured:
            for row, found in zip(rows, self._found, strict=True):
                row["text_quality"] = found

    def _of_texts(self, task: Task, texts: Sequence[str]) -> dict[str, float]:
        """Means over the agents' texts, in per cent."""
        source = str(task.fields[self.domain.source_field])
        return {
            "repetition": sum(map(repetition, texts)) / len(texts),
            "overlap": sum(overlap(text, source) for text in texts) / len(texts),
        }

    @torch.no_grad()
    def _surprise(self, nodes: Sequence[Node]) -> list[float | None]:
        """By episode the mean negative log-probability of its agents' tokens under the base, [episodes], in nats.

        End tokens are left out: they are no text, and a response that was cut has none. None where nothing was said.
        """
        totals, counts = [0.0] * len(nodes), [0] * len(nodes)
        for agent in range(len(self.team.agents)):
            pairs, places = [], []
            for place, node in enumerate(nodes):
                said = node.responses[agent][0]
                tokens = said.tokens[:-1] if said.ended else said.tokens
                if tokens:
                    pairs.append((said.prompt, tokens))
                    places.append(place)
            for place, pair, logprob in zip(places, pairs, self._logprobs(agent, pairs), strict=True):
                totals[place] -= logprob
                counts[place] += len(pair[1])
        return [total / count if count else None for total, count in zip(totals, counts, strict=True)]

    def _logprobs(self, agent: int, pairs: Sequence[Pair]) -> list[float]:
        """Log-probability of each response under the agent's base, its adapter off, [pairs]."""
        found = [0.0] * len(pairs)
        for part in by_prompt(pairs, self.budget):
            scored = self.team.logprobs(agent, [pairs[index] for index in part], reference=True)[0]
            for index, value in zip(part, scored.double().tolist(), strict=True):
                found[index] = value
        return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Under "text_quality" what belongs to all rows together: the share of distinct 2-grams of the last turns' texts.

    {} where nothing was measured.
    """
    if "text_quality" not in rows[0]:
        return {}
    texts = [text for row in rows for text in row["turns"][-1]["responses"]]
    return {"text_quality": {"distinct_2": distinct_2(texts)}}
