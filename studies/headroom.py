"""What a warm-started policy can still gain: the best of N sampled episodes of a test task against their mean.

    python studies/headroom.py --domain tldr str_build --study /tmp/study

A method that learns only from its own samples cannot teach what the best of them does not show. One line per domain and
seed goes to docs/stability/headroom.jsonl:

    mean, best      of the reward of an episode's last turn, over N samples, averaged over test tasks
    best_of_4       expected largest of four samples
    within          deviation of the samples of a task (root of the mean variance)
    between         deviation of the tasks' true means (the samples' own noise is taken out)
    tied            share of tasks whose samples all earn the same, so that nothing can be learnt from them
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import source_path  # noqa: F401
from started_team import Started, Starts, arguments_of, keep_rows, parser_of, rounded

from collm.common import cli
from collm.common.seeds import derive
from collm.training import evaluation

TIE = 1e-9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain and seed."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--samples", type=cli.count, default=16, help="episodes per test task")
    arguments = arguments_of(__doc__ or "", "headroom.jsonl", argv, parser)
    starts = Starts(arguments)
    for domain in arguments.domain:
        for seed in arguments.seeds:
            row = measured(starts.team(domain, "magrpo", seed), arguments.samples)
            keep_rows(arguments.out, [row])
            words = ", ".join(f"{name} {row[name]:.3f}" for name in ("mean", "best", "within", "between", "tied"))
            print(f"{domain} seed {seed}: {words}", flush=True)
    return 0


def measured(started: Started, samples: int) -> dict[str, Any]:
    """The line of a team."""
    setup = started.setup
    seed = derive("headroom", setup.seed)
    rows = evaluation.sample_rows(started.rollout, setup.test, samples, seed, {})
    rewards: dict[str, list[float]] = {}
    for row in rows:
        rewards.setdefault(row["task"], []).append(row["reward"])
    facts = {"domain": started.job.domain, "seed": setup.seed, "tasks": len(rewards), "samples": samples}
    bounds = {"lowest": float(setup.domain.min_reward), "highest": float(setup.domain.max_reward)}
    return rounded({**facts, **bounds, **statistics_of(list(rewards.values()))})


def statistics_of(tasks: Sequence[Sequence[float]]) -> dict[str, float]:
    """What the samples' rewards say; [task][sample], two samples or more of every task."""
    means = [sum(own) / len(own) for own in tasks]
    variances = [sum((r - m) ** 2 for r in own) / (len(own) - 1) for own, m in zip(tasks, means, strict=True)]
    centre, within = sum(means) / len(means), sum(variances) / len(variances)
    spread = sum((m - centre) ** 2 for m in means) / max(1, len(means) - 1)
    between = max(0.0, spread - within / len(tasks[0]))
    return {
        "mean": centre,
        "best": sum(max(own) for own in tasks) / len(tasks),
        "best_of_4": sum(expected_best(own, 4) for own in tasks) / len(tasks),
        "within": math.sqrt(within),
        "between": math.sqrt(between),
        "tied": sum(max(own) - min(own) < TIE for own in tasks) / len(tasks),
    }


def expected_best(rewards: Sequence[float], draws: int) -> float:
    """Expected largest of `draws` of the rewards, drawn without replacement."""
    ordered, count = sorted(rewards), len(rewards)
    draws = min(draws, count)
    ways = [math.comb(place, draws - 1) for place in range(count)]
    return sum(reward * way for reward, way in zip(ordered, ways, strict=True)) / math.comb(count, draws)


if __name__ == "__main__":
    sys.exit(cli.run(main))
