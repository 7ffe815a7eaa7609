"""Stage `warm_start`: supervised fine-tuning of every agent before reinforcement learning."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from collm.common import cli
from collm.common.errors import ConfigError
from collm.config.job import Job
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods.registry import WARM_STARTS
from collm.pipeline import provenance, variants
from collm.pipeline.places import Places
from collm.runs.folders import RunFolders
from collm.stages import Listener


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, fit, write adapters, run.json and metrics.jsonl; return the exit status."""
    parser = cli.parser(__doc__, method="warm_start", seed=True)
    cli.add_variant(parser)
    cli.add_threads(parser)
    cli.add_device(parser)
    cli.add_reuse(parser)
    arguments = parser.parse_args(argv)
    if arguments.method not in WARM_STARTS:
        raise ConfigError(f"--method {arguments.method} is no warm start; allowed: {', '.join(WARM_STARTS)}")
    config = variants.of(load_config(arguments.config), arguments.variant)
    job = resolve_job(config, arguments.domain, arguments.method)
    folders = RunFolders.of(job.domain, job.method, arguments.seed, places=Places.of(config)).where_trained()
    provenance.check_inputs(config, job.domain, job.method, folders.data, folders.models)
    warm_start(job, arguments.seed, folders, arguments.threads, arguments.device, arguments.reuse)
    return 0


def warm_start(
    job: Job,
    seed: int,
    folders: RunFolders,
    threads: int | None = None,
    device: str = "auto",
    reuse: bool = False,
    listener: Listener | None = None,
) -> None:
    """Fit one team to its demonstrations, to the end.

    Args:
        threads, device, reuse: as in `training.setup.prepare_run`.
        listener: called with every line of metrics.jsonl as it is written.
    """
    with cli.loading():
        from collm.training.setup import prepare_run
        from collm.training.warm_start import WarmStart
    setup = prepare_run(job, seed, folders, threads, device, reuse)
    if setup.processes.count > 1:
        raise ConfigError(f"warm_start runs in one process, not {setup.processes.count}; start it without a launcher")
    work = WarmStart(setup)
    work.resumable.listener = listener
    work.run()


if __name__ == "__main__":
    sys.exit(cli.run(main))
