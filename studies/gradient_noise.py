"""How much of a policy gradient is signal, by method, batch size and benchmark, for a warm-started team.

    python studies/gradient_noise.py --domain tldr str_build --study /tmp/study

Of m independent batches with gradients g_1 ... g_m, the mean of <g_a, g_b> over a != b estimates |E g|^2 without bias,
the mean of |g_a|^2 is E|g|^2; both are summed over agents, before any clipping or optimiser. Every estimator sees the
same episodes of its kind (single ones, or trees of K), cut into batches many times. Lines of
docs/stability/gradient_noise.jsonl:

    estimator     method, K, td_lambda, normalised or not, and steps that its critics have had on other episodes
    batch         joint samples in a gradient
    alignment     |E g|^2 / E|g|^2, about the cosine between the gradients of two batches; 1 is no noise
    error         deviation of `alignment` if there were no signal at all: what is smaller is not distinguished from 0
    snr           |E g|^2 / (E|g|^2 - |E g|^2)
    noise_scale   batch / snr: joint samples at which signal and noise are the same (arXiv 1812.06162, Eq. 2.8)
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import critic_fit
import source_path  # noqa: F401
import torch
from score_gradients import ScoredEpisodes, scored
from started_team import Started, Starts, arguments_of, keep_rows, parser_of, rounded

from collm.common import cli
from collm.common.seeds import derive
from collm.methods import actor_critic, monte_carlo, policy_gradient
from collm.methods.signal import Node, Sample, samples_of
from collm.training.critics import Critics

BATCHES = (8, 16, 32, 64, 128)
FEWEST = 4  # batches of one size, or the size is left out
SHUFFLES = 20  # ways to cut the episodes into batches
LARGEST_TREE = 30  # joint actions; larger ones are not played
GROUPS = (2, 4)  # K

Advantages = Callable[[Sequence[Node]], Sequence[Mapping[Sample, float]]]  # nodes of a batch -> [agent][sample]


@dataclass(frozen=True)
class Estimator:
    """One way to learn from episodes; `advantages` is what it does with the nodes of a batch."""

    facts: dict[str, Any]
    advantages: Advantages


def tree_size(generations: int, turns: int) -> int:
    """Joint actions of a task's whole tree."""
    return sum(generations ** (turn + 1) for turn in range(turns))


def monte_carlo_estimators(started: Started, generations: int) -> Iterator[Estimator]:
    """MAGRPO, normalised or not."""
    context, agents = started.context, len(started.team.agents)
    for normalised in (True, False):
        floor = started.job.training.advantage_floor * context.reward_range
        scaling = policy_gradient.Scaling(normalised, started.job.training.advantage_clip, floor)

        def advantages(nodes: Sequence[Node], scaling: policy_gradient.Scaling = scaling):
            of = monte_carlo.signal("magrpo", nodes, agents, context.gamma, scaling).advantages
            return [of[agent] for agent in range(agents)]

        yield Estimator({"method": "magrpo", "generations": generations, "normalised": normalised}, advantages)


def critic_estimators(
    started: Started, steps: int, roots: Sequence[Node], traces: Sequence[float] = (0.0, 1.0)
) -> Iterator[Estimator]:
    """A method with critics as they are now, for the episodes `roots`: by lambda, normalised or not."""
    nodes = [node for root in roots for node in root.walk()]
    samples = samples_of(nodes)
    for trace in traces if started.job.rollout.turns > 1 else traces[-1:]:
        known = started.critics(td_lambda=trace)
        units = [unit for node in nodes for unit in actor_critic.units(node, known.of_actions)]
        values = {critic: known.values(critic, units) for critic in range(len(known))}
        targets = {c: dict(zip(samples, known.targets(c, samples, values[c]), strict=True)) for c in values}
        for normalised in (True, False):
            critics = started.critics(td_lambda=trace, normalize_advantage=normalised)
            facts = {"method": started.job.method, "generations": 1, "normalised": normalised}
            facts |= {"td_lambda": trace, "critic_steps": steps}
            yield Estimator(facts, _with_critics(critics, targets, values))


def _with_critics(
    critics: Critics, targets: Mapping[int, Mapping[Sample, float]], values: Mapping[int, Any]
) -> Advantages:
    agents = range(len(critics.team.agents))

    def advantages(nodes: Sequence[Node]) -> list[Mapping[Sample, float]]:
        batch = samples_of(nodes)
        signal = critics.signal(batch, {c: [own[s] for s in batch] for c, own in targets.items()}, values)
        return [signal.advantages[agent] for agent in agents]

    return advantages


