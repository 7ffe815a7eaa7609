"""Stage `evaluate`: sample the whole test split with one or several teams and time their responses."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from collm.common import cli
from collm.common.errors import ConfigError
from collm.common.files import write_json, write_jsonl
from collm.config import provenance
from collm.config.job import Job
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods.registry import UNTRAINED
from collm.runs import distributed
from collm.runs.folders import RunFolders
from collm.runs.record import RunRecord
from collm.training import evaluation
from collm.training.setup import prepare_run


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate one team after another; return the exit status."""
    parser = cli.parser(__doc__, seed=True)
    parser.add_argument("--method", nargs="+", required=True, help="methods or baselines, e.g. parallel collm_cc")
    cli.add_threads(parser)
    cli.add_processes(parser)
    parser.add_argument("--adapters", type=Path, help="adapters of one method; default: those of its run")
    arguments = parser.parse_args(argv)
    distributed.launch(__file__, sys.argv[1:] if argv is None else argv, arguments.processes, arguments.threads)
    if arguments.adapters and len(arguments.method) > 1:
        raise ConfigError(f"--adapters belong to one --method, and {len(arguments.method)} were given")
    settings = load_config(arguments.config)
    for method in arguments.method:
        folders = RunFolders.of(arguments.domain, method, arguments.seed)
        provenance.check_inputs(settings, arguments.domain, method, folders.data, folders.models)
        if method not in UNTRAINED and not arguments.adapters:
            provenance.check_run(settings, arguments.domain, method, folders.out)
        evaluate(resolve_job(settings, arguments.domain, method), arguments)
    return 0


def evaluate(job: Job, arguments: argparse.Namespace) -> None:
    """Play the test split with one team; write samples.jsonl and evaluation.json into its run's folder."""
    folders = RunFolders.of(job.domain, job.method, arguments.seed)
    setup = prepare_run(job, arguments.seed, folders, arguments.threads)
    record = RunRecord("evaluate", job, arguments.seed, setup.accelerator.device)
    team = setup.team(trained=False)
    if job.method not in UNTRAINED:
        team.load_agents(arguments.adapters or folders.adapters)
    facts = {"domain": job.domain, "method": job.method, "seed": arguments.seed}
    plan = job.evaluation
    mine = [setup.test[index] for index in setup.processes.share([1] * len(setup.test))]
    rows = evaluation.sample_rows(setup.rollout(team), mine, plan.samples, arguments.seed, facts)
    rows = setup.processes.gather(rows)
    if not setup.processes.main:
        return
    alone = setup.rollout(team, dataclasses.replace(job.rollout, decode="sequential"))
    timed = evaluation.latency(alone, setup.test[: plan.latency_tasks], arguments.seed)
    write_jsonl(folders.out / "samples.jsonl", rows)
    write_json(folders.out / "evaluation.json", record.finish(latency=timed, summary=evaluation.summary(rows)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
