"""What the end of a workflow says about jobs that failed."""

from __future__ import annotations

import pytest

from collm.pipeline.failures import Failure, last_lines, summary

ENDED = (
    'RuleException:\nCalledProcessError in file "/x/workflow/rules/train.smk", line 32:\n'
    "Command 'set -euo pipefail;  python src/train.py > {log} 2>&1' returned non-zero exit status {status}.\n"
)
ON_CLUSTER = (
    "[Fri Nov 27 08:33:34 2026]\nError in rule train:\n"
    "    message: SLURM-job '7' failed, SLURM status is: '{state}'. For further error details see the log.\n"
    "    jobid: 3\n    output: results/x\n    log: {log}, /home/x/.snakemake/slurm_logs/7.log (check log file(s))\n"
)


@pytest.fixture
def job(tmp_path):
    """A failed job with the text of its log; gives the lines of the summary."""

    def end(text: str | None, snakemake: str, **values) -> list[str]:
        log = tmp_path / "seed0.log"
        if text is not None:
            log.write_text(text)
        (tmp_path / "snakemake.log").write_text(snakemake.format(log=log, **values))
        failure = Failure("train", "domain=tldr, seed=0", (str(log),))
        return summary([failure], tmp_path / "snakemake.log").replace(str(log), "LOG").splitlines()

    return end


@pytest.mark.parametrize("status", [137, -9])
def test_a_killed_job(job, status):
    lines = job("tldr/collm_cc: 3 of 10\n", ENDED, status=status)
    assert lines[:3] == [
        "1 job failed; what does not need them has run:",
        "  train (domain=tldr, seed=0)",
        "    log: LOG",
    ]
    assert lines[3].startswith(f"    cause: exit status {status}: killed, most likely out of memory; give it more")


def test_a_user_error_is_quoted(job):
    text = "loading\nerror: no model in resources/models/x; make it with: python src/make_model.py\n\n"
    assert job(text, ENDED, status=2)[3] == f"    cause: {text.splitlines()[1]}"


@pytest.mark.parametrize(
    ("text", "status", "cause"),
    [
        (
            "usage: train.py\ntrain.py: error: unrecognised\n",
            2,
            "exit status 2: wrong use; its last line: train.py: err",
        ),
        ("Traceback\nKeyError: 'a'\n", 1, "exit status 1; its last line: KeyError: 'a'"),
        ("stopped by signal 15; saved\n", 143, "exit status 143: stopped by SIGTERM; its last line: stopped by sig"),
        ("", -11, "exit status -11: stopped by SIGSEGV; it wrote nothing"),
        (None, 127, "exit status 127; it wrote nothing"),
    ],
)
def test_other_ends(job, text, status, cause):
    assert job(text, ENDED, status=status)[3].startswith(f"    cause: {cause}")


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("OUT_OF_MEMORY", "most likely out of memory (mem_mb)"),
        ("TIMEOUT", "the time of the job was too short (runtime)"),
    ],
)
def test_a_job_on_a_cluster(job, state, cause):
    assert job("3 of 10\n", ON_CLUSTER, state=state)[3] == f"    cause: {state}: {cause}"


def test_stopped_by_its_user(tmp_path):
    assert summary([], tmp_path / "none.log").startswith(
        "Stopped before everything had run. Run the same command again"
    )


def test_jobs_are_counted_and_the_last_attempt_counts(tmp_path):
    log = tmp_path / "snakemake.log"
    log.write_text(ENDED.format(log="a.log", status=1) + ENDED.format(log="a.log", status=137))
    text = summary([Failure("train", "", ("b.log",)), Failure("data", "domain=tldr", ("a.log",))], log)
    assert text.startswith("2 jobs failed") and text.index("data (domain=tldr)") < text.index("  train\n")
    assert "killed, most likely out of memory" in text and "cause: unknown; it wrote nothing" in text
    assert text.endswith("training goes on where it was.")


def test_every_log_gives_its_own_last_lines(tmp_path):
    """One long log of a job does not push the end of another out of sight."""
    logs = [tmp_path / "run.log", tmp_path / "absent.log", tmp_path / "job.log"]
    logs[0].write_text("a\n\n  error: no model\n")
    logs[2].write_text("".join(f"line {number}\n" for number in range(60)))
    names = [str(log) for log in logs]
    assert last_lines(names, 2) == ["a", "error: no model", "line 58", "line 59"]
    assert len(last_lines(names)) == 2 + 50
    assert "cause: error: no model" in summary([Failure("train", "", tuple(names))], tmp_path / "none.log")


def test_the_message_of_one_run_among_several_of_a_job(tmp_path):
    first, second, own = (tmp_path / f"{name}.log" for name in ("first", "second", "job"))
    first.write_text("device cpu\nerror: no folder x; make it\n")
    second.write_text("a line of a run that is fine\n" * 200)
    own.write_text("tldr seed 0: first failed; the logs say why\n")
    (tmp_path / "snakemake.log").write_text(ENDED.format(log=own, status=2))
    failure = Failure("train_together_0", "domain=tldr, seed=0", (str(first), str(second), str(own)))
    assert "    cause: error: no folder x; make it" in summary([failure], tmp_path / "snakemake.log").splitlines()
