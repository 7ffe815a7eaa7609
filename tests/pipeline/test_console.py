"""What a run of the workflow shows: in a file, on a terminal, when jobs fail; and that Snakemake speaks as expected."""

from __future__ import annotations

import io
import logging
import os
import time

import pytest
from snakemake.logging import LoggerManager
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from collm.common.files import write_json, write_jsonl
from collm.pipeline import console
from collm.pipeline.console import Console
from collm.pipeline.jobs import Run, WorkflowJob

RUN = Run("tldr", "collm_cc", "0")
WILDCARDS = {"domain": "tldr", "method": "collm_cc", "seed": "0"}
JOBS = {
    0: WorkflowJob("all", {}),
    1: WorkflowJob("data", {"domain": "tldr"}, ("data.log",), (), 10.0),
    2: WorkflowJob("train", WILDCARDS, ("train.log",), (RUN,), 90.0),
}


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Makes a logger of Snakemake's own whose console writes to a stream; gives both. Runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    managers = []

    def make(stream: io.StringIO, jobs=JOBS, wall: float | None = 100.0) -> logging.Logger:
        logger = logging.getLogger(f"test.{tmp_path.name}")
        managers.append(LoggerManager(logger, OutputSettings(show_failed_logs=True)))
        console.own_handler(logger).setStream(stream)
        Console.install(logger, jobs, wall)
        return logger

    yield make
    for manager in managers:
        manager.stop()


def finished_run(folder, reward: float) -> None:
    write_jsonl(folder / "metrics.jsonl", [{"event": "evaluation", "reward": value} for value in (1.0, reward)])
    write_json(folder / "run.json", {"wall_seconds": 48.0})


def start(logger, *numbers: int) -> None:
    logger.info("Execute jobs...", extra={"event": LogEvent.JOB_STARTED, "jobs": list(numbers)})


def finish(logger, number: int) -> None:
    logger.info(f"Finished jobid: {number}", extra={"event": LogEvent.JOB_FINISHED, "job_id": number})
    logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 3})


def fail(logger, number: int, message: str | None = None) -> None:
    facts = {"event": LogEvent.JOB_ERROR, "jobid": number, "rule_name": "train", "rule_msg": message, "log": []}
    logger.error("Error in rule train", extra=facts)


def test_snakemake_has_the_handler_that_is_replaced_and_filtered():
    logger = logging.getLogger("test.own")
    manager = LoggerManager(logger, OutputSettings())
    try:
        assert console.own_handler(logger) is logger.handlers[0]
        assert console.own_handler(logging.getLogger("test.without")) is None
        Console.install(logging.getLogger("test.without"), JOBS, None)
        assert not logging.getLogger("test.without").handlers, "a plugin's display is left alone"
    finally:
        manager.stop()
    assert console.START_EVENTS <= set(LogEvent)


def test_a_file_gets_a_line_per_finished_run(shown, tmp_path):
    stream = io.StringIO()
    logger = shown(stream)
    logger.info("Select jobs to execute...")
    start(logger, 1)
    logger.info(" Rule: data", extra={"event": LogEvent.JOB_INFO, "jobid": 1})
    finish(logger, 1)
    assert stream.getvalue() == ""
    start(logger, 2)
    finished_run(tmp_path / "results/tldr/collm_cc/seed0", 2.0)
    finish(logger, 2)
    finish(logger, 0)
    assert stream.getvalue() == "tldr CoLLM-CC seed 0: reward 1.00 → 2.00 in 48 s (1/1 runs, about 0 s left)\n"


def test_warnings_errors_and_the_place_of_the_log_are_shown(shown):
    stream = io.StringIO()
    logger = shown(stream)
    logger.warning("the disk is full")
    logger.error("MissingOutputException: no file", extra={"event": LogEvent.ERROR, "exception": "x"})
    logger.error(
        "Command 'python x' returned non-zero exit status 2.", extra={"event": LogEvent.ERROR, "exception": "x"}
    )
    logger.error("Exiting because a job execution failed. Look above for error messages")
    logger.info("Complete log(s): a.log")
    assert stream.getvalue().splitlines() == [
        "the disk is full",
        "MissingOutputException: no file",
        "Complete log(s): a.log",
    ]


