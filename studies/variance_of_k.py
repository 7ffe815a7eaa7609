"""How the variance of the policy gradient falls with the number K of samples, on trained teams (Proposition 4.2).

    python studies/variance_of_k.py --domain tldr navigate --seeds 0 1 2 3 4 --root . --options stable \
        --config config/config.yaml config/study.yaml

For every K, trees of K samples per prompt are played several times on the same test tasks. A tree's gradient is that of
MAREINFORCE without normalisation: the sum over turns of the mean over the turn's joint actions of G^j grad log pi, the
same for every K on average. Its variance, the trace of the covariance within a task, is the mean of |g|^2 less that of
<g_a, g_b> of different trees (no bias); a mean over tasks, a sum over agents. Lines go to docs/study/variance.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import reduce
import source_path
import torch
from gradient_noise import LARGEST_TREE, signal_and_power, tree_size
from score_gradients import ScoredEpisodes, scored
from started_team import METHODS_MEASURED, Started, Starts, parser_of

from collm.common import cli
from collm.common.errors import ConfigError
from collm.methods import monte_carlo
from collm.methods.signal import Node
from collm.pipeline import provenance
from collm.report.claims.study import RUN
from collm.runs.folders import RunFolders


def weights(episodes: ScoredEpisodes, roots: Sequence[Node], generations: int, gamma: float) -> torch.Tensor:
    """[trees, joint samples] weights of grad log pi in the gradient of every tree: G^j / K^(t + 1) at turn t."""
    rows = torch.zeros(len(roots), len(episodes.place), dtype=torch.float64)
    for number, root in enumerate(roots):
        for node in root.walk():
            for j, value in enumerate(monte_carlo.G(node, gamma)):
                rows[number, episodes.place[node, j]] = value / generations ** (node.turn + 1)
    return rows


def variance(products: torch.Tensor) -> float:
    """Trace of the covariance of gradients from their [trees, trees] inner products, without bias."""
    found = signal_and_power(products)
    return found["power"] - found["signal"]


def measured(started: Started, generations: Sequence[int], tasks: int, draws: int) -> list[dict[str, Any]]:
    """A line per K, means over the first `tasks` test tasks; K whose trees are too large are left out."""
    lines, turns, agents = [], started.job.rollout.turns, range(len(started.team.agents))
    for copies in generations:
        if tree_size(copies, turns) > LARGEST_TREE:
            continue
        found = []
        for task in started.setup.test[:tasks]:
            roots = started.play([task], f"variance {copies}", draws, copies)
            episodes = scored(started, roots)
            of_trees = weights(episodes, roots, copies, started.job.rollout.discount)
            found.append(variance(episodes.power([of_trees for _ in agents])))
        lines.append({"generations": copies, "variance": sum(found) / len(found), "draws": draws * len(found)})
    return lines


def trained(starts: Starts, root: Path, domain: str, method: str, seed: int) -> Started:
    """A team with the adapters that training left.

    Raises:
        DataError: the run is not there, or was made with other settings.
    """
    folders = RunFolders.of(domain, method, seed, root)
    provenance.check_run(starts.configs[domain], domain, method, folders.out)
    started = starts.team(domain, method, seed)
    started.team.load_agents(folders.adapters)
    return started


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every benchmark and seed; lines of the same runs are replaced."""
    parser = parser_of(__doc__ or "")
    parser.set_defaults(out=source_path.ROOT / "docs" / "study")
    parser.add_argument("--options", required=True, help="name of the set of options that the runs have")
    parser.add_argument("--method", default="magrpo", choices=METHODS_MEASURED, help="whose trained teams")
    parser.add_argument("--generations", nargs="+", type=cli.count, default=[1, 2, 4], help="numbers K of samples")
    parser.add_argument("--tasks", type=cli.count, default=4, help="test tasks")
    parser.add_argument("--draws", type=cli.count, default=16, help="trees per task and K")
    arguments = parser.parse_args(argv)
    if arguments.root is None or arguments.draws < 2:
        raise ConfigError("trained teams come from --root, a folder of finished runs, and --draws is at least 2")
    starts = Starts(arguments)
    for domain in arguments.domain:
        for seed in arguments.seeds:
            started = trained(starts, arguments.root, domain, arguments.method, seed)
            key = dict(zip(RUN, (arguments.options, domain, arguments.method, seed), strict=True))
            lines = measured(started, arguments.generations, arguments.tasks, arguments.draws)
            reduce.replace(arguments.out / "variance.csv", "variance", [key | line for line in lines], RUN)
            words = ", ".join(f"K = {line['generations']}: {line['variance']:.4g}" for line in lines)
            print(f"{domain} seed {seed}: {words}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