def cut(episodes: ScoredEpisodes, size: int, draw: random.Random) -> list[list[Node]]:
    """Shuffled batches of about `size` joint samples: nodes of whole episodes or trees."""
    units = list(episodes.units)
    draw.shuffle(units)
    each = max(1, round(size * len(units) / len(episodes.place)))
    parts = [units[start : start + each] for start in range(0, len(units) - each + 1, each)]
    return [[node for unit in part for node in unit] for part in parts]


def noise(episodes: ScoredEpisodes, estimator: Estimator, size: int, seed: int) -> dict[str, Any] | None:
    """One line; None where there are too few batches."""
    draw = random.Random(derive("batches", seed, size))
    parts: list[dict[str, float]] = []
    for _ in range(SHUFFLES):
        batches = cut(episodes, size, draw)
        if len(batches) < FEWEST:
            return None
        rows = [estimator.advantages(nodes) for nodes in batches]
        weights = [torch.stack([episodes.row(row[a]) for row in rows]) for a in range(len(episodes.products))]
        batch = sum(len(row[0]) for row in rows) / len(rows)
        parts.append({"batch": batch, "batches": len(batches), **signal_and_power(episodes.power(weights))})
    means = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
    return shares(means)


def signal_and_power(products: torch.Tensor) -> dict[str, float]:
    """Unbiased |E g|^2 and E|g|^2 from the [m, m] inner products of independent gradients.

    `deviation` is that of the first if every gradient had a random sign, that is no mean.
    """
    count, own = len(products), products.diagonal()
    pairs = count * (count - 1)
    others = (products - torch.diag(own)).square().sum().item()
    signal = (products.sum() - own.sum()).item() / pairs
    return {"signal": signal, "power": own.mean().item(), "deviation": math.sqrt(2.0 * others) / pairs}


def shares(means: Mapping[str, float]) -> dict[str, float]:
    """What is signal; a signal of 0 or less has no noise scale."""
    power, rest = means["power"], means["power"] - means["signal"]
    result = {name: means[name] for name in ("batch", "batches", "signal", "power")}
    result["alignment"] = means["signal"] / power if power else 0.0
    result["error"] = means["deviation"] / power if power else 0.0
    result["snr"] = means["signal"] / rest if rest > 0 else 0.0
    return result | ({"noise_scale": means["batch"] / result["snr"]} if result["snr"] > 0 else {})


def measured(
    starts: Starts, domain: str, seed: int, joint_samples: int, critic_steps: Sequence[int]
) -> list[dict[str, Any]]:
    """All lines of a domain and seed."""
    facts, rows = {"domain": domain, "seed": seed}, []
    first = starts.team(domain, "magrpo", seed)
    turns = first.job.rollout.turns
    for generations in GROUPS:
        if tree_size(generations, turns) <= LARGEST_TREE:
            episodes = scored(first, enough(first, generations, joint_samples))
            rows += _lines(episodes, monte_carlo_estimators(first, generations), seed)
    single = scored(first, enough(first, 1, joint_samples))
    roots = [unit[0] for unit in single.units]
    for method in ("collm_dc", "collm_cc"):
        started = starts.team(domain, method, seed)
        pool = started.play(started.setup.train, "pool", rounds=4)
        for steps in critic_fit.fit(started, started.critics(), pool, max(critic_steps), "noise"):
            if steps in critic_steps:
                rows += _lines(single, critic_estimators(started, steps, roots), seed)
    return [rounded(facts | row) for row in rows]


def enough(started: Started, generations: int, joint_samples: int) -> list[Node]:
    """Roots of episodes or trees of training tasks, with about `joint_samples` joint samples if none ends early."""
    tasks, size = started.setup.train, tree_size(generations, started.job.rollout.turns)
    count = max(FEWEST, round(joint_samples / size))
    rounds = math.ceil(count / len(tasks))
    return started.play(tasks[:count], f"noise {generations}", rounds, generations)[:count]


def _lines(episodes: ScoredEpisodes, estimators: Iterator[Estimator], seed: int) -> Iterator[dict[str, Any]]:
    for estimator in estimators:
        for size in BATCHES:
            if (line := noise(episodes, estimator, size, seed)) is not None:
                yield {**estimator.facts, **line}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain and seed."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--samples", type=cli.count, default=256, help="joint samples of every kind of episode")
    parser.add_argument("--critic-steps", type=int, nargs="+", default=[0, 32], help="steps that critics have had")
    arguments = arguments_of(__doc__ or "", "gradient_noise.jsonl", argv, parser)
    starts = Starts(arguments)
    for domain in arguments.domain:
        for seed in arguments.seeds:
            rows = measured(starts, domain, seed, arguments.samples, arguments.critic_steps)
            keep_rows(arguments.out, rows)
            for row in rows:
                words = " ".join(str(row[key]) for key in list(row)[2 : list(row).index("batch")])
                print(
                    f"{domain} seed {seed} {words} batch {row['batch']:.0f}: alignment {row['alignment']:.3f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
