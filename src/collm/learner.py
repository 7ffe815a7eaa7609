"""From a forest of episodes to parameter updates, for all methods and both semantics.

paper:    minibatches of joint samples; per minibatch one step of every critic and one of every agent; importance
          ratio against the policy that played; bootstrap values at update time (Alg. 1 and 2).
released: one buffer per agent, filled in the order of play; a full buffer is split by turn; the critic steps within
          every agent's update; targets frozen at rollout; no ratio (comlrl 1.3.6, without its plain faults).
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from collm import config as configuration
from collm.errors import NonFiniteLoss
from collm.files import write_atomic
from collm.methods import Method, actor_critic, collm_cc, collm_dc, magrpo, policy_gradient
from collm.packing import by_length, by_prompt
from collm.rollout import Node
from collm.schedule import Batch, Buffers, paper_batches
from collm.team import Member, Team


@dataclass(frozen=True)
class Context:
    """What the learner has to know of the episodes: discount gamma, turns H, largest reward (for m_t)."""

    gamma: float
    turns: int
    max_reward: float


class Learner:
    """Optimisers of a team and one `update` per forest."""

    def __init__(
        self, team: Team, method: Method, settings: configuration.Training, semantics: str, context: Context,
        evidence: Path,
    ):  # fmt: skip
        """`evidence` is the file that the sample behind a non-finite loss is written to."""
        self.team, self.method, self.settings = team, method, settings
        self.released, self.context, self.evidence = semantics == "released", context, evidence
        self.optimisers = {member.name: self._optimiser(member) for member in team.members}
        self.buffers = Buffers(len(team.agents))
        self.steps = {member.name: 0 for member in team.members}
        self._old: dict[tuple[int, int, int], torch.Tensor] = {}

    def _optimiser(self, member: Member) -> torch.optim.Optimizer:
        critic = member.head is not None
        rate = self.settings.critic_learning_rate if critic else self.settings.agent_learning_rate
        parameters = [parameter for _, parameter in member.parameters()]
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=self.settings.weight_decay)

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
        if self.released:
            self._freeze_signal(nodes)
            size = self.settings.minibatch
            if groups:
                size = max(1, size // max(len(node.actions) for node in nodes))
            self.buffers.push(nodes, by_node=groups)
            batches = self.buffers.drain(size, draw, flush=last)
        else:
            batches = paper_batches(nodes, self.settings.minibatch, self.settings.passes, draw, by_node=groups)
            self._old = {}
            self._remember_policy(batches[1:], skip=batches[:1])
        for batch in batches:
            yield self._step(batch)

    # learning signal

    def _critic_text(self, critic: int, node: Node) -> tuple[int, ...]:
        prompts = ["\n\n".join(message["content"] for message in messages) for messages in node.observations]
        information = None
        if self.settings.global_information and not self.released:
            information = actor_critic.m(node.turn, self.context.turns, node.last_reward, self.context.max_reward)
        if self.method.critics == "joint":
            text = collm_cc.joint_history(prompts, information=information)
        else:
            text = collm_dc.local_history(prompts[critic], information)
        return self.team.text_ids(critic, text)

    @torch.no_grad()
    def _values(self, critic: int, nodes: Sequence[Node]) -> torch.Tensor:
        """V of every node, [nodes], without gradient."""
        texts = [self._critic_text(critic, node) for node in nodes]
        values = torch.zeros(len(nodes), device=self.team.device)
        for part in by_length([len(text) for text in texts], self.settings.micro_batch_tokens):
            values[part] = self.team.values(critic, [texts[index] for index in part]).float()
        return values

    def _targets(self, critic: int, batch: Sequence[tuple[Node, int]]) -> torch.Tensor:
        """y of every joint sample, [batch]; V(h_{t+1}) of the critic as it is now."""
        children = [node.children[j] for node, j in batch]
        following = [child for child in children if child is not None]
        next_value = torch.zeros(len(batch), device=self.team.device)
        terminal = torch.tensor([child is None for child in children], device=self.team.device)
        if following:
            next_value[~terminal] = self._values(critic, following)
        reward = torch.tensor([node.rewards[j] for node, j in batch], device=self.team.device)
        return actor_critic.y(reward, next_value, terminal, self.context.gamma)

    def _freeze_signal(self, nodes: Sequence[Node]) -> None:
        """Released semantics: fix target and advantage of every agent and joint sample at rollout."""
        if self.method.critics is None:
            return
        samples = [(node, j) for node in nodes for j in range(len(node.actions))]
        for critic in range(len(self.team.critics)):
            targets = self._targets(critic, samples)
            values = dict(zip(map(id, nodes), self._values(critic, nodes).tolist(), strict=True))
            agents = range(len(self.team.agents)) if self.method.critics == "joint" else (critic,)
            for (node, j), target in zip(samples, targets.tolist(), strict=True):
                for agent in agents:
                    node.signal[agent, j] = (target, target - values[id(node)])

    def _frozen(self, agent: int, batch: Batch, which: int) -> torch.Tensor:
        """[samples] targets (0) or advantages (1) that were fixed at rollout."""
        fixed = [node.signal[agent, j][which] for node, j in batch.samples]
        return torch.tensor(fixed, device=self.team.device)

    def _group_advantages(self, agent: int, node: Node) -> torch.Tensor:
        """MAGRPO: [K] advantages of an agent's responses at a node."""
        count = len(node.responses[agent])
        returns = magrpo.response_returns(node.returns(self.context.gamma), node.actions, agent, count)
        advantage = magrpo.advantage(returns)
        return policy_gradient.normalise(advantage) if self.settings.normalize_advantage else advantage

    # one optimiser step of the members that a batch trains

    def _step(self, batch: Batch) -> dict[str, float]:
        started = time.perf_counter()
        figures: dict[str, float] = {"samples": len(batch.samples)}
        advantages: dict[int, torch.Tensor] = {}
        trained: list[Member] = []
        for critic, agents in self._critics_of(batch):
            value, target = self._backward_values(critic, batch, agents[0])
            trained.append(self.team.critics[critic])
            delta = actor_critic.delta(target, value)
            for agent in agents:
                advantages[agent] = self._frozen(agent, batch, 1) if self.released else delta
            figures |= _values_figures(value, target, self._suffix(critic))
        for agent in batch.agents:
            advantage = self._advantage(agent, batch, advantages.get(agent))
            figures |= self._backward_policy(agent, batch, advantage)
            trained.append(self.team.agents[agent])
        for member in trained:
            figures[f"gradient_norm/{member.name}"] = self._optimise(member, batch)
        norms = [value for key, value in figures.items() if key.startswith("gradient_norm/agent")]
        figures["gradient_norm"] = max(norms)
        figures["policy_loss"] = _mean(figures, "policy_loss/")
        if trained[0].head is not None:
            figures["value_loss"] = _mean(figures, "value_loss/")
        figures["seconds"] = round(time.perf_counter() - started, 3)
        return figures

    def _suffix(self, critic: int) -> str:
        return self.team.critics[critic].name

    def _critics_of(self, batch: Batch) -> list[tuple[int, list[int]]]:
        if self.method.critics is None:
            return []
        if self.method.critics == "joint":
            return [(0, list(batch.agents))]
        return [(agent, [agent]) for agent in batch.agents]

    def _advantage(self, agent: int, batch: Batch, delta: torch.Tensor | None) -> torch.Tensor:
        """[samples] advantages, normalised and clipped as configured."""
        if delta is None:
            groups = {}
            for node, _ in batch.samples:
                if id(node) not in groups:
                    groups[id(node)] = self._group_advantages(agent, node)
            picked = [groups[id(node)][node.actions[j][agent]] for node, j in batch.samples]
            advantage = torch.stack(picked).float().to(self.team.device)
        else:
            turns = torch.tensor([node.turn for node, _ in batch.samples], device=delta.device)
            advantage = policy_gradient.normalise_by(delta, turns) if self.settings.normalize_advantage else delta
        return policy_gradient.clip(advantage, self.settings.advantage_clip)

    def _backward_values(self, critic: int, batch: Batch, agent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Accumulate the critic's gradient; returns ([samples] values, [samples] targets), both detached."""
        target = self._frozen(agent, batch, 0) if self.released else self._targets(critic, batch.samples)
        nodes = list({id(node): node for node, _ in batch.samples}.values())
        of_node: dict[int, list[int]] = {}
        for index, (node, _) in enumerate(batch.samples):
            of_node.setdefault(id(node), []).append(index)
        texts = [self._critic_text(critic, node) for node in nodes]
        values = torch.zeros_like(target)
        for part in by_length([len(text) for text in texts], self.settings.micro_batch_tokens):
            once = self.team.values(critic, [texts[index] for index in part])
            samples = [index for place in part for index in of_node[id(nodes[place])]]
            copies = torch.tensor([len(of_node[id(nodes[place])]) for place in part], device=once.device)
            value = once.repeat_interleave(copies)
            losses = actor_critic.value_loss(target[samples], value)
            self._guard(losses, batch, samples, f"value loss of {self.team.critics[critic].name}")
            self.team.accelerator.backward(self.settings.value_loss_coefficient * losses.sum() / len(target))
            values[samples] = value.detach().float()
        return values, target

    def _backward_policy(self, agent: int, batch: Batch, advantage: torch.Tensor) -> dict[str, float]:
        """Accumulate one agent's gradient; returns its figures."""
        pairs = [self._pair(agent, node, j) for node, j in batch.samples]
        losses, ratios, entropies, log_pi = (torch.zeros(len(pairs), device=self.team.device) for _ in range(4))
        for part in by_prompt(pairs, self.settings.micro_batch_tokens):
            now, entropy = self.team.logprobs(agent, [pairs[index] for index in part])
            old = None if self.released else self._old_logprobs(agent, batch, part, now)
            loss = policy_gradient.policy_loss(now, advantage[part], old)
            self._guard(loss, batch, part, f"policy loss of {self.team.agents[agent].name}")
            self.team.accelerator.backward(loss.sum() / len(pairs))
            losses[part], entropies[part], log_pi[part] = loss.detach(), entropy, now.detach()
            ratios[part] = 1.0 if old is None else policy_gradient.rho(now.detach(), old)
        name = self.team.agents[agent].name
        lengths = [len(response) for _, response in pairs]
        return {
            f"policy_loss/{name}": losses.mean().item(),
            f"ratio_mean/{name}": ratios.mean().item(),
            f"ratio_max/{name}": ratios.max().item(),
            f"advantage_deviation/{name}": advantage.std(unbiased=False).item(),
            f"zero_advantage_share/{name}": (advantage.abs() < 1e-8).float().mean().item(),
            f"entropy/{name}": entropies.mean().item(),
            f"logprob/{name}": log_pi.mean().item(),
            f"length/{name}": sum(lengths) / len(lengths),
        }

    @staticmethod
    def _pair(agent: int, node: Node, j: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        response = node.responses[agent][node.actions[j][agent]]
        return response.prompt, response.tokens

    # importance ratio

    def _old_logprobs(self, agent: int, batch: Batch, part: Sequence[int], now: torch.Tensor) -> torch.Tensor:
        """log pi_old of the samples `part`: what was remembered, else this very pass, before any step."""
        keys = [self._key(agent, *batch.samples[index]) for index in part]
        for key, value in zip(keys, now.detach(), strict=True):
            self._old.setdefault(key, value)
        return torch.stack([self._old[key] for key in keys])

    @staticmethod
    def _key(agent: int, node: Node, j: int) -> tuple[int, int, int]:
        return agent, id(node), node.actions[j][agent]

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
        write_atomic(self.evidence, json.dumps({"what": what, "samples": rows}, indent=1) + "\n")
        raise NonFiniteLoss(
            f"{what}; training stopped before the step, the samples are in {self.evidence}; "
            "lower the learning rate, set training.gradient_clip, or use precision fp32"
        )


def _values_figures(value: torch.Tensor, target: torch.Tensor, name: str) -> dict[str, float]:
    variance = target.var(unbiased=False)
    explained = 1.0 - ((target - value).var(unbiased=False) / variance).item() if variance > 0 else 0.0
    return {
        f"value_loss/{name}": (target - value).square().mean().item(),
        f"value/{name}": value.mean().item(),
        f"value_target/{name}": target.mean().item(),
        f"explained_variance/{name}": explained,
    }


def _mean(figures: dict[str, float], prefix: str) -> float:
    values = [value for key, value in figures.items() if key.startswith(prefix)]
    return sum(values) / len(values)