def test_a_failed_job_is_shown_at_once_with_the_end_of_its_log(shown, tmp_path):
    (tmp_path / "train.log").write_text(
        "".join(f"line {number}\n\n" for number in range(40)) + "error: no model; make it\n"
    )
    stream = io.StringIO()
    logger = shown(stream)
    start(logger, 2)
    fail(logger, 2, "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'")
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [
        "failed: train (domain=tldr, method=collm_cc, seed=0)",
        "  log: train.log",
        "  SLURM-job '7' failed, SLURM status is: 'TIMEOUT'",
    ]
    assert lines[3:] == [*(f"  | line {number}" for number in range(31, 40)), "  | error: no model; make it"]
    logger.info("Trying to restart job 2.")
    assert stream.getvalue().splitlines()[-1] == "Trying to restart job 2."


def test_a_run_whose_files_say_nothing_is_shown_all_the_same(shown):
    stream = io.StringIO()
    logger = shown(stream, wall=None)
    finish(logger, 2)
    line = stream.getvalue()
    assert line.startswith("tldr collm_cc 0: finished, but results/tldr/collm_cc/seed0/")
    assert line.endswith("(1/1 runs)\n"), "without an expected time none is left"


def test_runs_of_one_job_are_shown_as_they_finish(shown, tmp_path):
    second = Run("tldr", "magrpo", "0")
    job = WorkflowJob("train_together", {"domain": "tldr", "seed": "0"}, ("a.log",), (RUN, second), 100.0)
    stream = io.StringIO()
    logger = shown(stream, {1: job})
    earlier = tmp_path / "results/tldr/magrpo/seed0"
    finished_run(earlier, 9.0)
    os.utime(earlier / "run.json", (0, 0))
    start(logger, 1)
    finished_run(tmp_path / "results/tldr/collm_cc/seed0", 2.0)
    end = time.monotonic() + 10
    while "\n" not in stream.getvalue() and time.monotonic() < end:
        time.sleep(0.1)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("tldr CoLLM-CC seed 0: reward 1.00 → 2.00 in 48 s (1/2 runs, about ")
    finished_run(tmp_path / "results/tldr/magrpo/seed0", 3.0)
    finish(logger, 1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and lines[1].startswith("tldr MAGRPO seed 0: reward 1.00 → 3.00 in 48 s (2/2 runs, about ")


def test_what_goes_wrong_in_the_display_ends_no_run(shown, capsys):
    logger = shown(io.StringIO())
    finish(logger, 99)
    assert "KeyError: 99" in capsys.readouterr().err


def test_a_terminal_gets_a_bar_with_what_runs_and_the_time_left(shown):
    stream = Terminal()
    logger = shown(stream)
    start(logger, 1)
    finish(logger, 1)
    start(logger, 2)
    end = time.monotonic() + 10
    while "train tldr collm_cc 0" not in stream.getvalue() and time.monotonic() < end:
        time.sleep(0.1)
    bars = stream.getvalue().split("\r")
    assert any("10% |" in bar and "0/1 runs, about " in bar and "; train tldr collm_cc 0" in bar for bar in bars)
    logger.warning("the disk is full")
    assert "\rthe disk is full\n" in stream.getvalue()
    console.end(logger)
    length = len(stream.getvalue())
    logger.info("Complete log(s): a.log")
    assert stream.getvalue()[length:].strip().endswith("Complete log(s): a.log")


def test_the_time_left_follows_the_pace_of_the_run(shown, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("collm.pipeline.console.time.monotonic", lambda: now[0])
    logger = shown(io.StringIO(), wall=100.0)
    (handler,) = (handler for handler in logger.handlers if isinstance(handler, Console))
    assert handler.seconds_left == 100.0
    start(logger, 1)
    now[0] += 4.0  # of the ten that were expected: too little to judge the pace by
    assert handler.seconds_left == pytest.approx(96.0)
    now[0] += 16.0  # twice as long as expected
    finish(logger, 1)
    assert handler.seconds_left == pytest.approx(20.0 * 90 / 10)
    start(logger, 2)
    now[0] += 45.0
    assert handler.seconds_left == pytest.approx(65.0 * 45 / 55)


@pytest.mark.parametrize(
    ("text", "event", "shown"),
    [
        ("Building DAG of jobs...", None, False),
        ("Using shell: /usr/bin/bash", None, False),
        ("Job stats:", LogEvent.RUN_INFO, False),
        ("Workflow has started!", LogEvent.WORKFLOW_STARTED, False),
        ("Nothing to be done (all requested files are present and up to date).", None, True),
        ("Report created: results/report.html.", None, True),
    ],
)
def test_what_the_start_says(text, event, shown):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, text, (), None)
    if event is not None:
        record.event = event
    assert console.shown_at_start(record) is shown
