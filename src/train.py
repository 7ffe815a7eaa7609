"""Stage `train`: fine-tune a team with one method on one domain; goes on where an interrupted run stopped."""

from __future__ import annotations

import sys
from pathlib import Path

from collm.common import cli
from collm.common.errors import ConfigError, ModelError
from collm.common.files import read_jsonl
from collm.config.load import load_config
from collm.config.resolve import resolve_job, starts_from
from collm.methods.registry import BASELINES, METHODS, WARM_STARTS
from collm.pipeline import provenance
from collm.runs import distributed, health, health_remarks
from collm.runs.folders import RunFolders
from collm.training.setup import prepare_run
from collm.training.trainer import Trainer


def main(argv: list[str] | None = None) -> int:
    """Parse, train, write adapters, run.json and metrics.jsonl; return the exit status."""
    parser = cli.parser(__doc__, method=True, seed=True)
    cli.add_threads(parser)
    cli.add_device(parser)
    cli.add_reuse(parser)
    cli.add_processes(parser)
    parser.add_argument("--start", type=Path, help="warm-started adapters; default: the conventional place if enabled")
    arguments = parser.parse_args(argv)
    _check_arguments(arguments.method, arguments.start)
    distributed.launch(__file__, sys.argv[1:] if argv is None else argv, arguments.processes, arguments.threads)
    config = load_config(arguments.config)
    job = resolve_job(config, arguments.domain, arguments.method)
    folders = RunFolders.of(job.domain, job.method, arguments.seed)
    start = arguments.start
    warm = starts_from(job.method, job.warm_start.enabled)
    provenance.check_inputs(config, job.domain, job.method, folders.data, folders.models)
    if start is None and warm is not None:
        warm_run = RunFolders.of(job.domain, warm, arguments.seed)
        provenance.check_run(config, job.domain, warm, warm_run.out)
        start = warm_run.adapters
    setup = prepare_run(job, arguments.seed, folders, arguments.threads, arguments.device, arguments.reuse)
    Trainer(setup, start).run()
    setup.accelerator.end_training()
    if setup.processes.main:
        found = health.summary(read_jsonl(folders.out / "metrics.jsonl"))
        lines = health_remarks.in_words(f"{job.domain}/{job.method} seed {arguments.seed}", found, job.raw)
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    return 0


def _check_arguments(method: str, start: Path | None) -> None:
    """Refuse rows that are not trained here, and a start that is not there, before anything is loaded."""
    if method in BASELINES:
        stage = "src/warm_start.py" if method in WARM_STARTS else "src/evaluate.py, it is not trained"
        raise ConfigError(f"--method {method} is no method of this stage: {', '.join(METHODS)}; use {stage}")
    if start is not None and not start.is_dir():
        raise ModelError(f"--start {start} is no folder; give the adapters/ of a warm start")


if __name__ == "__main__":
    sys.exit(cli.run(main))
