"""The end of a workflow in which jobs failed: which ones, where their logs are, and what the likely cause is."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collm.common.cli import USER_ERROR

KILLED = 128 + signal.SIGKILL
# Where Snakemake's own log says how the command of a job ended; stages write to the job's log, which ends the command.
STATUS = re.compile(r"> (?P<log>\S+) 2>&1' returned non-zero exit status (?P<status>-?\d+)")
CLUSTER = re.compile(r"message: (?P<message>[^\n]*status is: '(?P<state>\w+)[^\n]*)(?P<rest>(?:\n {4}[^\n]*)*)")
CAUSES = {
    "OUT_OF_MEMORY": "most likely out of memory (mem_mb)",
    "TIMEOUT": "the time of the job was too short (runtime)",
    "NODE_FAIL": "the node failed; start Snakemake again",
    "PREEMPTED": "the cluster took its node; start Snakemake again",
    "CANCELLED": "somebody cancelled it",
}
AGAIN = "Run the same command again: finished jobs stay, training goes on where it was."
# That many last lines of every log are searched for a message.
LINES = 50


@dataclass(frozen=True)
class Failure:
    """A job that failed: its rule, its wildcards as Snakemake prints them, and its log files."""

    rule: str
    wildcards: str
    logs: tuple[str, ...]


def summary(failures: Iterable[Failure], log: str | Path) -> str:
    """A block of text that names every failed job with its log and the likely cause; none if a user stopped it.

    Args:
        log: of Snakemake itself, which says how the commands ended.
    """
    ends = dict(_ends(Path(log)))
    failures = sorted(failures, key=lambda failure: (failure.rule, failure.wildcards))
    if not failures:
        return f"Stopped before everything had run. {AGAIN}"
    lines = [f"{len(failures)} {'job' if len(failures) == 1 else 'jobs'} failed; what does not need them has run:"]
    for failure in failures:
        files = ", ".join(failure.logs) or "none"
        end = next((ends[file] for file in failure.logs if file in ends), None)
        name = f"{failure.rule} ({failure.wildcards})" if failure.wildcards else failure.rule
        lines += [f"  {name}", f"    log: {files}", f"    cause: {_cause(end, last_lines(failure.logs))}"]
    lines.append(f"Mend the cause first. {AGAIN}")
    return "\n".join(lines)


def _ends(log: Path) -> Iterator[tuple[str, str]]:
    """How jobs ended by log file, an exit status or a cluster's state, from Snakemake's log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    for match in STATUS.finditer(text):
        yield match["log"], match["status"]
    for match in CLUSTER.finditer(text):
        for file in re.findall(r"\S+\.log", match["rest"]):
            yield file, match["state"]


def _cause(end: str | None, lines: list[str]) -> str:
    """What ended a job, in words; a message of ours is quoted."""
    message = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    if message is not None and end not in (str(KILLED), str(-signal.SIGKILL)):
        return message
    if end in CAUSES:
        return f"{end}: {CAUSES[end]}"
    if end in (str(KILLED), str(-signal.SIGKILL)):
        return (
            f"exit status {end}: killed, most likely out of memory; give it more (fewer jobs at once with --cores, "
            "smaller batches, mem_mb on a cluster)"
        )
    last = f"; its last line: {lines[-1]}" if lines else "; it wrote nothing"
    if end is None or not end.lstrip("-").isdigit():
        return f"{end or 'unknown'}{last}"
    status = int(end)
    if status == USER_ERROR:
        return f"exit status {USER_ERROR}: wrong use{last}"
    number = -status if status < 0 else status - 128
    if number in set(signal.Signals):
        return f"exit status {end}: stopped by {signal.Signals(number).name}{last}"
    return f"exit status {end}{last}"


def last_lines(logs: Iterable[str], count: int = LINES) -> list[str]:
    """The last `count` lines of each of a job's logs that are not empty, stripped, one log after another."""
    last: list[str] = []
    for file in map(Path, logs):
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            last += [line.strip() for line in lines if line.strip()][-count:]
    return last
