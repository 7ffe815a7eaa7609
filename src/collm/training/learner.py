"""From a rollout to parameter updates, one screen per step, for all methods.

A rule (`paper_rule`, `released_rule`) cuts rollouts into batches and gives each its signal: targets, values and
advantages, which the method's file in `collm.methods` defines. A step accumulates the gradients of a batch, critics
first, then moves every member that has one.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from collm.common.errors import NonFiniteLoss
from collm.config.job import TrainingConfig
from collm.llm.batching import Pair, by_length, by_prompt
from collm.llm.member import Member
from collm.llm.team import Team
from collm.methods import actor_critic
from collm.methods.registry import Row
from collm.methods.signal import Node, Signal, Unit
from collm.runs.distributed import Processes
from collm.training import nonfinite, schedule
from collm.training.critics import Context, Critics
from collm.training.minibatches import Batch
from collm.training.objective import Objective, Scores
from collm.training.optimisers import optimiser
from collm.training.paper_rule import PaperRule
from collm.training.policies import Answer, EarlierPolicies, answer, pair
from collm.training.released_rule import ReleasedRule
from collm.training.step_metrics import Totals, starting, value_metrics

__all__ = ["Context", "Learner"]

RULES: dict[str, type[PaperRule] | type[ReleasedRule]] = {
    "paper": PaperRule,
    "released": ReleasedRule,
}  # by `semantics`


class Learner:
    """Optimisers of a team and one `update` per rollout."""

    def __init__(
        self, team: Team, row: Row, settings: TrainingConfig, semantics: str, context: Context, evidence: Path
    ):
        """`evidence` is the file that the sample behind a non-finite loss is written to."""
        self.team, self.row, self.settings, self.evidence = team, row, settings, evidence
        rule = RULES[semantics]
        informed = settings.global_information and rule.informs_critics
        self.sampling = context.sampling
        self.critics = Critics(team, row, settings, context, informed, rule.reads_as_actors)
        self.policies = EarlierPolicies(team, settings, context.sampling)
        self.rule = rule(row, settings, self.critics, self.policies, context.gamma)
        self.objective = Objective(settings)
        self.processes = Processes.of(team.accelerator)
        self.steps = {member.name: 0 for member in team.members}
        self.rollouts, self.progress = 0, 0.0
        self.optimisers = {member.name: self._optimiser(member) for member in team.members}
        self._stopped: set[str] = set()  # agents (or what they share) that have moved far enough on this rollout

    def _optimiser(self, member: Member) -> torch.optim.Optimizer:
        agents = [agent for agent, other in enumerate(self.team.agents) if member is other.learner]
        rate = self.settings.agent_rate(agents[0]) if agents else self.settings.critic_learning_rate
        decay, offload = self.settings.weight_decay, self.settings.offload_optimiser
        return optimiser(member, self.team.settings, rate, decay, offload, fused=True)

    def _set_rate(self, member: Member) -> None:
        """Learning rate of a member's next step."""
        rise, fall = self.settings.rate_warm_up, self.settings.rate_decay
        for group in self.optimisers[member.name].param_groups:
            full = group.setdefault("initial_lr", group["lr"])
            group["lr"] = full * schedule.factor(self.steps[member.name], rise, fall, self.progress)

    def _rates(self, agents: Sequence[int]) -> dict[str, float]:
        """Learning rates of agents' last steps: that of the first one, and of each where the settings have several."""
        names = {agent: self.team.agents[agent].learner.name for agent in agents}
        rates = {agent: self.optimisers[name].param_groups[0]["lr"] for agent, name in names.items()}
        several = isinstance(self.settings.agent_learning_rate, tuple)
        own = {f"learning_rate/{names[agent]}": rate for agent, rate in rates.items()} if several else {}
        return {"learning_rate": rates[agents[0]], **own}

    def update(
        self, nodes: Sequence[Node], draw: random.Random, last: bool = False, more: bool = False, progress: float = 0.0
    ) -> Iterator[dict[str, float]]:
        """Train on the nodes of a rollout; yields the metrics of every optimiser step.

        Args:
            nodes: in the order of play (depth first within a task).
            draw: decides the order of minibatches; like the nodes the same in all processes.
            last: flush buffers that are not full (end of an epoch; released semantics only).
            more: rollouts follow, so that samples which fill no minibatch wait for them (paper semantics only).
            progress: share of the run that is over, which learning rates may fall with.
        Raises:
            NonFiniteLoss: a loss or gradient is NaN or infinite; the sample is saved to `evidence`.
        """
        self.progress, self._stopped = progress, set()
        self.critics.begin()
        for batch in self.rule.batches(nodes, draw, last, more):
            yield self._step(batch)
        self.rollouts += 1

    def _step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step of the members that a batch trains; returns its metrics."""
        started = time.perf_counter()
        metrics: dict[str, float] = {"samples": len(batch.samples)}
        critics = [
            critic for critic in range(len(self.critics)) if set(self.critics.agents(critic)) & set(batch.agents)
        ]
        targets: dict[int, list[float]] = {}
        values: dict[int, dict[Unit, float]] = {}
        trained: dict[str, Member] = {}
        for critic in critics:
            member = self.team.critics[critic]
            value, targets[critic], values[critic] = self._backward_values(critic, batch)
            metrics |= value_metrics(value, self._tensor(targets[critic]), member.name)
            trained[member.learner.name] = member.learner
        signal = batch.signal or self.critics.signal(batch.samples, targets, values)
        for learner, agents in self._learners(batch.agents).items():
            advantages = {agent: self._advantage(agent, batch, signal) for agent in agents}
            for agent, advantage in advantages.items():
                metrics |= self._backward_policy(agent, batch, advantage)
            if self._learns(learner, advantages, metrics):
                trained[learner.name] = learner
            elif learner.name not in trained or learner.name in self._stopped:
                trained.pop(learner.name, None)  # with its value head, if it has one: there is no moving one alone
                self.optimisers[learner.name].zero_grad(set_to_none=True)
                metrics[f"gradient_norm/{learner.name}"] = 0.0
        for member in trained.values():
            metrics[f"gradient_norm/{member.name}"] = self._optimise(member, batch)
        self._further_critic_steps(critics, dataclasses.replace(batch, signal=signal))
        metrics["gradient_norm"] = max(starting(metrics, "gradient_norm/agent"))
        metrics |= self._rates(batch.agents)
        metrics |= {"td_lambda": self.critics.trace} if critics else {}
        for name in ("policy_loss", "value_loss"):
            losses = starting(metrics, f"{name}/")
            metrics |= {name: sum(losses) / len(losses)} if losses else {}
        metrics["seconds"] = round(time.perf_counter() - started, 3)
        return metrics

    def _advantage(self, agent: int, batch: Batch, signal: Signal) -> torch.Tensor:
        """[samples] advantages of an agent."""
        return self.objective.weighed(self._tensor([signal.advantages[agent][sample] for sample in batch.samples]))

    def _learners(self, agents: Sequence[int]) -> dict[Member, list[int]]:
        """What trains for some agents, and for which of them: an agent itself, or what all share.

        The gradient of shared numbers is the sum over agents, as if one adapter had got the samples of all.
        """
        groups: dict[Member, list[int]] = {}
        for agent in agents:
            groups.setdefault(self.team.agents[agent].learner, []).append(agent)
        return groups

    def _learns(self, learner: Member, advantages: Mapping[int, torch.Tensor], metrics: Mapping[str, float]) -> bool:
        """Whether an agent, or what some share, takes a step, by the metrics of their passes.

        Not while critics warm up; not on a rollout from whose policy it has moved too far; and not without a gradient,
        as momentum and weight decay alone would move it.
        """
        names = [self.team.agents[agent].name for agent in advantages]
        if len(self.critics) and self.rollouts < self.settings.critic_warm_up:
            return False
        limit = self.settings.divergence_limit
        if limit is not None and sum(metrics[f"moved/{name}"] for name in names) / len(names) > limit:
            self._stopped.add(learner.name)
        if learner.name in self._stopped:
            return False
        if self.objective.regularised or any(metrics.get(f"entropy_outside_share/{name}") for name in names):
            return True
        return not self.rule.rests or any(bool((advantage != 0).any()) for advantage in advantages.values())

    def _further_critic_steps(self, critics: Sequence[int], batch: Batch) -> None:
        """What `critic_steps` asks for beyond the first: the same samples, with targets by the critic as it then is."""
        for _ in range(self.settings.critic_steps - 1):
            for critic in critics:
                self._backward_values(critic, batch)
                self._optimise(self.team.critics[critic], batch)

    def _tensor(self, numbers: Sequence[float]) -> torch.Tensor:
        return torch.tensor(numbers, device=self.team.device, dtype=torch.get_default_dtype())

    # gradients of critics

    def _backward_values(self, critic: int, batch: Batch) -> tuple[torch.Tensor, list[float], dict[Unit, float]]:
        """Accumulate the critic's gradient; returns [samples] values, their targets, and the value of every unit.

        Later turns come first: their values are what the targets of earlier ones bootstrap from, so that no history is
        read twice. Of several processes each takes a share of the units; what is returned is that of all.
        """
        samples, fixed = batch.samples, batch.signal.targets if batch.signal else None
        known = {} if fixed else self.critics.values_elsewhere(critic, samples)
        targets = [0.0] * len(samples)
        value, losses = self._tensor(targets), self._tensor(targets)
        for turn in sorted({node.turn for node, _ in samples}, reverse=True):
            places = [index for index, (node, _) in enumerate(samples) if node.turn == turn]
            of_turn = [samples[index] for index in places]
            now = [fixed[critic][s] for s in of_turn] if fixed else self.critics.targets(critic, of_turn, known)
            for index, target in zip(places, now, strict=True):
                targets[index] = target
            self._backward_turn(critic, batch, places, value, self._tensor(targets), losses)
            known |= {self._unit(batch, index): value[index].item() for index in places}
        self._guard(losses, batch, f"value loss of {self.team.critics[critic].name}")
        return value, targets, known

    def _backward_turn(
        self,
        critic: int,
        batch: Batch,
        places: Sequence[int],
        value: torch.Tensor,
        target: torch.Tensor,
        losses: torch.Tensor,
    ) -> None:
        """Gradient of the samples at `places`, whose values and losses it fills in; a unit is read once."""
        of_unit: dict[Unit, list[int]] = {}
        for index in places:
            of_unit.setdefault(self._unit(batch, index), []).append(index)
        groups = list(of_unit.values())
        texts = [self.critics.text(critic, unit) for unit in of_unit]
        mine = self.processes.share([len(text) for text in texts])
        own_value, own_loss = torch.zeros_like(value), torch.zeros_like(losses)
        for part in by_length([len(texts[index]) for index in mine], self.settings.micro_batch_tokens):
            picked = [groups[mine[place]] for place in part]
            of_units = self.team.values(critic, [texts[mine[place]] for place in part])
            samples = [index for group in picked for index in group]
            copies = torch.tensor([len(group) for group in picked], device=of_units.device)
            of_samples = of_units.repeat_interleave(copies)
            loss = self._value_loss(critic, batch, samples, target[samples], of_samples)
            self.team.accelerator.backward(self.settings.value_loss_coefficient * loss.sum() / len(target))
            own_value[samples] = of_samples.detach().to(value.dtype)
            own_loss[samples] = loss.detach().to(losses.dtype)
        self.processes.add(own_value, own_loss)
        value += own_value
        losses += own_loss

    def _value_loss(
        self, critic: int, batch: Batch, samples: Sequence[int], target: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """[samples] losses; with `value_clip` against the values from before the first step on the rollout."""
        limit = self.settings.value_clip
        if limit is None:
            return actor_critic.value_loss(target, value)
        if batch.signal is None:
            old = value.detach()  # the only step on this rollout
        else:
            old = self._tensor([batch.signal.values[critic][self._unit(batch, index)] for index in samples])
        return actor_critic.clipped_value_loss(target, value, old, limit)

    def _unit(self, batch: Batch, index: int) -> Unit:
        return actor_critic.unit(batch.samples[index], self.critics.of_actions)

    # gradients of agents

    def _backward_policy(self, agent: int, batch: Batch, advantage: torch.Tensor) -> dict[str, float]:
        """Accumulate one agent's gradient; returns its metrics. A response of several joint samples is scored once.

        Of several processes each takes a share of the responses; the metrics are those of all.
        """
        of_response: dict[Answer, list[int]] = {}
        for index, sample in enumerate(batch.samples):
            of_response.setdefault(answer(agent, *sample), []).append(index)
        pairs = [pair(agent, *batch.samples[samples[0]]) for samples in of_response.values()]
        mine = self.processes.share([len(prompt) + len(response) for prompt, response in pairs])
        answers, pairs = [list(of_response)[index] for index in mine], [pairs[index] for index in mine]
        total = Totals(len(advantage), self.team.device, self.settings.kl_coefficient > 0)
        lengths = [len(pair(agent, *sample)[1]) for sample in batch.samples]
        weight = self.objective.weight(self._tensor(lengths))
        for part in by_prompt(pairs, self.settings.micro_batch_tokens):
            groups = {answers[index]: of_response[answers[index]] for index in part}
            self._backward_part(agent, groups, [pairs[index] for index in part], advantage, weight, total)
        total.join(self.processes)
        member = self.team.agents[agent].name
        self._guard(total.of("loss"), batch, f"policy loss of {member}")
        if self.rule.importance_ratio:
            scores = total.of("logprob")
            self.policies.keep({name: scores[samples[0]] for name, samples in of_response.items()})
        metrics = total.metrics(member, advantage, lengths, self.settings.ratio_clip)
        if self.objective.bounded:
            outside = self.objective.outside(total.of("entropy")) > 0
            metrics[f"entropy_outside_share/{member}"] = outside.float().mean().item()
        return metrics

    def _backward_part(
        self,
        agent: int,
        groups: Mapping[Answer, Sequence[int]],
        pairs: Sequence[Pair],
        advantage: torch.Tensor,
        weight: torch.Tensor,
        total: Totals,
    ) -> None:
        """Accumulate the gradient of a micro-batch: some responses, each with its joint samples."""
        answers = list(groups)
        samples = [index for group in groups.values() for index in group]
        copies = torch.tensor([len(group) for group in groups.values()], device=self.team.device)
        reference = self.policies.reference_logprobs(agent, answers, pairs)  # first: it activates another adapter
        with_gradient = self.objective.entropy_gradient
        now, entropy = self.team.logprobs(agent, pairs, entropy_gradient=with_gradient, sampling=self.sampling)
        old = self.policies.old_logprobs(answers, now) if self.rule.importance_ratio else None
        length = self._tensor([len(response) for _, response in pairs])
        scores = Scores(now, entropy, length, old, reference).repeated(copies)
        loss = self.objective.loss(advantage[samples], weight[samples], scores)
        self.team.accelerator.backward(loss.sum() / len(advantage))
        total.note(samples, loss, scores, self.objective.ratio(scores))

    # moving

    def _optimise(self, member: Member, batch: Batch) -> float:
        """Clip, check and step one member; returns its gradient norm before clipping."""
        self.processes.add_gradients([parameter for _, parameter in member.parameters()])
        parameters = [parameter for _, parameter in member.parameters() if parameter.grad is not None]
        limit = self.settings.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        if not math.isfinite(norm):
            self._stop(f"gradient norm of {member.name} is {norm}", batch, range(len(batch.samples)))
        self._set_rate(member)
        self.optimisers[member.name].step()
        self.optimisers[member.name].zero_grad(set_to_none=True)
        self.steps[member.name] += 1
        return norm

    # what a checkpoint holds

    def state(self) -> dict[str, object]:
        """What is kept from one rollout to the next, beside members and optimisers."""
        return {
            "buffers": self.rule.state(),
            "steps": dict(self.steps),
            "rollouts": self.rollouts,
            "explained": self.critics.explained,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.rule.restore(state["buffers"])
        self.steps, self.rollouts = state["steps"], state["rollouts"]
        self.critics.explained = state["explained"]

    def _guard(self, losses: torch.Tensor, batch: Batch, what: str) -> None:
        finite = torch.isfinite(losses).tolist()
        if not all(finite):
            self._stop(f"{what} is not finite", batch, [index for index, fine in enumerate(finite) if not fine])

    def _stop(self, what: str, batch: Batch, indices: Sequence[int]) -> None:
        if self.processes.main:
            nonfinite.keep(self.evidence, what, [_evidence(*batch.samples[index]) for index in indices])
        raise NonFiniteLoss(
            f"{what}; training stopped before the step, the samples are in {self.evidence}; "
            "lower the learning rate, set training.gradient_clip, or use precision fp32"
        )


def _evidence(node: Node, j: int) -> dict[str, object]:
    """What is kept of a joint sample behind a loss that is not finite."""
    responses = [node.responses[agent][k] for agent, k in enumerate(node.actions[j])]
    return {
        "task": node.task.id,
        "turn": node.turn,
        "prompts": node.observations,
        "responses": [response.text for response in responses],
        "tokens": [list(response.tokens) for response in responses],
        "reward": node.rewards[j],
    }
