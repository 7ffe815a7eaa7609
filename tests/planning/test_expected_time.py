"""The time that a run of the workflow is expected to take: from the plan, by job, and for people."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configurations import DEFAULT

from collm.common.files import write_json
from collm.config.load import load_config
from collm.config.resolve import merge, resolve_job
from collm.pipeline.jobs import Run, WorkflowJob
from collm.planning.expected_time import SMALL_JOB_SECONDS, expect, start_lines
from collm.planning.plan import make_plan
from collm.planning.throughput import START_SECONDS, Rates

AXES = {"domains": ["tldr"], "methods": ["magrpo", "collm_cc"], "seeds": [0, 1]}


@pytest.fixture(scope="module")
def settings():
    return merge(load_config([DEFAULT]), AXES)


def jobs_of(*jobs: WorkflowJob) -> dict[int, WorkflowJob]:
    return dict(enumerate(jobs))


def job(rule: str, **wildcards: str) -> WorkflowJob:
    return WorkflowJob(rule, wildcards)


def run(method: str, seed: int = 0, rule: str = "train") -> WorkflowJob:
    trained = Run("tldr", method, str(seed))
    return WorkflowJob(rule, trained._asdict(), (), (trained,))


def test_every_job_takes_what_the_plan_says(settings, tmp_path):
    both = WorkflowJob("train_together", {"domain": "tldr", "seed": "0"}, (), run("magrpo").runs + run("collm_cc").runs)
    jobs = jobs_of(
        job("data", domain="tldr"),
        job("scratch_model", domain="tldr", model="scratch"),
        run("warm_start", rule="warm_start"),
        run("collm_cc"),
        both,
        job("evaluate", domain="tldr", method="collm_cc", seed="0"),
        job("evaluate_together", domain="tldr", seed="0"),
        job("all"),
    )
    seconds = [each.seconds for each in expect(settings, jobs, 2, tmp_path).jobs.values()]
    lines = {line.method: line.seconds for line in make_plan(settings, Rates(), tmp_path).lines}
    rows = [line["evaluate"] for line in lines.values() if "evaluate" in line]
    assert seconds == [
        SMALL_JOB_SECONDS,
        lines["(model)"]["model"],
        lines["warm_start"]["warm_start"],
        lines["collm_cc"]["train"],
        lines["magrpo"]["train"] + lines["collm_cc"]["train"] - START_SECONDS["cpu"],
        lines["collm_cc"]["evaluate"],
        START_SECONDS["cpu"] + sum(rows),
        0.0,
    ]


def test_cores_share_the_work_but_stages_wait_for_each_other(settings, tmp_path):
    jobs = jobs_of(run("warm_start", rule="warm_start"), run("magrpo"), run("collm_cc"))
    warm, first, second = (each.seconds for each in expect(settings, jobs, 1, tmp_path).jobs.values())
    assert expect(settings, jobs, 1, tmp_path).wall == pytest.approx(warm + first + second)
    assert expect(settings, jobs, 50, tmp_path).wall == pytest.approx(warm + max(first, second))
    both = jobs_of(run("collm_cc", 0), run("collm_cc", 1))
    assert expect(settings, both, 2, tmp_path).wall == pytest.approx(second)


def test_an_earlier_run_of_the_same_job_is_a_better_guide(settings, tmp_path):
    jobs = jobs_of(run("collm_cc"))
    estimate = expect(settings, jobs, 1, tmp_path).wall
    team = resolve_job(settings, "tldr", "collm_cc").raw["team"]
    record = {"config": {"team": team}, "counts": {"samples": 100, "tokens": 10_000}, "wall_seconds": 2.0}
    write_json(tmp_path / "results/tldr/collm_cc/seed0/run.json", record)
    lines = {line.method: line.seconds for line in make_plan(settings, Rates(tmp_path / "results"), tmp_path).lines}
    assert expect(settings, jobs, 1, tmp_path).wall == lines["collm_cc"]["train"] < estimate


def test_the_lines_say_what_runs_how_long_and_where(settings, tmp_path):
    jobs = jobs_of(run("magrpo"), run("collm_cc"), job("all"))
    expected = expect(settings, jobs, 2, tmp_path)
    first, second = start_lines(expected, Path("/home/me/collm")).splitlines()
    assert first == f"To run: 2 runs on 1 benchmark, 3 jobs in all; {expected.words}."
    assert expected.words.startswith("about ") and expected.words.endswith(" on 2 cores if nothing else runs there")
    assert second == "Results: /home/me/collm/results; logs of the jobs: /home/me/collm/logs"
    cluster = expect(settings, jobs, None, tmp_path)
    assert cluster.wall is None and cluster.words.endswith(
        " of work, shared by as many jobs as the cluster runs at once"
    )


def test_what_cannot_be_planned_is_said_and_runs_all_the_same(settings, tmp_path):
    unknown = {
        "models": {"mine": {"source": "hub", "id": "somebody/unknown"}},
        "defaults": {"team": {"agents": "mine", "critic": "mine"}},
    }
    expected = expect(merge(settings, unknown), jobs_of(run("collm_cc")), 2, tmp_path)
    assert expected.wall is None and expected.words.startswith("the time is not known beforehand (")
    assert "somebody/unknown" in expected.words
