"""Stage `evaluate`: sample the whole test split with one team and time its responses."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from collm import cli, config, evaluation, processes
from collm.files import write_json, write_jsonl
from collm.runinfo import RunRecord
from collm.session import Places, open_session


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, write samples.jsonl and evaluation.json; return the exit status."""
    parser = cli.parser(__doc__, method=True, seed=True)
    cli.add_threads(parser)
    cli.add_processes(parser)
    parser.add_argument("--adapters", type=Path, help="adapters to evaluate; default: those of the run")
    arguments = parser.parse_args(argv)
    processes.launch(__file__, sys.argv[1:] if argv is None else argv, arguments.processes, arguments.threads)
    job = config.job(config.load(arguments.config), arguments.domain, arguments.method)
    places = Places.of(job.domain, job.method, arguments.seed)
    session = open_session(job, arguments.seed, places, arguments.threads)
    record = RunRecord("evaluate", job, arguments.seed, session.accelerator.device)
    team = session.team()
    if job.method not in config.UNTRAINED:
        team.load_agents(arguments.adapters or places.out / "adapters")
    facts = {"domain": job.domain, "method": job.method, "seed": arguments.seed}
    plan = job.evaluation
    mine = [session.test[index] for index in session.processes.share([1] * len(session.test))]
    rows = evaluation.sample_rows(session.rollout(team), mine, plan.samples, arguments.seed, facts)
    rows = session.processes.gather(rows)
    if not session.processes.main:
        return 0
    alone = session.rollout(team, dataclasses.replace(job.rollout, decode="sequential"))
    timed = evaluation.latency(alone, session.test[: plan.latency_tasks], arguments.seed)
    write_jsonl(places.out / "samples.jsonl", rows)
    write_json(places.out / "evaluation.json", record.finish(latency=timed, summary=evaluation.summary(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
