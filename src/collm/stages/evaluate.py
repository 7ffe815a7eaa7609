"""Stage `evaluate`: sample the whole test split with one or several teams and time their responses."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from collm.common import cli
from collm.common.errors import ConfigError, ModelError
from collm.common.files import write_json, write_jsonl
from collm.config.job import Job
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods.registry import UNTRAINED
from collm.pipeline import provenance, variants
from collm.pipeline.places import Places
from collm.runs.folders import RunFolders
from collm.stages import Provide


def main(argv: Sequence[str] | None = None, provide: Provide | None = None) -> int:
    """Parse, evaluate one team after another; return the exit status.

    Args:
        provide: called with configuration, job and options before what the job stands on is looked for.
    """
    parser = cli.parser(__doc__, seed=True)
    parser.add_argument("--method", nargs="+", required=True, help="methods or baselines, e.g. parallel collm_cc")
    cli.add_variant(parser)
    cli.add_threads(parser)
    cli.add_device(parser)
    cli.add_processes(parser)
    parser.add_argument("--adapters", type=Path, help="adapters of one method; default: those of its run")
    if provide is not None:
        cli.add_again(parser)
    arguments = parser.parse_args(argv)
    _check_arguments(arguments.method, arguments.adapters)
    settings = variants.of(load_config(arguments.config), arguments.variant)
    places = Places.of(settings)
    jobs = [resolve_job(settings, arguments.domain, method) for method in arguments.method]
    if provide is not None:
        for job in jobs:
            provide(settings, job, arguments)
    for job in jobs:
        folders = RunFolders.of(arguments.domain, job.method, arguments.seed, places=places)
        provenance.check_inputs(settings, arguments.domain, job.method, folders.data, folders.models)
        if job.method not in UNTRAINED and not arguments.adapters:
            provenance.check_run(settings, arguments.domain, job.method, folders.trained_out)
    with cli.loading():
        from collm.runs import distributed
        from collm.training import evaluation, setup, text_quality  # noqa: F401  `evaluate` needs them
    distributed.launch("collm.stages.evaluate", cli.for_processes(argv), arguments.processes, arguments.threads)
    for job in jobs:
        folders = RunFolders.of(job.domain, job.method, arguments.seed, places=places)
        evaluate(job, arguments.seed, folders, arguments.threads, arguments.device, arguments.adapters)
    return 0


def evaluate(
    job: Job,
    seed: int,
    folders: RunFolders,
    threads: int | None = None,
    device: str = "auto",
    adapters: Path | None = None,
) -> None:
    """Play the test split with one team; write samples.jsonl and evaluation.json into its run's folder.

    Args:
        threads, device: as in `training.setup.prepare_run`.
        adapters: in place of those that the run trained.
    """
    from collm.runs.record import RunRecord
    from collm.training import evaluation, text_quality
    from collm.training.setup import prepare_run

    setup = prepare_run(job, seed, folders, threads, device)
    record = RunRecord("evaluate", job, seed, setup.accelerator.device, setup.code("evaluate"))
    team = setup.team(trained=False)
    job = setup.job  # with the sizes that fit, where they are "auto"
    if job.method not in UNTRAINED:
        team.load_agents(adapters or folders.adapters)
    facts = {"domain": job.domain, "method": job.method, "seed": seed}
    plan = job.evaluation
    mine = [setup.test[index] for index in setup.processes.share([1] * len(setup.test))]
    with setup.within_memory("playing"):
        quality = text_quality.TextQuality(team, setup.domain, job.training.micro_batch_tokens)
        rows = evaluation.sample_rows(
            setup.rollout(team), mine, plan.samples, seed, facts, note=quality.note, shown=plan.shown_samples
        )
        quality.put(rows)
    rows = setup.processes.gather(rows)
    if not setup.processes.main:
        return
    alone = setup.rollout(team, dataclasses.replace(job.rollout, decode="sequential"))
    timed = evaluation.latency(alone, setup.test[: plan.latency_tasks], seed)
    write_jsonl(folders.out / "samples.jsonl", rows)
    found = evaluation.summary(rows) | text_quality.summary(rows)
    write_json(folders.out / "evaluation.json", record.finish(latency=timed, summary=found, **setup.facts))


def _check_arguments(methods: list[str], adapters: Path | None) -> None:
    """Refuse adapters that would serve no row or several, and rows named twice, before anything is loaded."""
    cli.each_once("--method", methods)
    if adapters is None:
        return
    if len(methods) > 1:
        raise ConfigError(f"--adapters belong to one --method, and {len(methods)} were given")
    if methods[0] in UNTRAINED:
        raise ConfigError(f"--adapters are given, and --method {methods[0]} is untrained and has none; leave them out")
    if not adapters.is_dir():
        raise ModelError(f"--adapters {adapters} is no folder; give the adapters/ of a run")


if __name__ == "__main__":
    sys.exit(cli.run(main))
