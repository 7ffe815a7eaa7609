"""Log-probabilities that a rollout's updates refer to: under the policy that played, and under the reference of a
divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from collm.config.job import TrainingConfig
from collm.llm.batching import Pair, by_prompt
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.methods.signal import Node, Sample
from collm.runs.distributed import Processes

Answer = tuple[int, Node, int]  # agent, node, response: what one agent said at a node


def pair(agent: int, node: Node, j: int) -> Pair:
    """Prompt and response tokens of an agent in joint action `j`."""
    response = node.responses[agent][node.actions[j][agent]]
    return response.prompt, response.tokens


def answer(agent: int, node: Node, j: int) -> Answer:
    """Which response an agent gives in joint action `j`."""
    return agent, node, node.actions[j][agent]


class EarlierPolicies:
    """What is remembered of one rollout, from before its first step; sound for the nodes of that rollout only."""

    def __init__(self, team: Team, settings: TrainingConfig, sampling: Sampling | None):
        """`sampling`: score under the policy that draws so; None: under the plain softmax."""
        self.team, self.settings, self.sampling = team, settings, sampling
        self.processes = Processes.of(team.accelerator)
        self.old: dict[Answer, torch.Tensor] = {}  # log pi_old
        self.reference: dict[Answer, torch.Tensor] = {}  # log pi_reference

    def begin(self, old: Mapping[Answer, float] | None = None) -> None:
        """Begin a rollout; `old` holds log pi_old of responses of earlier ones that are still to be learnt from."""
        self.old = {name: torch.tensor(score, device=self.team.device) for name, score in (old or {}).items()}
        self.reference = {}

    @torch.no_grad()
    def remember(self, samples: Sequence[Sample], skip: Sequence[Sample] = ()) -> None:
        """Score samples before the first step changes the policy, but for responses that `skip` has or that are known.

        Args:
            skip: samples of the first minibatch, whose own pass scores them.
        """
        for agent in range(len(self.team.agents)):
            known = {answer(agent, *sample) for sample in skip} | set(self.old)
            missing = {answer(agent, *sample): pair(agent, *sample) for sample in samples}
            missing = {name: both for name, both in missing.items() if name not in known}
            pairs = list(missing.values())
            mine = self.processes.share([len(prompt) + len(response) for prompt, response in pairs])
            scores = torch.zeros(len(pairs), device=self.team.device)
            for part in by_prompt([pairs[index] for index in mine], self.settings.micro_batch_tokens):
                places = [mine[index] for index in part]
                logprobs, _ = self.team.logprobs(agent, [pairs[place] for place in places], sampling=self.sampling)
                scores[places] = logprobs.to(scores.dtype)
            self.processes.add(scores)
            self.keep(dict(zip(missing, scores, strict=True)))

    def keep(self, logprobs: Mapping[Answer, torch.Tensor]) -> None:
        """Remember log pi_old of responses; what is remembered already stays."""
        self.old = {**logprobs, **self.old}

    def old_logprobs(self, answers: Sequence[Answer], now: torch.Tensor) -> torch.Tensor:
        """[answers] log pi_old: what was remembered, else `now`, which is then from before any step."""
        return torch.stack([self.old.get(name, value) for name, value in zip(answers, now.detach(), strict=True)])

    @torch.no_grad()
    def reference_logprobs(self, agent: int, answers: Sequence[Answer], pairs: Sequence[Pair]) -> torch.Tensor | None:
        """[answers] log pi_reference (`Team.keep_reference`), once per rollout; None without a KL term."""
        if not self.settings.kl_coefficient:
            return None
        if any(name not in self.reference for name in answers):
            scores, _ = self.team.logprobs(agent, pairs, reference=True, sampling=self.sampling)
            self.reference |= dict(zip(answers, scores, strict=True))
        return torch.stack([self.reference[name] for name in answers])
