"""A warm-started team of any method, ready to be measured: what the scripts of this folder have in common.

Warm starts come from --root, a folder with the layout of the repository (`data`, `resources`, `results`), or are made
in --study, where `compare.py` keeps its own.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import source_path
from stage_jobs import run_all
from study_plan import Place, configuration, planned_start

from collm import domains
from collm.common import cli
from collm.common.errors import ConfigError
from collm.common.files import read_jsonl, write_jsonl
from collm.common.seeds import derive
from collm.config.job import Job
from collm.config.resolve import resolve_job
from collm.domains.base import Task
from collm.llm.team import Team
from collm.methods.registry import METHODS
from collm.pipeline import provenance
from collm.runs.folders import RunFolders
from collm.training.critics import Context, Critics
from collm.training.rollout import Node, Rollout
from collm.training.setup import RunSetup, prepare_run

TUNING_SEEDS = [100, 101, 102, 103, 104]
METHODS_MEASURED = ["magrpo", "collm_dc", "collm_cc"]


@dataclasses.dataclass
class Started:
    """A team after its warm start, with critics as they begin."""

    job: Job
    setup: RunSetup
    team: Team
    rollout: Rollout

    @property
    def context(self) -> Context:
        """What learning has to know of the episodes, as the trainer says it."""
        plan, domain = self.job.rollout, self.setup.domain
        return Context(
            plan.discount,
            plan.turns,
            plan.reward_scale * domain.max_reward + plan.reward_shift,
            abs(plan.reward_scale) * (domain.max_reward - domain.min_reward),
            self.rollout.sampling if self.job.training.score == "sampled" else None,
        )

    def critics(self, **changes: Any) -> Critics:
        """The critics of the method; `changes` are settings of training that win."""
        training = dataclasses.replace(self.job.training, **changes)
        return Critics(self.team, METHODS[self.job.method], training, self.context, training.global_information)

    def play(self, tasks: Sequence[Task], name: str, rounds: int = 1, generations: int = 1) -> list[Node]:
        """Roots of `rounds` episodes (trees, for several generations) of every task.

        Args:
            name: of the draw: the same one gives the same episodes.
        """
        roots: list[Node] = []
        for number in range(rounds):
            seeds = [derive("study", name, self.setup.seed, number, place, t.id) for place, t in enumerate(tasks)]
            roots += self.rollout.play(tasks, seeds, generations).roots
        return roots


def arguments_of(description: str, out: str, argv: Sequence[str] | None, parser: argparse.ArgumentParser | None = None):
    """The command line of a measuring script.

    Args:
        out: where its lines go by default, below docs/stability.
        parser: one with the script's own options, made by `parser_of`.
    """
    parser = parser or parser_of(description)
    parser.set_defaults(out=source_path.ROOT / "docs" / "stability" / out)
    return parser.parse_args(argv)


def parser_of(description: str) -> argparse.ArgumentParser:
    """Options of every measuring script."""
    parser = cli.parser(description, domain=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(config=[str(source_path.ROOT / "config" / "config.yaml")])
    parser.add_argument("--domain", nargs="+", required=True, choices=domains.NAMES, metavar="NAME", help="benchmarks")
    parser.add_argument("--seeds", nargs="+", type=cli.seed_number, default=TUNING_SEEDS)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--root", type=Path, help="folder of finished warm starts, as the workflow leaves them")
    place.add_argument("--study", type=Path, help="folder where missing warm starts are made")
    parser.add_argument("--out", type=Path, help="JSON lines; those of other domains and seeds there stay")
    parser.add_argument("--threads", type=cli.count, default=1, help="threads of torch")
    cli.add_device(parser)
    return parser


class Starts:
    """Warm starts by domain and seed, made if need be."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        files = [Path(file) for file in arguments.config]
        self.configs = {domain: configuration(files, domain, METHODS_MEASURED) for domain in arguments.domain}
        self.roots = self._made() if arguments.study else {}

    def _made(self) -> dict[tuple[str, int], Path]:
        arguments = self.arguments
        place = Place(arguments.study.resolve(), arguments.threads, arguments.device)
        cases = [(domain, seed) for seed in arguments.seeds for domain in arguments.domain]
        jobs = {case: planned_start(place, self.configs[case[0]], *case) for case in cases}
        if failed := run_all(list(jobs.values()), at_once=1):
            raise ConfigError(f"{len(failed)} stages failed, the first one was {failed[0].label}: see {failed[0].log}")
        return {case: job.folder for case, job in jobs.items()}

    def team(self, domain: str, method: str, seed: int) -> Started:
        """The team of a method as its training begins.

        Raises:
            ConfigError: the method starts from no warm start.
            DataError, ModelError: something is not there, or was made with other settings.
        """
        config: Mapping[str, Any] = self.configs[domain]
        job = resolve_job(config, domain, method)
        if not job.warm_start.enabled:
            raise ConfigError(f"{domain}: warm_start.enabled is false; what is measured here is the warm-started team")
        root = self.roots.get((domain, seed)) or self.arguments.root
        folders = RunFolders.of(domain, method, seed, root)
        warm = RunFolders.of(domain, "warm_start", seed, root)
        provenance.check_inputs(config, domain, method, folders.data, folders.models)
        provenance.check_run(config, domain, "warm_start", warm.out)
        setup = prepare_run(job, seed, folders, self.arguments.threads, self.arguments.device)
        team = setup.team(METHODS[method].critics)
        team.load_agents(warm.adapters)
        return Started(job, setup, team, setup.rollout(team))


def keep_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write measured rows, in place of those of the same domain and seed that the file has."""
    new = {(row["domain"], row["seed"]) for row in rows}
    before = read_jsonl(file) if file.is_file() else []
    kept = [row for row in before if (row["domain"], row["seed"]) not in new]
    write_jsonl(file, sorted([*kept, *rows], key=lambda row: (row["domain"], row["seed"])))


def rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to six digits, so that files stay small and differences readable."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in numbers.items()}
