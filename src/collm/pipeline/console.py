"""What a run of the workflow shows on the terminal, in place of Snakemake's own log: a line per finished run, a bar.

Snakemake writes some ten lines per job. They stay in its file (`.snakemake/log`); the terminal gets one line per
finished run, failed jobs with the end of their log, warnings and errors, and on a real terminal a bar with the time
left. A `Console` is a handler of Python's `logging` that takes the place of Snakemake's handler for the terminal. It
reads the `event` of log records and knows nothing else of Snakemake.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from collm.common.errors import DataError
from collm.common.progress import duration
from collm.pipeline import failures
from collm.pipeline.jobs import Run, WorkflowJob, run_line

# Of Snakemake's handler for the terminal.
NAME = "DefaultStreamHandler"
# What every start says and nobody has to read: events and first words of Snakemake's log.
START_EVENTS = {"workflow_started", "resources_info", "run_info"}
START_WORDS = ("Building DAG", "Using shell", "Conda environments: ignored", "Assuming unrestricted", "Config file")
# Messages of a run that are neither errors nor warnings, and are shown all the same.
SHOWN = ("Trying to restart", "Terminating processes", "Will exit", "Complete log", "Elapsed time")
# Errors that say once more that a job failed: its own block and the summary at the end say it better.
SAID_ELSEWHERE = ("returned non-zero exit status", "Exiting because a job execution failed")
LAST_LINES = 10  # of the log of a failed job
# Below this share of the work the time left is what was expected, above it what the run itself suggests.
FIRST_SHARE = 0.05
BAR = "{percentage:3.0f}% |{bar:24}| {desc}"


def own_handler(logger: logging.Logger) -> logging.StreamHandler[TextIO] | None:
    """Snakemake's own handler for the terminal; None where a plugin writes there instead."""
    found = (handler for handler in logger.handlers if handler.name == NAME)
    return next((handler for handler in found if isinstance(handler, logging.StreamHandler)), None)


def shown_at_start(record: logging.LogRecord) -> bool:
    """A filter for Snakemake's own handler, until a `Console` takes its place: whether a message is worth a line."""
    return getattr(record, "event", None) not in START_EVENTS and not record.getMessage().startswith(START_WORDS)


def end(logger: logging.Logger) -> None:
    """Take the bar away, if there is one: what follows is printed by others."""
    for handler in logger.handlers:
        if isinstance(handler, Console):
            handler.end()


