"""Does the policy that plays equal the policy that is trained? A few responses of the first rollout are scored again.

Decoding and scoring are different code: batches, caches, adapters of several agents at once, another engine perhaps. If
they disagree, importance ratios and gradients belong to a policy that never played, and nothing else would show it. The
check is made once per attempt at a run, by the sums of log-probabilities that the decoder returned; both are of the
full softmax, so that temperature, top-p and top-k do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from collm.common.errors import ModelError
from collm.llm.batching import Pair
from collm.llm.passes import rounding
from collm.llm.team import DTYPES, Team
from collm.llm.vllm import DTYPE as ENGINE_DTYPE
from collm.methods.signal import Node

RESPONSES = 4  # of each agent, spread over the rollout


class Mismatch:
    """The check of one attempt at a run."""

    def __init__(self, team: Team):
        self.team = team
        self._made = False

    def row(self, nodes: Sequence[Node]) -> dict[str, float]:
        """Mean difference of decoding and scoring by agent, in nats per token; {} but for the first rollout.

        Args:
            nodes: of a rollout of the present policy.
        """
        if self._made:
            return {}
        self._made = True
        return {
            f"mismatch/{member.name}": round(self._difference(agent, nodes), 6)
            for agent, member in enumerate(self.team.agents)
        }

    @torch.no_grad()
    def _difference(self, agent: int, nodes: Sequence[Node]) -> float:
        responses = [response for node in nodes for response in node.responses[agent]]
        responses = responses[:: max(1, len(responses) // RESPONSES)][:RESPONSES]
        pairs: list[Pair] = [(response.prompt, response.tokens) for response in responses]
        scores = [self.team.logprobs(agent, [pair])[0].item() for pair in pairs]
        differences = [
            abs(score - response.logprob) / len(response.tokens)
            for score, response in zip(scores, responses, strict=True)
        ]
        return sum(differences) / len(differences)

    @property
    def bound(self) -> float:
        """Nats per token up to which a difference is rounding, in the dtypes that this team decodes and scores in."""
        settings = self.team.settings
        names = [settings.dtype if settings.adapter == "lora" else "float32"]
        names += ["bfloat16"] if settings.precision == "bf16" else []
        names += [ENGINE_DTYPE] if self.team.engines is not None else []
        return max(rounding(DTYPES[name]) for name in names)

    def check(self, row: dict[str, float]) -> None:
        """Stop a run whose differences, as `row` gave them, are more than rounding.

        Raises:
            ModelError: names the agents and what to do.
        """
        wrong = {name: value for name, value in row.items() if not value <= self.bound or math.isnan(value)}
        if wrong:
            way = "rollout.backend to transformers" if self.team.engines is not None else "rollout.decode to sequential"
            listed = ", ".join(f"{name.removeprefix('mismatch/')} by {value:.3f}" for name, value in wrong.items())
            raise ModelError(
                f"what is decoded is not what is trained: log-probabilities of responses differ from those of scoring, "
                f"{listed} nats per token (at most {self.bound} is rounding); set {way}, and report the model's "
                "architecture"
            )
