"""How fast critics learn the returns of a fixed, warm-started policy, by what they read.

    python studies/critic_fit.py --domain tldr str_build --study /tmp/study --steps 200

Critics alone are trained, on a pool of episodes of the training tasks, with the job's learning rate and minibatches.
Measured on episodes that they have not seen, before the first step and at every doubling of the steps. Lines of
docs/stability/critic_fit.jsonl:

    reads              joint (CoLLM-CC) or local (CoLLM-DC); critic v or q; informed: told m_t or not; td_lambda
    steps              critic steps made
    explained          1 - variance(return - value) / variance(return), new episodes of the training tasks
    within_turn        the same with every turn's mean taken out of both (what is left once a critic can count turns)
    test_tasks         `explained` on test tasks
    first_turn         `explained` of the first turn alone
    ceiling            share of the first turn's variance that lies between tasks: no critic of type v can explain more
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import source_path  # noqa: F401
import torch
from started_team import Started, Starts, arguments_of, keep_rows, parser_of, rounded

from collm.common import cli
from collm.common.seeds import derive
from collm.llm.batching import by_length
from collm.methods import actor_critic
from collm.methods.signal import Node, Sample, samples_of
from collm.training.critics import Critics
from collm.training.step_metrics import value_metrics

VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("collm_cc", {}),
    ("collm_dc", {}),
    ("collm_cc", {"global_information": False}),
    ("collm_cc", {"td_lambda": 1.0}),
    ("collm_dc", {"td_lambda": 1.0}),
    ("collm_cc", {"critic_type": "q"}),
    ("collm_dc", {"critic_type": "q"}),
)


def fit(started: Started, critics: Critics, roots: Sequence[Node], steps: int, name: str) -> Iterator[int]:
    """Train the critics of a team, one minibatch a step, on episodes that stay; yields the steps made, from 0.

    Targets are as in training, with td_lambda from the critics' settings, bootstrapped from the critics as they are.

    Args:
        name: of the order in which samples are drawn.
    """
    settings = critics.settings
    draw = random.Random(derive("critic_fit", name, started.setup.seed))
    samples = samples_of([node for root in roots for node in root.walk()])
    members = [[part for _, part in member.parameters()] for member in started.team.critics]
    rate, decay = settings.critic_learning_rate, settings.weight_decay
    optimisers = [torch.optim.AdamW(parameters, lr=rate, weight_decay=decay) for parameters in members]
    waiting: list[Sample] = []
    yield 0
    for step in range(steps):
        if len(waiting) < settings.minibatch_size:
            waiting = draw.sample(samples, len(samples))
        batch, waiting = waiting[: settings.minibatch_size], waiting[settings.minibatch_size :]
        for critic, optimiser in enumerate(optimisers):
            _step(critics, critic, batch)
            torch.nn.utils.clip_grad_norm_(members[critic], settings.gradient_clip or float("inf"))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        yield step + 1


def _step(critics: Critics, critic: int, batch: Sequence[Sample]) -> None:
    """Accumulate a critic's gradient on a minibatch."""
    settings = critics.settings
    target = torch.tensor(critics.targets(critic, batch), device=critics.team.device)
    texts = [critics.text(critic, actor_critic.unit(sample, critics.of_actions)) for sample in batch]
    for part in by_length([len(text) for text in texts], settings.micro_batch_tokens):
        value = critics.team.values(critic, [texts[index] for index in part])
        loss = actor_critic.value_loss(target[part], value).sum() / len(batch)
        (settings.value_loss_coefficient * loss).backward()


