"""From a forest of episodes to parameter updates, for all methods and both semantics.

paper:    minibatches of joint samples; per minibatch one step of every critic and one of every agent; importance
          ratio against the policy that played; critics' targets bootstrap from the critic at update time (Alg. 1, 2).
          The errors that serve as advantages (Eq. 2, 4) are those of the critic before the first step on the rollout:
          later it has been fitted to these very samples. With one minibatch per rollout, the paper's own setting,
          the two times are the same. They are normalised over the whole rollout, per critic and turn.
released: one buffer per agent, filled in the order of play; a full buffer is split by turn; the critic steps within
          every agent's update; targets frozen at rollout; no ratio (comlrl 1.3.6, without its plain faults).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from collm.common.errors import NonFiniteLoss
from collm.config.job import TrainingConfig
from collm.llm.batching import Pair, by_length, by_prompt
from collm.llm.memory_savers import OffloadedAdamW
from collm.llm.team import Member, Team
from collm.methods import actor_critic, grpo, magrpo, mareinforce, maremax, marloo, policy_gradient
from collm.methods.registry import Row
from collm.runs.distributed import Processes
from collm.training import nonfinite
from collm.training.critics import Context, Critics, Key, key
from collm.training.earlier_policy import EarlierPolicy, Said, pair, said
from collm.training.minibatches import Batch, Buffers, Sample, paper_batches
from collm.training.rollout import Node
from collm.training.step_metrics import Totals, starting, value_figures

__all__ = ["Context", "Learner"]

GROUP_ADVANTAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "magrpo": magrpo.advantage,
    "mareinforce": mareinforce.advantage,
    "marloo": marloo.advantage,
    "maremax": maremax.advantage,
    "grpo": grpo.advantage,
}
Fresh = tuple[list[float], dict[Key, float]]  # targets of a batch's samples and values of its units, of this very step


class Learner:
    """Optimisers of a team and one `update` per forest."""

    def __init__(
        self,
        team: Team,
        method: Row,
        settings: TrainingConfig,
        semantics: str,
        context: Context,
        evidence: Path,
    ):
        """`evidence` is the file that the sample behind a non-finite loss is written to."""
        self.team, self.method, self.settings = team, method, settings
        self.released, self.context, self.evidence = semantics == "released", context, evidence
        self.critics = Critics(team, method, settings, self.released, context)
        self.earlier = EarlierPolicy(team, settings)
        self.processes = Processes.of(team.accelerator)
        self.optimisers = {member.name: self._optimiser(member) for member in team.members}
        self.buffers = Buffers(len(team.agents))
        self.steps = {member.name: 0 for member in team.members}
        self._forget()

    def _forget(self) -> None:
        """What is remembered of one rollout, from before its first step; sound for the nodes of that rollout only."""
        self.earlier.forget()
        self._values: list[dict[Key, float]] = []  # [critic] V or Q
        self._advantages: dict[tuple[int, int, int], float] = {}  # agent, id of the node, joint action

    def _optimiser(self, member: Member) -> torch.optim.Optimizer:
        agent = any(member is other for other in self.team.agents)
        rate = self.settings.agent_learning_rate if agent else self.settings.critic_learning_rate
        parameters = [parameter for _, parameter in member.parameters()]
        kind = OffloadedAdamW if self.settings.offload_optimiser else torch.optim.AdamW
        return kind(parameters, lr=rate, weight_decay=self.settings.weight_decay, fused=True)

    def update(self, nodes: Sequence[Node], draw: random.Random, last: bool = False) -> Iterator[dict[str, float]]:
        """Train on the nodes of a rollout; yields the figures of every optimiser step.

        Args:
            nodes: in the order of play (depth first within a task).
            draw: decides the order of minibatches; like the nodes the same in all processes.
            last: flush buffers that are not full (end of an epoch; released semantics only).
        Raises:
            NonFiniteLoss: a loss or gradient is NaN or infinite; the sample is saved to `evidence`.
        """
        groups = self.method.critics is None
        self._forget()
        if self.released:
            self._freeze_signal(nodes)
            size = self.settings.minibatch_size
            if groups:
                size = max(1, size // max(len(node.actions) for node in nodes))
            self.buffers.push(nodes, by_node=groups)
            batches = self.buffers.drain(size, draw, flush=last)
        else:
            batches = paper_batches(
                nodes, self.settings.minibatch_size, self.settings.update_epochs, draw, by_node=groups
            )
            self.earlier.remember(batches[1:], skip=batches[:1])
            if len(batches) > 1:
                self._remember_critics(nodes)
        for batch in batches:
            yield self._step(batch)

    # learning signal

    def _freeze_signal(self, nodes: Sequence[Node]) -> None:
        """Released semantics: fix target and advantage of every agent and joint sample at rollout."""
        samples = _samples(nodes)
        for critic in range(len(self.critics)):
            known = self.critics.values(critic, [unit for node in nodes for unit in self.critics.units(node)])
            targets = self.critics.targets(critic, samples, known)
            for agent in self.critics.agents(critic):
                errors = self.critics.advantages(agent, samples, targets, known)
                for (node, j), target, error in zip(samples, targets, errors, strict=True):
                    node.signal[agent, j] = (target, error)

    def _remember_critics(self, nodes: Sequence[Node]) -> None:
        """Paper semantics, several minibatches: values and advantages of the whole rollout before the first step."""
        samples = _samples(nodes)
        for critic in range(len(self.critics)):
            known = self.critics.values(critic, [unit for node in nodes for unit in self.critics.units(node)])
            targets = self.critics.targets(critic, samples, known)
            self._values.append(known)
            for agent in self.critics.agents(critic):
                raw = self.critics.advantages(agent, samples, targets, known)
                normal = self._normalised(self._tensor(raw), samples).tolist()
                for (node, j), value in zip(samples, normal, strict=True):
                    self._advantages[agent, id(node), j] = value

    def _normalised(self, advantage: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        if not self.settings.normalize_advantage:
            return advantage
        turns = torch.tensor([node.turn for node, _ in samples], device=advantage.device)
        return policy_gradient.normalise_by(advantage, turns)

    def _group_advantages(self, agent: int, node: Node) -> torch.Tensor:
        """Monte Carlo: [K] advantages of an agent's responses at a node."""
        count, returns = len(node.responses[agent]), node.returns(self.context.gamma)
        own = magrpo.response_returns(returns, node.actions, agent, count, total=self.released)
        advantage = GROUP_ADVANTAGES[self.method.name](own)
        return policy_gradient.normalise(advantage) if self.settings.normalize_advantage else advantage

    def _advantage(self, agent: int, batch: Batch, fresh: Fresh | None) -> torch.Tensor:
        """[samples] advantages, normalised and clipped as configured; `fresh` comes from the agent's critic."""
        samples = batch.samples
        if self.method.critics is None:
            groups = {id(node): node for node, _ in samples}
            found = {name: self._group_advantages(agent, node) for name, node in groups.items()}
            picked = [found[id(node)][node.actions[j][agent]] for node, j in samples]
            advantage = self._tensor([value.item() for value in picked])
        elif self.released:
            frozen = [node.signal[agent, j][1] for node, j in samples]
            advantage = self._normalised(self._tensor(frozen), samples)
        elif self._advantages:
            advantage = self._tensor([self._advantages[agent, id(node), j] for node, j in samples])
        else:
            raw = self.critics.advantages(agent, samples, *fresh)
            advantage = self._normalised(self._tensor(raw), samples)
        return policy_gradient.clip(advantage, self.settings.advantage_clip)

    def _tensor(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, device=self.team.device, dtype=torch.get_default_dtype())

    # one optimiser step of the members that a batch trains

    def _step(self, batch: Batch) -> dict[str, float]:
        started = time.perf_counter()
        figures: dict[str, float] = {"samples": len(batch.samples)}
        fresh: dict[int, Fresh] = {}
        trained: dict[str, Member] = {}
        for critic in range(len(self.critics)):
            agents = [agent for agent in self.critics.agents(critic) if agent in batch.agents]
            if not agents:
                continue
            member = self.team.critics[critic]
            value, targets, own = self._backward_values(critic, batch, agents[0])
            fresh |= dict.fromkeys(agents, (targets, own))
            trained[member.name] = member
            figures |= value_figures(value, self._tensor(targets), member.name)
        for agent in batch.agents:
            advantage = self._advantage(agent, batch, fresh.get(agent))
            figures |= self._backward_policy(agent, batch, advantage)
            trained[self.team.agents[agent].name] = self.team.agents[agent]
        for member in trained.values():
            figures[f"gradient_norm/{member.name}"] = self._optimise(member, batch)
        figures["gradient_norm"] = max(starting(figures, "gradient_norm/agent"))
        for name in ("policy_loss", "value_loss"):
            losses = starting(figures, f"{name}/")
            figures |= {name: sum(losses) / len(losses)} if losses else {}
        figures["seconds"] = round(time.perf_counter() - started, 3)
        return figures

    def _backward_values(
        self, critic: int, batch: Batch, agent: int
    ) -> tuple[torch.Tensor, list[float], dict[Key, float]]:
        """Accumulate the critic's gradient; returns [samples] values, their targets, and the value of every unit.

        Later turns come first: their values are what the targets of earlier ones bootstrap from, so that no history is
        read twice. `agent` learns from this critic (its targets may be fixed at rollout). Of several processes each
        takes a share of the units; what is returned is that of all.
        """
        samples = batch.samples
        known = {} if self.released else self.critics.values_elsewhere(critic, samples)
        targets = [0.0] * len(samples)
        value, losses = self._tensor(targets), self._tensor(targets)
        for turn in sorted({node.turn for node, _ in samples}, reverse=True):
            places = [index for index, (node, _) in enumerate(samples) if node.turn == turn]
            if self.released:
                found = [node.signal[agent, j][0] for node, j in (samples[index] for index in places)]
            else:
                found = self.critics.targets(critic, [samples[index] for index in places], known)
            for index, number in zip(places, found, strict=True):
                targets[index] = number
            self._backward_turn(critic, batch, places, value, self._tensor(targets), losses)
            known |= {key(self.critics.unit(*samples[index])): value[index].item() for index in places}
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
        """Gradient of the samples at `places`; fills in their values and losses."""
        of_unit: dict[Key, list[int]] = {}
        for index in places:
            of_unit.setdefault(key(self.critics.unit(*batch.samples[index])), []).append(index)
        groups = list(of_unit.values())
        texts = [self.critics.text(critic, self.critics.unit(*batch.samples[group[0]])) for group in groups]
        mine = self.processes.share([len(text) for text in texts])
        own_value, own_loss = torch.zeros_like(value), torch.zeros_like(losses)
        for part in by_length([len(texts[index]) for index in mine], self.settings.micro_batch_tokens):
            picked = [groups[mine[place]] for place in part]
            once = self.team.values(critic, [texts[mine[place]] for place in part])
            samples = [index for group in picked for index in group]
            found = once.repeat_interleave(torch.tensor([len(group) for group in picked], device=once.device))
            loss = self._value_loss(critic, batch, samples, target[samples], found)
            self.team.accelerator.backward(self.settings.value_loss_coefficient * loss.sum() / len(target))
            own_value[samples] = found.detach().to(value.dtype)
            own_loss[samples] = loss.detach().to(losses.dtype)
        self.processes.add(own_value, own_loss)
        value += own_value
        losses += own_loss

    def _value_loss(
        self, critic: int, batch: Batch, samples: Sequence[int], target: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        limit = self.settings.value_clip
        if limit is None:
            return actor_critic.value_loss(target, value)
        picked = [batch.samples[index] for index in samples]
        if self.released:
            agent = self.critics.agents(critic)[0]
            old = [y - error for y, error in (node.signal[agent, j] for node, j in picked)]
        elif self._values:
            old = [self._values[critic][key(self.critics.unit(*sample))] for sample in picked]
        else:
            old = value.tolist()  # the only step on this rollout
        return actor_critic.clipped_value_loss(target, value, self._tensor(old), limit)

    def _backward_policy(self, agent: int, batch: Batch, advantage: torch.Tensor) -> dict[str, float]:
        """Accumulate one agent's gradient; returns its figures. A response of several joint samples is scored once.

        Of several processes each takes a share of the responses; the figures are those of all.
        """
        of_response: dict[Said, list[int]] = {}
        for index, sample in enumerate(batch.samples):
            of_response.setdefault(said(agent, *sample), []).append(index)
        pairs = [pair(agent, *batch.samples[samples[0]]) for samples in of_response.values()]
        mine = self.processes.share([len(prompt) + len(response) for prompt, response in pairs])
        names, pairs = [list(of_response)[index] for index in mine], [pairs[index] for index in mine]
        total = Totals(len(advantage), self.team.device, self.settings.kl_coefficient > 0)
        for part in by_prompt(pairs, self.settings.micro_batch_tokens):
            groups = {names[index]: of_response[names[index]] for index in part}
            self._backward_part(agent, groups, [pairs[index] for index in part], advantage, total)
        total.join(self.processes)
        member = self.team.agents[agent].name
        self._guard(total.of("loss"), batch, f"policy loss of {member}")
        if not self.released:
            scores = total.of("logprob")
            self.earlier.keep({name: scores[samples[0]] for name, samples in of_response.items()})
        lengths = [len(pair(agent, *sample)[1]) for sample in batch.samples]
        return total.figures(member, advantage, lengths, self.settings.ratio_clip)

    def _backward_part(
        self,
        agent: int,
        groups: Mapping[Said, Sequence[int]],
        pairs: Sequence[Pair],
        advantage: torch.Tensor,
        total: Totals,
    ) -> None:
        """Accumulate the gradient of a micro-batch: some responses, each with its joint samples."""
        names = list(groups)
        samples = [index for group in groups.values() for index in group]
        copies = torch.tensor([len(group) for group in groups.values()], device=self.team.device)
        now, entropy = self.team.logprobs(agent, pairs, entropy_gradient=self.settings.entropy_coefficient > 0)
        old = None if self.released else self.earlier.old_logprobs(names, now)
        reference = self.earlier.reference_logprobs(agent, names, pairs)
        spread = [None if p is None else p.repeat_interleave(copies) for p in (now, entropy, old, reference)]
        loss, divergence = self._policy_loss(advantage[samples], *spread)
        self.team.accelerator.backward(loss.sum() / len(advantage))
        ratio = None if old is None else policy_gradient.rho(spread[0].detach(), spread[2])
        total.note(samples, loss, spread[0], spread[1], ratio, divergence)

    def _policy_loss(
        self,
        advantage: torch.Tensor,
        now: torch.Tensor,
        entropy: torch.Tensor,
        old: torch.Tensor | None,
        reference: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[samples] losses with the options that are on, and the estimated divergence from the reference if asked."""
        loss = policy_gradient.policy_loss(now, advantage, old, self.settings.ratio_clip)
        if self.settings.entropy_coefficient:
            loss = loss - self.settings.entropy_coefficient * entropy
        if reference is None:
            return loss, None
        loss = loss + self.settings.kl_coefficient * policy_gradient.kl_loss(now, reference, old)
        return loss, (now - reference).detach()

    # machinery

    def _optimise(self, member: Member, batch: Batch) -> float:
        """Clip, check and step one member; returns its gradient norm before clipping."""
        self.processes.add_gradients([parameter for _, parameter in member.parameters()])
        parameters = [parameter for _, parameter in member.parameters() if parameter.grad is not None]
        limit = self.settings.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        if not math.isfinite(norm):
            self._stop(f"gradient norm of {member.name} is {norm}", batch, range(len(batch.samples)))
        self.optimisers[member.name].step()
        self.optimisers[member.name].zero_grad(set_to_none=True)
        self.steps[member.name] += 1
        return norm

    def _guard(self, losses: torch.Tensor, batch: Batch, what: str) -> None:
        finite = torch.isfinite(losses).tolist()
        if not all(finite):
            self._stop(f"{what} is not finite", batch, [index for index, fine in enumerate(finite) if not fine])

    def _stop(self, what: str, batch: Batch, indices: Sequence[int]) -> None:
        rows = []
        for index in indices:
            node, j = batch.samples[index]
            texts = [node.responses[agent][k].text for agent, k in enumerate(node.actions[j])]
            rows.append(
                {
                    "task": node.task.id,
                    "turn": node.turn,
                    "prompts": node.observations,
                    "responses": texts,
                    "tokens": [list(node.responses[a][k].tokens) for a, k in enumerate(node.actions[j])],
                    "reward": node.rewards[j],
                }
            )
        if self.processes.main:
            nonfinite.keep(self.evidence, what, rows)
        raise NonFiniteLoss(
            f"{what}; training stopped before the step, the samples are in {self.evidence}; "
            "lower the learning rate, set training.gradient_clip, or use precision fp32"
        )


def _samples(nodes: Sequence[Node]) -> list[Sample]:
    return [(node, j) for node in nodes for j in range(len(node.actions))]