class Console(logging.Handler):
    """Shows a run of the workflow; put in place by `install`, ended by `close`."""

    def __init__(self, own: logging.StreamHandler[TextIO], jobs: Mapping[int, WorkflowJob], wall: float | None):
        """
        Args:
            own: Snakemake's handler, which writes warnings and errors.
            jobs: all jobs of this run by Snakemake's numbers.
            wall: seconds that they are expected to take all together; None: not known, no time left is told.
        """
        super().__init__()
        self._own, self._jobs, self._wall = own, jobs, wall
        self._stream: TextIO = own.stream
        self._work = sum(job.seconds for job in jobs.values())
        self._runs = sum(len(job.runs) for job in jobs.values())
        self._start, self._began = time.monotonic(), time.time()
        self._running: dict[int, float] = {}  # when jobs were started
        self._finished: set[int] = set()
        self._told: set[Run] = set()  # finished runs
        self._ended = threading.Event()
        terminal = self._stream.isatty()
        self._bar = tqdm(total=1.0, bar_format=BAR, file=self._stream, dynamic_ncols=True) if terminal else None
        threading.Thread(target=self._tick, daemon=True).start()

    @classmethod
    def install(cls, logger: logging.Logger, jobs: Mapping[int, WorkflowJob], wall: float | None) -> None:
        """Take the place of Snakemake's own handler, if it has one."""
        own = own_handler(logger)
        if own is not None:
            logger.removeHandler(own)
            logger.addHandler(cls(own, jobs, wall))

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record says, if it is worth a line."""
        try:
            self._show(record)
        except Exception:  # of any kind, as in every handler of `logging`: it is printed, and a line never ends the run
            self.handleError(record)

    def _show(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == "job_started":
            self._running |= dict.fromkeys(record.__dict__["jobs"], time.monotonic())
        elif event == "job_finished":
            self._finish(record.__dict__["job_id"])
        elif event == "job_error":
            self._fail(record.__dict__)
        elif self._is_shown(record):
            with tqdm.external_write_mode(file=self._stream):
                self._own.handle(record)
        self._draw()

    def end(self) -> None:
        """Take the bar away; later messages are shown as before."""
        self._ended.set()
        self.acquire()
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()
            self._bar = None
        self.release()

    def close(self) -> None:
        """End the display and Snakemake's own handler."""
        self.end()
        self._own.close()
        super().close()

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all jobs are done, by what was expected at first and by the pace of this run later."""
        if self._wall is None:
            return None
        share, elapsed = self._share(), time.monotonic() - self._start
        return (1 - share) * (elapsed / share if share > FIRST_SHARE else self._wall)

    @staticmethod
    def _is_shown(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return not any(words in text for words in SAID_ELSEWHERE)
        return text.startswith(SHOWN)

    def _finish(self, number: int) -> None:
        self._running.pop(number, None)
        self._finished.add(number)
        for run in self._jobs[number].runs:
            self._tell(run)

    def _has_finished(self, run: Run) -> bool:
        """Whether a run of a job that goes on has written its record: not the one of an earlier time, which goes."""
        try:
            return run.record().stat().st_mtime > self._began
        except FileNotFoundError:
            return False

    def _tell(self, run: Run) -> None:
        """The line of a finished run, once."""
        if run in self._told:
            return
        self._told.add(run)
        try:
            line = run_line(run)
        except DataError as error:
            line = f"{run.words}: finished, but {error}"
        self._say(f"{line} ({self._count()})")

    def _fail(self, facts: Mapping[str, Any]) -> None:
        """A failed job with its log's name and last lines; the cause follows at the end, when all logs are written."""
        self._running.pop(facts["jobid"], None)
        job = self._jobs[facts["jobid"]]
        lines = [f"failed: {job.name}", f"  log: {', '.join(job.logs) or 'none'}"]
        if facts["rule_msg"]:
            lines.append(f"  {facts['rule_msg']}")
        self._say("\n".join([*lines, *(f"  | {line}" for line in failures.last_lines(job.logs, LAST_LINES))]))

    def _count(self) -> str:
        """Finished runs of all (jobs, where nothing is trained), and the time left."""
        left = self.seconds_left
        runs = f"{len(self._told)}/{self._runs} runs" if self._runs else f"{len(self._finished)}/{len(self._jobs)} jobs"
        return runs + (f", about {duration(left)} left" if left is not None else "")

    def _share(self) -> float:
        """The share of the expected work that is done; running jobs count for at most what was expected of them."""
        now = time.monotonic()
        done = sum(self._jobs[number].seconds for number in self._finished)
        done += sum(min(now - start, self._jobs[number].seconds) for number, start in self._running.items())
        return done / self._work if self._work else 0.0

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(file=self._stream):
            print(text, file=self._stream, flush=True)

    def _draw(self) -> None:
        """The bar as it is now, with the jobs that run."""
        if self._bar is None:
            return
        running = [" ".join([job.rule, *job.wildcards.values()]) for job in map(self._jobs.__getitem__, self._running)]
        self._bar.n = self._share()
        self._bar.set_description_str("; ".join([self._count(), *running]), refresh=False)
        self._bar.refresh()

    def _tick(self) -> None:
        """Once a second, draw the bar and look which runs of jobs that train several have finished."""
        while not self._ended.wait(1.0):
            self.acquire()
            for run in [run for number in self._running for run in self._jobs[number].runs]:
                if self._has_finished(run):
                    self._tell(run)
            self._draw()
            self.release()
