"""Stage `warm_start`: supervised fine-tuning of every agent before reinforcement learning."""

from __future__ import annotations

import sys

from collm import cli, config, warmup
from collm.errors import ConfigError
from collm.session import Places, open_session


def main(argv: list[str] | None = None) -> int:
    """Parse, fit, write adapters, run.json and metrics.jsonl; return the exit status."""
    parser = cli.parser(__doc__, method="warm_start", seed=True)
    cli.add_threads(parser)
    arguments = parser.parse_args(argv)
    if arguments.method not in config.WARM_STARTS:
        raise ConfigError(f"--method {arguments.method} is no warm start; allowed: {', '.join(config.WARM_STARTS)}")
    job = config.job(config.load(arguments.config), arguments.domain, arguments.method)
    places = Places.of(job.domain, job.method, arguments.seed)
    session = open_session(job, arguments.seed, places, arguments.threads)
    if session.processes.count > 1:
        raise ConfigError(f"warm_start runs in one process, not {session.processes.count}; start it without a launcher")
    warmup.run(session)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
