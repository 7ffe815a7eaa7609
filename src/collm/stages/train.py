"""Stage `train`: fine-tune a team with one method on one domain; goes on where an interrupted run stopped.

Several methods or seeds are trained one after another, each as if it were alone: of a short run the start of its
process is half the time. Those that `training.together` joins are trained side by side, on bases that are loaded once,
and decoded together.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collm.common import cli
from collm.common.errors import ConfigError, ModelError
from collm.common.files import read_jsonl
from collm.config.job import Job
from collm.config.load import load_config
from collm.config.resolve import resolve_job, starts_from
from collm.methods.registry import BASELINES, METHODS, WARM_STARTS
from collm.pipeline import provenance, variants
from collm.pipeline.places import Places
from collm.runs import health, health_remarks
from collm.runs.folders import RunFolders
from collm.stages import Listener, Provide

if TYPE_CHECKING:
    from collm.llm.bases import Bases
    from collm.runs.signals import Signals
    from collm.training.together import Turns


@dataclass(frozen=True)
class Side:
    """What runs that take turns in one process have in common."""

    bases: Bases
    turns: Turns
    signals: Signals


@dataclass(frozen=True)
class Planned:
    """A run that this process is to do."""

    job: Job
    seed: int
    start: Path | None  # folder of the adapters that it starts from; None: the bare base
    log: Path | None  # file to whose end it prints; None: where the process prints

    def name(self, arguments: argparse.Namespace) -> str:
        """What tells it from the others of its process."""
        return self.job.method if len(arguments.seed) == 1 else f"{self.job.method} seed {self.seed}"


def main(argv: Sequence[str] | None = None, provide: Provide | None = None) -> int:
    """Parse, check, train; every run writes adapters, run.json and metrics.jsonl. Returns the exit status.

    Args:
        provide: called with configuration, job and options before what the job stands on is looked for.
    """
    arguments = _parse(argv, provide is not None)
    _check_arguments(arguments)
    config = variants.of(load_config(arguments.config), arguments.variant)
    jobs = [resolve_job(config, arguments.domain, method) for method in arguments.method]
    pairs = [(job, seed) for job in jobs for seed in arguments.seed]
    if provide is not None:
        for job, seed in pairs:
            provide(config, job, argparse.Namespace(**{**vars(arguments), "seed": seed}))
    logs = arguments.logs or [None] * len(pairs)
    starts = [checked_start(config, job, seed, start=arguments.start) for job, seed in pairs]
    runs = [Planned(*pair, start, log) for pair, start, log in zip(pairs, starts, logs, strict=True)]
    with cli.loading():
        from collm.runs import distributed
        from collm.training import together, trainer  # noqa: F401  `train` and `_train_together` need them
    distributed.launch("collm.stages.train", cli.for_processes(argv), arguments.processes, arguments.threads)
    return train_each(runs, arguments, Places.of(config))


def _parse(argv: Sequence[str] | None, makes_inputs: bool) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--method", nargs="+", required=True, help="methods, e.g. collm_cc")
    parser.add_argument(
        "--seed", nargs="+", type=cli.seed_number, default=[0], help="seeds, a run of every method each"
    )
    cli.add_variant(parser)
    cli.add_threads(parser)
    cli.add_device(parser)
    cli.add_reuse(parser)
    cli.add_processes(parser)
    parser.add_argument("--start", type=Path, help="warm-started adapters; default: the conventional place if enabled")
    words = "a file per run, to whose end it prints, all seeds of a method before the next; default: all print here"
    parser.add_argument("--logs", type=Path, nargs="+", metavar="FILE", help=words)
    if makes_inputs:
        cli.add_again(parser)
    return parser.parse_args(argv)


def train_each(runs: Sequence[Planned], arguments: argparse.Namespace, places: Places) -> int:
    """All runs: side by side those that `training.together` joins, one after another the others.

    One that fails does not stop the others, a signal does; returns the last such status.
    """
    failed: list[str] = []
    status = 0
    for group in joined(runs):
        if len(group) == 1:
            ended = [_alone(group[0], arguments, places)]
        else:
            ended = _side_by_side(group, arguments, places)
        status = max(ended) or status
        failed += [run.name(arguments) for run, code in zip(group, ended, strict=True) if code]
        if max(ended) > cli.USER_ERROR:  # stopped by a signal
            break
    if failed and arguments.logs:
        where = f"{arguments.domain} seed {arguments.seed[0]}" if len(arguments.seed) == 1 else arguments.domain
        print(f"{where}: {', '.join(failed)} failed; the logs say why", file=sys.stderr)
    return status


def joined(runs: Sequence[Planned]) -> list[list[Planned]]:
    """The runs in groups that are trained side by side (`training.together`)."""
    groups: dict[tuple[object, ...], list[Planned]] = {}
    for run in runs:
        kind = run.job.training.together
        method = None if kind in ("methods", "all") else run.job.method
        seed = None if kind in ("seeds", "all") else run.seed
        groups.setdefault((kind, method, seed), []).append(run)
    return list(groups.values())


def _alone(run: Planned, arguments: argparse.Namespace, places: Places) -> int:
    folders = RunFolders.of(run.job.domain, run.job.method, run.seed, places=places)

    def work() -> int:
        train(run.job, run.start, run.seed, folders, arguments.threads, arguments.device, arguments.reuse)
        return 0

    with cli.printed_to(run.log):
        return cli.status(work)


def _side_by_side(runs: Sequence[Planned], arguments: argparse.Namespace, places: Places) -> list[int]:
    """Runs that take turns; returns the status of each."""
    from collm.llm.bases import Bases
    from collm.runs.signals import Signals
    from collm.training.together import Turns

    with Signals() as signals:
        side = Side(Bases(), Turns(signals), signals)
        for run in runs:
            folders = RunFolders.of(run.job.domain, run.job.method, run.seed, places=places)
            options = (arguments.threads, arguments.device, arguments.reuse)
            work = functools.partial(train, run.job, run.start, run.seed, folders, *options, side=side)
            side.turns.add(functools.partial(cli.status, functools.partial(_done, work)), _printed(run.log))
        side.turns.play()
    return side.turns.results


def _done(work: Callable[[], None]) -> int:
    work()
    return 0


def _printed(log: Path | None) -> Callable[[], contextlib.AbstractContextManager[None]]:
    return functools.partial(cli.printed_to, log)


def train(
    job: Job,
    start: Path | None,
    seed: int,
    folders: RunFolders,
    threads: int | None = None,
    device: str = "auto",
    reuse: bool = False,
    listener: Listener | None = None,
    side: Side | None = None,
) -> None:
    """One run, to its end.

    Args:
        start: folder of the adapters that it starts from; None: the bare base.
        threads, device, reuse: as in `training.setup.prepare_run`.
        listener: called with every line of metrics.jsonl as it is written.
        side: what it shares with the runs of this process that take turns with it; None: it is alone.
    """
    from collm.training.setup import prepare_run
    from collm.training.trainer import Trainer

    setup = prepare_run(job, seed, folders, threads, device, reuse)
    trainer = Trainer(setup, start, side.bases if side else None)
    trainer.resumable.listener = listener
    if side is not None:
        trainer.team.neighbours, trainer.resumable.signals = side.turns, side.signals
    trainer.run()
    setup.accelerator.end_training()
    if setup.processes.main:
        found = health.summary(read_jsonl(folders.out / "metrics.jsonl"))
        lines = health_remarks.in_words(f"{job.domain}/{job.method} seed {seed}", found, job.raw)
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse rows that are not trained here, a start that is not there, and what serves one run alone, for several."""
    methods, start, count = arguments.method, arguments.start, len(arguments.method) * len(arguments.seed)
    cli.each_once("--method", methods)
    cli.each_once("--seed", arguments.seed)
    for method in methods:
        if method in BASELINES:
            stage = "src/warm_start.py" if method in WARM_STARTS else "src/evaluate.py, it is not trained"
            raise ConfigError(f"--method {method} is no method of this stage: {', '.join(METHODS)}; use {stage}")
    if start is not None and not start.is_dir():
        raise ModelError(f"--start {start} is no folder; give the adapters/ of a warm start")
    if count > 1 and arguments.processes > 1:
        what = f"--method, and {len(methods)}" if len(methods) > 1 else f"--seed, and {len(arguments.seed)}"
        raise ConfigError(f"--processes {arguments.processes} share one {what} were given")
    if arguments.logs and len(arguments.logs) != count:
        runs = f"{len(methods)} methods" if len(arguments.seed) == 1 else f"{count} runs"
        raise ConfigError(f"--logs names {len(arguments.logs)} files for {runs}; name one for each")


def checked_start(
    config: Mapping[str, Any], job: Job, seed: int, root: Path = Path("."), start: Path | None = None
) -> Path | None:
    """The adapters that a run starts from; data, models and warm start that another configuration made are refused.

    Args:
        root: folder of data, resources, results and checkpoints.
        start: adapters in place of the warm start's.
    """
    places = Places.of(config)
    folders = RunFolders.of(job.domain, job.method, seed, root, places)
    provenance.check_inputs(config, job.domain, job.method, folders.data, folders.models)
    warm = starts_from(job.method, job.warm_start.enabled)
    if start is not None or warm is None:
        return start
    warm_run = RunFolders.of(job.domain, warm, seed, root, places)
    provenance.check_run(config, job.domain, warm, warm_run.trained_out)
    return warm_run.adapters


if __name__ == "__main__":
    sys.exit(cli.run(main))
