"""Stage `warm_start`: supervised fine-tuning of every agent before reinforcement learning."""

from __future__ import annotations

import sys

from collm.common import cli
from collm.common.errors import ConfigError
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods.registry import WARM_STARTS
from collm.training import warm_start
from collm.training.setup import Places, open_session


def main(argv: list[str] | None = None) -> int:
    """Parse, fit, write adapters, run.json and metrics.jsonl; return the exit status."""
    parser = cli.parser(__doc__, method="warm_start", seed=True)
    cli.add_threads(parser)
    arguments = parser.parse_args(argv)
    if arguments.method not in WARM_STARTS:
        raise ConfigError(f"--method {arguments.method} is no warm start; allowed: {', '.join(WARM_STARTS)}")
    job = resolve_job(load_config(arguments.config), arguments.domain, arguments.method)
    places = Places.of(job.domain, job.method, arguments.seed)
    session = open_session(job, arguments.seed, places, arguments.threads)
    if session.processes.count > 1:
        raise ConfigError(f"warm_start runs in one process, not {session.processes.count}; start it without a launcher")
    warm_start.run(session)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