class Explained:
    """What one set of critics explains of the returns of fixed episodes; a mean over critics."""

    def __init__(self, started: Started, roots: Sequence[Node]):
        self.samples = samples_of([node for root in roots for node in root.walk()])
        gamma = started.job.rollout.discount
        self.returns = torch.tensor(actor_critic.targets(self.samples, {}, gamma, 1.0, False))
        self.turns = torch.tensor([node.turn for node, _ in self.samples])
        self._texts: dict[int, list[tuple[int, ...]]] = {}  # by critic
        self.roots = [node.task.id for node, _ in self.samples if node.turn == 0]

    def shares(self, critics: Critics) -> dict[str, float]:
        """`explained`, `within_turn` and `first_turn` as the module says."""
        shares: dict[str, list[float]] = {"explained": [], "within_turn": [], "first_turn": []}
        first = self.turns == 0
        for critic in range(len(critics)):
            value = self._values(critics, critic)
            shares["explained"].append(_explained(value, self.returns))
            shares["within_turn"].append(_explained(self._less_turns(value), self._less_turns(self.returns)))
            shares["first_turn"].append(_explained(value[first], self.returns[first]))
        return {name: sum(own) / len(own) for name, own in shares.items()}

    @torch.no_grad()
    def _values(self, critics: Critics, critic: int) -> torch.Tensor:
        """[samples] values; a text that several episodes have in common (a task's first turn, say) is read once."""
        if critic not in self._texts:
            units = [actor_critic.unit(sample, critics.of_actions) for sample in self.samples]
            self._texts[critic] = [critics.text(critic, unit) for unit in units]
        distinct = list(dict.fromkeys(self._texts[critic]))
        values: dict[tuple[int, ...], float] = {}
        for part in by_length([len(text) for text in distinct], critics.settings.micro_batch_tokens):
            texts = [distinct[index] for index in part]
            values |= dict(zip(texts, critics.team.values(critic, texts).tolist(), strict=True))
        return torch.tensor([values[text] for text in self._texts[critic]])

    def _less_turns(self, numbers: torch.Tensor) -> torch.Tensor:
        """[samples] numbers less the mean of their turn."""
        result = numbers.clone()
        for turn in self.turns.unique():
            result[self.turns == turn] -= numbers[self.turns == turn].mean()
        return result

    def ceiling(self) -> float:
        """Share of the variance of first turns' returns that lies between tasks, without the samples' own noise."""
        groups: dict[str, list[float]] = {}
        for name, value in zip(self.roots, self.returns[self.turns == 0].tolist(), strict=True):
            groups.setdefault(name, []).append(value)
        several = [torch.tensor(own) for own in groups.values() if len(own) > 1]
        within = torch.stack([own.var() for own in several]).mean().item()
        total = self.returns[self.turns == 0].var().item()
        return max(0.0, 1.0 - within / total) if total else 0.0


def _explained(value: torch.Tensor, target: torch.Tensor) -> float:
    return value_metrics(value, target, "")["explained_variance/"]


@dataclass(frozen=True)
class Episodes:
    """What critics of a domain and seed are fitted to and measured on: roots of `rounds` episodes of every task."""

    pool: list[Node]
    held_out: list[Node]
    test: list[Node]

    @classmethod
    def of(cls, started: Started, rounds: int) -> Episodes:
        """Play them."""
        setup = started.setup
        plans = ((setup.train, "pool"), (setup.train, "held out"), (setup.test, "test"))
        return cls(*(started.play(tasks, name, rounds) for tasks, name in plans))


def measured(start: Started, changes: dict[str, Any], steps: int, episodes: Episodes) -> list[dict[str, Any]]:
    """Lines of one kind of critic.

    Args:
        start: a team with critics as they begin.
        changes: settings of training that win.
    """
    critics, setup = start.critics(**changes), start.setup
    seen, unseen = Explained(start, episodes.held_out), Explained(start, episodes.test)
    facts = {"domain": start.job.domain, "seed": setup.seed, "reads": "joint" if len(critics) == 1 else "local"}
    facts |= {"critic": critics.settings.critic_type, "informed": critics.informed}
    facts |= {"td_lambda": critics.settings.td_lambda, "episodes": len(episodes.pool), "ceiling": seen.ceiling()}
    rows = []
    for step in fit(start, critics, episodes.pool, steps, "pool"):
        if step == steps or step in (0, 4) or (step > 4 and step & (step - 1) == 0):
            test = unseen.shares(critics)["explained"]
            rows.append(rounded({**facts, "steps": step, **seen.shares(critics), "test_tasks": test}))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain and seed."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--steps", type=cli.count, default=128, help="critic steps")
    parser.add_argument("--rounds", type=cli.count, default=4, help="episodes per training task in the pool")
    arguments = arguments_of(__doc__ or "", "critic_fit.jsonl", argv, parser)
    starts = Starts(arguments)
    for domain in arguments.domain:
        for seed in arguments.seeds:
            rows: list[dict[str, Any]] = []
            episodes = Episodes.of(starts.team(domain, "magrpo", seed), arguments.rounds)
            for method, changes in VARIANTS:
                started = starts.team(domain, method, seed)
                if started.job.rollout.turns == 1 and "td_lambda" in changes:
                    continue  # targets are rewards, whatever lambda
                rows += measured(started, changes, arguments.steps, episodes)
                last = rows[-1]
                words = ", ".join(f"{name} {last[name]:.3f}" for name in ("explained", "within_turn", "test_tasks"))
                print(f"{domain} seed {seed} {method} {changes}: {words}, ceiling {last['ceiling']:.3f}", flush=True)
            keep_rows(arguments.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
