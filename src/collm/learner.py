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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from collm import config as configuration
from collm import faults
from collm.critics import Context, Critics, Key, key
from collm.errors import NonFiniteLoss
from collm.methods import Method, actor_critic, grpo, magrpo, mareinforce, maremax, marloo, policy_gradient
from collm.packing import Pair, by_length, by_prompt
from collm.rollout import Node
from collm.schedule import Batch, Buffers, Sample, paper_batches
from collm.step_figures import Totals, starting, value_figures
from collm.team import Member, Team

__all__ = ["Context", "Learner"]

GROUP_ADVANTAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "magrpo": magrpo.advantage,
    "mareinforce": mareinforce.advantage,
    "marloo": marloo.advantage,
    "maremax": maremax.advantage,
    "grpo": grpo.advantage,
}
Said = tuple[int, int, int]  # agent, id of the node, response
Fresh = tuple[list[float], dict[Key, float]]  # targets of a batch's samples and values of its units, of this very step


class Learner:
    """Optimisers of a team and one `update` per forest."""

    def __init__(
        self, team: Team, method: Method, settings: configuration.Training, semantics: str, context: Context,
        evidence: Path,
    ):  # fmt: skip
        """`evidence` is the file that the sample behind a non-finite loss is written to."""
        self.team, self.method, self.settings = team, method, settings
        self.released, self.context, self.evidence = semantics == "released", context, evidence
        self.critics = Critics(team, method, settings, self.released, context)
        self.optimisers = {member.name: self._optimiser(member) for member in team.members}
        self.buffers = Buffers(len(team.agents))
        self.steps = {member.name: 0 for member in team.members}
        self._forget()

    def _forget(self) -> None:
        """What is remembered of one rollout, from before its first step; sound for the nodes of that rollout only."""
        self._old: dict[Said, torch.Tensor] = {}  # log pi_old
        self._reference: dict[Said, torch.Tensor] = {}  # log pi_reference
        self._values: list[dict[Key, float]] = []  # [critic] V or Q
        self._advantages: dict[tuple[int, int, int], float] = {}  # agent, id of the node, joint action

    def _optimiser(self, member: Member) -> torch.optim.Optimizer:
        agent = any(member is other for other in self.team.agents)
        rate = self.settings.agent_learning_rate if agent else self.settings.critic_learning_rate
        parameters = [parameter for _, parameter in member.parameters()]
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=self.settings.weight_decay, fused=True)

    def update(self, nodes: Sequence[Node], draw: random.Random, last: bool = False) -> Iterator[dict[str, float]]:
        """Train on the nodes of a rollout; yields the figures of every optimiser step.

        Args:
            nodes: in the order of play (depth first within a task).
            draw: decides the order of minibatches.
            last: flush buffers that are not full (end of an epoch; released semantics only).
        Raises:
            NonFiniteLoss: a loss or gradient is NaN or infinite; the sample is saved to `evidence`.
        """
        groups = self.method.critics is None
        self._forget()
        if self.released:
            self._freeze_signal(nodes)
            size = self.settings.minibatch
            if groups:
                size = max(1, size // max(len(node.actions) for node in nodes))
            self.buffers.push(nodes, by_node=groups)
            batches = self.buffers.drain(size, draw, flush=last)
        else:
            batches = paper_batches(nodes, self.settings.minibatch, self.settings.passes, draw, by_node=groups)
            self._remember_policy(batches[1:], skip=batches[:1])
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
            targets = self._targets(critic, batch, agents[0])
            value, own = self._backward_values(critic, batch, targets)
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

    def _targets(self, critic: int, batch: Batch, agent: int) -> list[float]:
        """[samples] targets: fixed at rollout (released) or with bootstrap values of the critic as it is now."""
        if self.released:
            return [node.signal[agent, j][0] for node, j in batch.samples]
        return self.critics.targets(critic, batch.samples)

    def _backward_values(
        self, critic: int, batch: Batch, targets: Sequence[float]
    ) -> tuple[torch.Tensor, dict[Key, float]]:
        """Accumulate the critic's gradient; returns [samples] values and the value of every unit, detached."""
        target = self._tensor(targets)
        of_unit: dict[Key, list[int]] = {}
        for index, (node, j) in enumerate(batch.samples):
            of_unit.setdefault(key(self.critics.unit(node, j)), []).append(index)
        units = list({key(unit): unit for unit in (self.critics.unit(*sample) for sample in batch.samples)}.values())
        texts = [self.critics.text(critic, unit) for unit in units]
        values, known = torch.zeros_like(target), {}
        for part in by_length([len(text) for text in texts], self.settings.micro_batch_tokens):
            once = self.team.values(critic, [texts[index] for index in part])
            known |= {key(units[index]): value for index, value in zip(part, once.tolist(), strict=True)}
            samples = [index for place in part for index in of_unit[key(units[place])]]
            copies = torch.tensor([len(of_unit[key(units[place])]) for place in part], device=once.device)
            value = once.repeat_interleave(copies)
            losses = self._value_loss(critic, batch, samples, target[samples], value)
            self._guard(losses, batch, samples, f"value loss of {self.team.critics[critic].name}")
            self.team.accelerator.backward(self.settings.value_loss_coefficient * losses.sum() / len(target))
            values[samples] = value.detach().to(values.dtype)
        return values, known

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
        """Accumulate one agent's gradient; returns its figures. A response of several joint samples is scored once."""
        of_response: dict[Said, list[int]] = {}
        for index, sample in enumerate(batch.samples):
            of_response.setdefault(self._key(agent, *sample), []).append(index)
        said = list(of_response)
        pairs = [self._pair(agent, *batch.samples[samples[0]]) for samples in of_response.values()]
        total, count = Totals(len(advantage), self.team.device), len(advantage)
        for part in by_prompt(pairs, self.settings.micro_batch_tokens):
            names = [said[place] for place in part]
            samples = [index for name in names for index in of_response[name]]
            copies = torch.tensor([len(of_response[name]) for name in names], device=self.team.device)
            chosen = [pairs[place] for place in part]
            now, entropy = self.team.logprobs(agent, chosen, entropy_gradient=self.settings.entropy_coefficient > 0)
            old = None if self.released else self._old_logprobs(names, now)
            reference = self._reference_logprobs(agent, names, chosen)
            spread = [None if p is None else p.repeat_interleave(copies) for p in (now, entropy, old, reference)]
            loss, divergence = self._policy_loss(advantage[samples], *spread)
            self._guard(loss, batch, samples, f"policy loss of {self.team.agents[agent].name}")
            self.team.accelerator.backward(loss.sum() / count)
            ratio = None if old is None else policy_gradient.rho(spread[0].detach(), spread[2])
            total.note(samples, loss, spread[0], spread[1], ratio, divergence)
        lengths = [len(self._pair(agent, *sample)[1]) for sample in batch.samples]
        return total.figures(self.team.agents[agent].name, advantage, lengths, self.settings.ratio_clip)

    def _policy_loss(
        self, advantage: torch.Tensor, now: torch.Tensor, entropy: torch.Tensor, old: torch.Tensor | None,
        reference: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """[samples] losses with the options that are on, and the estimated divergence from the reference if asked."""
        loss = policy_gradient.policy_loss(now, advantage, old, self.settings.ratio_clip)
        if self.settings.entropy_coefficient:
            loss = loss - self.settings.entropy_coefficient * entropy
        if reference is None:
            return loss, None
        loss = loss + self.settings.kl_coefficient * policy_gradient.kl_loss(now, reference, old)
        return loss, (now - reference).detach()

    @staticmethod
    def _pair(agent: int, node: Node, j: int) -> Pair:
        response = node.responses[agent][node.actions[j][agent]]
        return response.prompt, response.tokens

    @staticmethod
    def _key(agent: int, node: Node, j: int) -> Said:
        return agent, id(node), node.actions[j][agent]

    # importance ratio and reference

    def _old_logprobs(self, names: Sequence[Said], now: torch.Tensor) -> torch.Tensor:
        """log pi_old of responses: what was remembered, else this very pass, before any step."""
        for name, value in zip(names, now.detach(), strict=True):
            self._old.setdefault(name, value)
        return torch.stack([self._old[name] for name in names])

    @torch.no_grad()
    def _reference_logprobs(self, agent: int, names: Sequence[Said], pairs: Sequence[Pair]) -> torch.Tensor | None:
        """log pi of responses under the base with its adapters off, once per rollout; None without a KL term."""
        if not self.settings.kl_coefficient:
            return None
        if any(name not in self._reference for name in names):
            scores, _ = self.team.logprobs(agent, pairs, reference=True)
            self._reference |= dict(zip(names, scores, strict=True))
        return torch.stack([self._reference[name] for name in names])

    @torch.no_grad()
    def _remember_policy(self, batches: Sequence[Batch], skip: Sequence[Batch]) -> None:
        """Score all samples of later minibatches before the first step changes the policy."""
        for agent in range(len(self.team.agents)):
            known = {self._key(agent, node, j) for batch in skip for node, j in batch.samples}
            missing = {
                self._key(agent, node, j): self._pair(agent, node, j)
                for batch in batches for node, j in batch.samples
                if self._key(agent, node, j) not in known
            }  # fmt: skip
            keys, pairs = list(missing), list(missing.values())
            for part in by_prompt(pairs, self.settings.micro_batch_tokens):
                scores, _ = self.team.logprobs(agent, [pairs[index] for index in part])
                self._old.update(zip((keys[index] for index in part), scores, strict=True))

    # machinery

    def _optimise(self, member: Member, batch: Batch) -> float:
        """Clip, check and step one member; returns its gradient norm before clipping."""
        parameters = [parameter for _, parameter in member.parameters() if parameter.grad is not None]
        limit = self.settings.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        if not math.isfinite(norm):
            self._stop(f"gradient norm of {member.name} is {norm}", batch, range(len(batch.samples)))
        self.optimisers[member.name].step()
        self.optimisers[member.name].zero_grad(set_to_none=True)
        self.steps[member.name] += 1
        return norm

    def _guard(self, losses: torch.Tensor, batch: Batch, part: Sequence[int], what: str) -> None:
        finite = torch.isfinite(losses)
        if not bool(finite.all()):
            self._stop(f"{what} is not finite", batch, [part[i] for i, fine in enumerate(finite.tolist()) if not fine])

    def _stop(self, what: str, batch: Batch, indices: Sequence[int]) -> None:
        rows = []
        for index in indices:
            node, j = batch.samples[index]
            texts = [node.responses[agent][k].text for agent, k in enumerate(node.actions[j])]
            rows.append({"task": node.task.id, "turn": node.turn, "prompts": node.observations, "responses": texts,
                         "tokens": [list(node.responses[a][k].tokens) for a, k in enumerate(node.actions[j])],
                         "reward": node.rewards[j]})  # fmt: skip
        faults.keep(self.evidence, what, rows)
        raise NonFiniteLoss(
            f"{what}; training stopped before the step, the samples are in {self.evidence}; "
            "lower the learning rate, set training.gradient_clip, or use precision fp32"
        )


def _samples(nodes: Sequence[Node]) -> list[Sample]:
    return [(node, j) for node in nodes for j in range(len(node.actions))]
