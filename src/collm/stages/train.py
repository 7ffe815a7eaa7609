"""Stage `train`: fine-tune a team with one method on one domain; goes on where an interrupted run stopped.

Several methods are trained one after another, each as if it were alone: of a short run the start of its process is half
the time.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def main(argv: Sequence[str] | None = None, provide: Provide | None = None) -> int:
    """Parse, check, train; every run writes adapters, run.json and metrics.jsonl. Returns the exit status.

    Args:
        provide: called with configuration, job and options before what the job stands on is looked for.
    """
    parser = cli.parser(__doc__, seed=True)
    parser.add_argument("--method", nargs="+", required=True, help="methods, e.g. collm_cc; several: one after another")
    cli.add_variant(parser)
    cli.add_threads(parser)
    cli.add_device(parser)
    cli.add_reuse(parser)
    cli.add_processes(parser)
    parser.add_argument("--start", type=Path, help="warm-started adapters; default: the conventional place if enabled")
    words = "a file per method, to whose end its run prints; default: all print here"
    parser.add_argument("--logs", type=Path, nargs="+", metavar="FILE", help=words)
    if provide is not None:
        cli.add_again(parser)
    arguments = parser.parse_args(argv)
    _check_arguments(arguments)
    config = variants.of(load_config(arguments.config), arguments.variant)
    jobs = [resolve_job(config, arguments.domain, method) for method in arguments.method]
    if provide is not None:
        for job in jobs:
            provide(config, job, arguments)
    starts = [checked_start(config, job, arguments.seed, start=arguments.start) for job in jobs]
    with cli.loading():
        from collm.runs import distributed
        from collm.training import trainer  # noqa: F401  `train` needs it
    distributed.launch("collm.stages.train", cli.for_processes(argv), arguments.processes, arguments.threads)
    return train_each(jobs, starts, arguments, Places.of(config))


def train_each(
    jobs: Sequence[Job], starts: Sequence[Path | None], arguments: argparse.Namespace, places: Places
) -> int:
    """One run after another. One that fails does not stop the others, a signal does; returns the last such status."""
    failed: list[str] = []
    status = 0
    for job, start, log in zip(jobs, starts, arguments.logs or [None] * len(jobs), strict=True):
        with cli.printed_to(log):
            ended = cli.status(functools.partial(_train, job, start, arguments, places))
        if ended:
            status = ended
            failed.append(job.method)
        if ended > cli.USER_ERROR:  # stopped by a signal
            break
    if failed and arguments.logs:
        print(
            f"{arguments.domain} seed {arguments.seed}: {', '.join(failed)} failed; the logs say why", file=sys.stderr
        )
    return status


def _train(job: Job, start: Path | None, arguments: argparse.Namespace, places: Places) -> int:
    folders = RunFolders.of(job.domain, job.method, arguments.seed, places=places)
    train(job, start, arguments.seed, folders, arguments.threads, arguments.device, arguments.reuse)
    return 0


def train(
    job: Job,
    start: Path | None,
    seed: int,
    folders: RunFolders,
    threads: int | None = None,
    device: str = "auto",
    reuse: bool = False,
    listener: Listener | None = None,
) -> None:
    """One run, to its end.

    Args:
        start: folder of the adapters that it starts from; None: the bare base.
        threads, device, reuse: as in `training.setup.prepare_run`.
        listener: called with every line of metrics.jsonl as it is written.
    """
    from collm.training.setup import prepare_run
    from collm.training.trainer import Trainer

    setup = prepare_run(job, seed, folders, threads, device, reuse)
    trainer = Trainer(setup, start)
    trainer.resumable.listener = listener
    trainer.run()
    setup.accelerator.end_training()
    if setup.processes.main:
        found = health.summary(read_jsonl(folders.out / "metrics.jsonl"))
        lines = health_remarks.in_words(f"{job.domain}/{job.method} seed {seed}", found, job.raw)
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse rows that are not trained here, a start that is not there, and what serves one run alone, for several."""
    methods, start = arguments.method, arguments.start
    cli.each_once("--method", methods)
    for method in methods:
        if method in BASELINES:
            stage = "src/warm_start.py" if method in WARM_STARTS else "src/evaluate.py, it is not trained"
            raise ConfigError(f"--method {method} is no method of this stage: {', '.join(METHODS)}; use {stage}")
    if start is not None and not start.is_dir():
        raise ModelError(f"--start {start} is no folder; give the adapters/ of a warm start")
    if len(methods) > 1 and arguments.processes > 1:
        raise ConfigError(f"--processes {arguments.processes} share one --method, and {len(methods)} were given")
    if arguments.logs and len(arguments.logs) != len(methods):
        raise ConfigError(f"--logs names {len(arguments.logs)} files for {len(methods)} methods; name one for each")


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
