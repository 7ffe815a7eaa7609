"""Where an update comes from: samples by the sign of their advantage and the length of their response.

    python studies/update_shares.py --domain tldr str_build --study /tmp/study

Every method plays and learns with the job's own settings. Batches are as large as its minibatches. Then one real update
is made and the responses are scored again. Lines of docs/stability/update_shares.jsonl, one per method and group:

    sign, length    of the advantage; tercile of the agent's responses: short, middle, long
    count           share of responses
    pressure        share of the sum of |advantage| x tokens
    power           share of the sum of squared norms of the samples' own gradients, w_i^2 |grad log pi_i|^2
    pull            share of the squared norm of the whole gradient, <gradient of the group, gradient>; adds up to 1
    moved           change of log pi per token of these responses by the update, in nats

The line with sign "all" has `entropy` and `entropy_after` (nats per token, of the same responses), `tokens` and
`tokens_after` (mean length of newly sampled responses to the same tasks), and `moved_unseen`, the change of log pi per
token of responses that were not part of the update.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gradient_noise
import source_path  # noqa: F401
import torch
from score_gradients import ScoredEpisodes, scored
from started_team import METHODS_MEASURED, Started, Starts, arguments_of, keep_rows, parser_of, rounded

from collm.common import cli
from collm.common.seeds import derive
from collm.methods.registry import METHODS
from collm.methods.signal import Node, Sample, samples_of
from collm.training.learner import Learner
from collm.training.policies import pair

LENGTHS = ("short", "middle", "long")
SHOWN = ("count", "pressure", "power", "pull", "moved")
CUTS = 5  # ways to cut the episodes into batches


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain, seed and method."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--samples", type=cli.count, default=192, help="joint samples per method")
    arguments = arguments_of(__doc__ or "", "update_shares.jsonl", argv, parser)
    starts = Starts(arguments)
    for domain in arguments.domain:
        for seed in arguments.seeds:
            rows: list[dict[str, Any]] = []
            for method in METHODS_MEASURED:
                rows += measured(starts.team(domain, method, seed), arguments.samples)
                for row in rows[-7:-1]:
                    words = ", ".join(f"{name} {row[name]:.3f}" for name in SHOWN)
                    print(f"{domain} seed {seed} {method} {row['sign']} {row['length']}: {words}", flush=True)
            keep_rows(arguments.out, rows)
    return 0


def measured(started: Started, joint_samples: int) -> list[dict[str, Any]]:
    """The lines of a method."""
    job = started.job
    episodes = scored(started, gradient_noise.enough(started, job.rollout.generations, joint_samples))
    estimator = _estimator(started, episodes)
    sums = _sums(started, episodes, estimator)
    totals = {name: sum(own[name] for own in sums.values()) for name in ("count", "pressure", "power", "pull")}
    nodes = [node for unit in episodes.units[: job.training.tasks_per_rollout] for node in unit]
    taught = groups_of(episodes, estimator.advantages(nodes))
    after = _update(started, episodes, nodes)
    facts = {"domain": job.domain, "seed": started.setup.seed, "method": job.method}
    rows = []
    for (sign, length), own in sums.items():
        shares = {name: own[name] / total if total else 0.0 for name, total in totals.items()}
        moved = _moved(episodes, after["logprobs"], taught[sign, length])
        rows.append(rounded({**facts, "sign": sign, "length": length, **shares, "moved": moved}))
    in_update = {response for responses in taught.values() for response in responses}
    every = {(agent, index) for agent in range(len(episodes.products)) for index in range(len(episodes.place))}
    whole = {"sign": "all", "length": "all", "entropy": _mean(episodes.entropies), "tokens": _mean(episodes.lengths)}
    whole |= {"entropy_after": _mean(after["entropies"]), "tokens_after": after["tokens"]}
    whole |= {"moved_unseen": _moved(episodes, after["logprobs"], every - in_update)}
    return [*rows, rounded({**facts, **whole})]


def groups_of(
    episodes: ScoredEpisodes, advantages: Sequence[Mapping[Sample, float]]
) -> dict[tuple[str, str], set[tuple[int, int]]]:
    """(agent, number) of the responses that are pushed, by (sign of the advantage, tercile of the agent's lengths)."""
    groups: dict[tuple[str, str], set[tuple[int, int]]] = {
        (sign, length): set() for sign in ("negative", "positive") for length in LENGTHS
    }
    for agent, own in enumerate(advantages):
        lengths = episodes.lengths[agent]
        terciles = torch.bucketize(lengths, lengths.quantile(torch.tensor([1 / 3, 2 / 3]))).tolist()
        for sample, advantage in own.items():
            index = episodes.place[sample]
            if advantage:
                groups["positive" if advantage > 0 else "negative", LENGTHS[terciles[index]]].add((agent, index))
    return groups


def _estimator(started: Started, episodes: ScoredEpisodes) -> gradient_noise.Estimator:
    """The job's own way to make advantages, critics as they begin."""
    training, roots = started.job.training, [unit[0] for unit in episodes.units]
    if METHODS[started.job.method].critics is None:
        options = gradient_noise.monte_carlo_estimators(started, started.job.rollout.generations)
    else:
        options = gradient_noise.critic_estimators(started, 0, roots, traces=(training.td_lambda,))
    return next(option for option in options if option.facts["normalised"] == training.normalize_advantage)


def _sums(
    started: Started, episodes: ScoredEpisodes, estimator: gradient_noise.Estimator
) -> dict[tuple[str, str], dict[str, float]]:
    """Sums over batches and agents by (sign, length) of what the module's docstring calls shares."""
    draw = random.Random(derive("shares", started.setup.seed))
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for _ in range(CUTS):
        for nodes in gradient_noise.cut(episodes, started.job.training.minibatch_size, draw):
            advantages = estimator.advantages(nodes)
            weights = [episodes.row(own) for own in advantages]
            parts = [_parts(episodes, agent, own) for agent, own in enumerate(weights)]
            for name, responses in groups_of(episodes, advantages).items():
                own = sums.setdefault(name, {part: 0.0 for part in parts[0]})
                for part in own:
                    own[part] += sum(parts[agent][part][index].item() for agent, index in responses)
    return sums


def _parts(episodes: ScoredEpisodes, agent: int, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """[N] what every response of an agent adds to a batch's sums, from its [N] weights."""
    products = episodes.products[agent]
    return {
        "count": torch.ones_like(weights),
        "pressure": weights.abs() * episodes.lengths[agent],
        "power": weights.square() * products.diagonal(),
        "pull": weights * (products @ weights),
    }


def _update(started: Started, episodes: ScoredEpisodes, nodes: Sequence[Node]) -> dict[str, Any]:
    """Make one update on `nodes`; scores of all responses after it, and lengths of new ones to the same tasks."""
    job, team = started.job, started.team
    learner = Learner(
        team, METHODS[job.method], job.training, job.semantics, started.context, started.setup.folders.nonfinite
    )
    for _ in learner.update(nodes, random.Random(derive("update", started.setup.seed)), last=True):
        pass
    samples = list(episodes.place)
    scores = [_scores(started, agent, samples) for agent in range(len(team.agents))]
    tasks = [unit[0].task for unit in episodes.units]
    new = samples_of([node for root in started.play(tasks, "after") for node in root.walk()])
    lengths = [float(len(pair(agent, *sample)[1])) for agent in range(len(team.agents)) for sample in new]
    found = {"logprobs": [own[0] for own in scores], "entropies": [own[1] for own in scores]}
    return {**found, "tokens": sum(lengths) / len(lengths)}


@torch.no_grad()
def _scores(started: Started, agent: int, samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """[N] log pi and entropies of an agent's responses, as the team is now."""
    sampling = started.context.sampling
    both = [started.team.logprobs(agent, [pair(agent, *sample)], sampling=sampling) for sample in samples]
    return torch.cat([one[0] for one in both]).cpu(), torch.cat([one[1] for one in both]).cpu()


def _moved(episodes: ScoredEpisodes, after: Sequence[torch.Tensor], responses: set[tuple[int, int]]) -> float:
    """Mean change of log pi per token of some responses; 0 of none."""
    changes = [
        (after[agent][index] - episodes.logprobs[agent][index]).item() / episodes.lengths[agent][index].item()
        for agent, index in sorted(responses)
    ]
    return sum(changes) / len(changes) if changes else 0.0


def _mean(parts: Sequence[torch.Tensor]) -> float:
    return torch.cat(list(parts)).mean().item()


if __name__ == "__main__":
    sys.exit(cli.run(main))
