"""What jobs of a workflow are called, what a finished run has reached, and what a finished workflow shows."""

from __future__ import annotations

import pytest

from collm.common.errors import DataError
from collm.common.files import write_json, write_jsonl
from collm.common.progress import duration
from collm.pipeline.jobs import Run, WorkflowJob, results_of, run_line, what_runs

RUN = Run("tldr", "collm_cc", "0")
TRAIN = WorkflowJob("train", {"domain": "tldr", "method": "collm_cc", "seed": "0"}, ("logs/a.log",), (RUN,))


@pytest.fixture
def run(tmp_path):
    """The folder of a run that went from 1.214 over 9 to 2.046 in 48 seconds."""
    folder = tmp_path / "results/tldr/collm_cc/seed0"
    rows = [{"event": "evaluation", "reward": reward} for reward in (1.214, 9.0, 2.046)]
    write_jsonl(
        folder / "metrics.jsonl", [rows[0], {"event": "rollout", "reward": 7.0}, *rows[1:], {"event": "update"}]
    )
    write_json(folder / "run.json", {"wall_seconds": 47.6})
    return folder


def test_a_finished_run_in_one_line(tmp_path, run):
    assert run_line(RUN, tmp_path) == "tldr CoLLM-CC seed 0: reward 1.21 → 2.05 in 48 s"


def test_a_run_without_what_the_line_says_is_named_by_file(tmp_path, run):
    write_json(run / "run.json", {})
    with pytest.raises(DataError, match=r"seed0/run.json does not say how long the run took"):
        run_line(RUN, tmp_path)
    write_jsonl(run / "metrics.jsonl", [{"event": "rollout", "reward": 1.0}])
    with pytest.raises(DataError, match=r"seed0/metrics.jsonl holds no evaluation; train again"):
        run_line(RUN, tmp_path)


def test_names_and_counts():
    start = Run("arxiv", "warm_start", "0")
    warm = WorkflowJob("warm_start", start._asdict(), (), (start,))
    data, everything = WorkflowJob("data", {"domain": "tldr"}), WorkflowJob("all", {})
    assert (TRAIN.name, everything.name) == ("train (domain=tldr, method=collm_cc, seed=0)", "all")
    assert what_runs([TRAIN, TRAIN, warm, everything]) == "2 runs and 1 warm start on 2 benchmarks, 4 jobs in all"
    assert what_runs([TRAIN, data]) == "1 run on 1 benchmark, 2 jobs in all"
    assert what_runs([data]) == "1 job on 1 benchmark"
    assert what_runs([everything]) == "1 job"


def test_the_runs_of_a_job_follow_from_its_outputs():
    """Whatever its rule is called, and however many it trains."""
    outputs = [
        f"results/tldr/{method}/seed0/{name}" for method in ("magrpo", "collm_cc") for name in ("adapters", "run.json")
    ]
    job = WorkflowJob.of("train_together", {"domain": "tldr", "seed": "0"}, ["a.log"], outputs)
    assert job.runs == (Run("tldr", "magrpo", "0"), RUN) and job.logs == ("a.log",)
    assert what_runs([job]) == "2 runs on 1 benchmark, 1 job in all"
    assert WorkflowJob.of("evaluate", {}, [], ["results/tldr/magrpo/seed0/evaluation.json"]).runs == ()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.0, "99 s"), (100.0, "2 min"), (5900.0, "98 min"), (6000.0, "1.7 hours")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_overview_of_all_wins_over_those_of_each(tmp_path):
    for place in ("tables", "tldr/tables"):
        (tmp_path / "results" / place).mkdir(parents=True)
        (tmp_path / "results" / place / "overview.md").write_text(f"| {place} |\n")
    each = WorkflowJob.of("domain_tables", {"domain": "tldr"}, [], ["results/tldr/tables"])
    together = WorkflowJob.of("tables", {}, [], ["results/tables/main.csv", "results/tables/overview.md"])
    assert results_of([], tmp_path) == ""
    place = tmp_path / "results/tldr/tables/main.md"
    assert results_of([each], tmp_path) == f"\n| tldr/tables |\n\nall metrics, with n: {place}"
    assert results_of([each, together], tmp_path).startswith("\n| tables |\n\nall metrics, with n: ")
