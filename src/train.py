"""Stage `train`: fine-tune a team with one method on one domain; goes on where an interrupted run stopped."""

from __future__ import annotations

import sys
from pathlib import Path

from collm import cli, config, processes
from collm.session import Places, open_session
from collm.trainer import Trainer


def main(argv: list[str] | None = None) -> int:
    """Parse, train, write adapters, run.json and metrics.jsonl; return the exit status."""
    parser = cli.parser(__doc__, method=True, seed=True)
    cli.add_threads(parser)
    cli.add_processes(parser)
    parser.add_argument("--start", type=Path, help="warm-started adapters; default: the conventional place if enabled")
    arguments = parser.parse_args(argv)
    processes.launch(__file__, sys.argv[1:] if argv is None else argv, arguments.processes, arguments.threads)
    job = config.job(config.load(arguments.config), arguments.domain, arguments.method)
    places = Places.of(job.domain, job.method, arguments.seed)
    start = arguments.start
    warm = config.start(job.method, job.warm_start.enabled)
    if start is None and warm is not None:
        start = Places.of(job.domain, warm, arguments.seed).out / "adapters"
    session = open_session(job, arguments.seed, places, arguments.threads)
    Trainer(session, start).run()
    session.accelerator.end_training()
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
