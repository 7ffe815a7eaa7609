"""How long the jobs that a workflow is about to run will take, by the plan's counts and rates: two lines at the start.

An estimate from tokens and rates (`throughput`), for a machine that does nothing else; earlier runs of the same job on
this machine make it better. Jobs without a model take a fixed time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import CollmError
from collm.common.progress import duration
from collm.pipeline.jobs import WorkflowJob, what_runs
from collm.pipeline.places import Places
from collm.planning.plan import Line, make_plan
from collm.planning.throughput import START_SECONDS, Rates

SMALL_JOBS = ("data", "pretrained_model", "tables", "domain_tables", "figure", "worlds")
SMALL_JOB_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Expected:
    """The jobs of a run of the workflow by Snakemake's numbers, with the seconds that each takes on one core or GPU.

    Attributes:
        wall: seconds until all are done; None if that is not known.
        words: the same for people, with the reason if it is not known.
    """

    jobs: Mapping[int, WorkflowJob]
    wall: float | None
    words: str


def expect(
    settings: Mapping[str, Any], jobs: Mapping[int, WorkflowJob], cores: int | None, root: Path = Path(".")
) -> Expected:
    """What the jobs of a merged configuration take.

    Args:
        cores: that jobs share, one each; None where a cluster runs them.
        root: where data, models and results of earlier runs lie, if they do.
    """
    try:
        plan = make_plan(settings, Rates(root / Places.of(settings).comparison), root)
    except CollmError as error:  # of a plan alone: the jobs have all that they need, or fetch it
        return Expected(jobs, None, f"the time is not known beforehand ({error})")
    lines = {(line.domain, line.method): line for line in plan.lines}
    timed = {number: dataclasses.replace(job, seconds=_seconds(job, lines)) for number, job in jobs.items()}
    work = sum(job.seconds for job in timed.values())
    if cores is None:
        return Expected(
            timed, None, f"about {duration(work)} of work, shared by as many jobs as the cluster runs at once"
        )
    wall = max(work / cores, _longest_chain(timed))
    where = f"{cores} {'core' if cores == 1 else 'cores'}"
    return Expected(timed, wall, f"about {duration(wall)} on {where} if nothing else runs there")


def start_lines(expected: Expected, root: Path, places: Places | None = None) -> str:
    """What a run says when it starts: what it will do, about how long that takes, and where everything will be."""
    places = places or Places()
    runs = what_runs(list(expected.jobs.values()))
    where = f"Results: {root / places.comparison}; logs of the jobs: {root / places.logs}"
    return f"To run: {runs}; {expected.words}.\n{where}"


def _seconds(job: WorkflowJob, lines: Mapping[tuple[str, str], Line]) -> float:
    """Seconds of one job; 0 for a target that only names others."""
    if job.runs:  # one process trains them all, and starts once
        each = [
            lines[run.domain, run.method].seconds["warm_start" if run.is_warm_start else "train"] for run in job.runs
        ]
        return sum(each) - (len(each) - 1) * START_SECONDS["cpu"]
    domain, method = job.wildcards.get("domain", ""), job.wildcards.get("method", "")
    if job.rule == "scratch_model":
        return lines[domain, "(model)"].seconds["model"]
    if job.rule == "evaluate_together":
        rows = [
            line.seconds["evaluate"] for key, line in lines.items() if key[0] == domain and "evaluate" in line.seconds
        ]
        return START_SECONDS["cpu"] + sum(rows)
    if job.rule == "evaluate":
        return lines[domain, method].seconds["evaluate"]
    return SMALL_JOB_SECONDS if job.rule in SMALL_JOBS else 0.0


def _longest_chain(jobs: Mapping[int, WorkflowJob]) -> float:
    """Seconds of the longest way from data to an evaluation: stages wait for each other, whatever the cores."""
    chains = [0.0]
    for domain, seed in {(run.domain, run.seed) for job in jobs.values() for run in job.runs}:
        own = [job for job in jobs.values() if job.wildcards.get("domain") == domain]
        longest: dict[str, float] = {}
        for job in own:
            if job.wildcards.get("seed", seed) == seed:
                longest[_stage(job)] = max(job.seconds, longest.get(_stage(job), 0.0))
        chains.append(sum(longest.values()))
    return max(chains)


def _stage(job: WorkflowJob) -> str:
    """The name of a job's stage: jobs of one can run side by side, stages of a domain follow one another."""
    if job.runs:
        return "warm_start" if job.runs[0].is_warm_start else "train"
    return job.rule
