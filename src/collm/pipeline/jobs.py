"""Jobs of a workflow as people read them: what a job is called, and one line for a run that has finished."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.common.progress import duration
from collm.methods.registry import ROWS, WARM_STARTS

RECORD = re.compile(r"(?P<place>results(?:/[^/]+)*?)/(?P<domain>[^/]+)/(?P<method>[^/]+)/seed(?P<seed>\d+)/run\.json")
TABLES = ("/tables", "/tables/overview.md")  # what rules that make tables have among their outputs


class Run(NamedTuple):
    """A team that a job trains: a method or a warm start of a domain with a seed."""

    domain: str
    method: str
    seed: str
    place: str = "results"  # folder of all results of its experiment or variant

    @property
    def is_warm_start(self) -> bool:
        """Whether it is fine-tuned on demonstrations, before reinforcement learning."""
        return self.method in WARM_STARTS

    @property
    def words(self) -> str:
        """Experiment and variant, if it has some, and domain, method and seed."""
        return " ".join((*self.place.split("/")[1:], self.domain, self.method, self.seed))

    def record(self, root: Path = Path(".")) -> Path:
        """Its run.json, which is written last: a run whose record is there has finished."""
        return root / self.place / self.domain / self.method / f"seed{self.seed}" / "run.json"


@dataclass(frozen=True)
class WorkflowJob:
    """A job that a workflow is about to run.

    Attributes:
        wildcards: by name, as Snakemake gives them.
        logs: files that it writes its messages to.
        runs: teams that it trains; several where one process trains them one after another.
        seconds: what it is expected to take on one core; 0 if nothing is known.
        tables: folder of the tables that it makes, if it makes any.
    """

    rule: str
    wildcards: Mapping[str, str]
    logs: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    seconds: float = 0.0
    tables: str = ""

    @classmethod
    def of(cls, rule: str, wildcards: Mapping[str, str], logs: Iterable[str], outputs: Iterable[str]) -> WorkflowJob:
        """A job of Snakemake; `outputs` say which runs it trains and where its tables are."""
        files = [*map(str, outputs)]
        runs = tuple(Run(**match.groupdict()) for match in map(RECORD.fullmatch, files) if match)
        tables = [file.removesuffix("/overview.md") for file in files if file.endswith(TABLES)]
        return cls(rule, wildcards, tuple(map(str, logs)), runs, tables=tables[0] if tables else "")

    @property
    def name(self) -> str:
        """Its rule and wildcards, as in Snakemake's own log."""
        words = ", ".join(f"{key}={value}" for key, value in self.wildcards.items())
        return f"{self.rule} ({words})" if words else self.rule


def run_line(run: Run, root: Path = Path(".")) -> str:
    """What a finished run has reached, for example "tldr CoLLM-CC seed 0: reward 1.21 → 2.05 in 48 s".

    The rewards are those of the first and the last evaluation of its metrics.jsonl (raw, mean over test tasks), the
    time is that of its run.json.

    Raises:
        DataError: a file is missing or lacks what the line says.
    """
    before, after = _rewards(run.record(root).with_name("metrics.jsonl"))
    variant = "".join(f"{part} " for part in run.place.split("/")[1:])
    name = f"{variant}{run.domain} {ROWS[run.method].label} seed {run.seed}"
    return f"{name}: reward {before:.2f} → {after:.2f} in {duration(_seconds(run.record(root)))}"


def what_runs(jobs: Collection[WorkflowJob]) -> str:
    """The jobs of a workflow counted, for example "24 runs and 8 warm starts on 4 benchmarks, 73 jobs in all"."""
    runs = [run for job in jobs for run in job.runs]
    warm = [run for run in runs if run.is_warm_start]
    trained = [run for run in runs if not run.is_warm_start]
    kinds = [_count(found, word) for found, word in ((trained, "run"), (warm, "warm start")) if found]
    domains = {job.wildcards["domain"] for job in jobs if "domain" in job.wildcards}
    where = f" on {_count(domains, 'benchmark')}" if domains else ""
    words = f"{' and '.join(kinds)}{where}, " if kinds else ""
    return f"{words}{_count(jobs, 'job')}{' in all' if words else where}"


def results_of(jobs: Collection[WorkflowJob], root: Path) -> str:
    """What a finished workflow has to show: the overview of all benchmarks, or those of each; "" if it made none."""
    made = [job for job in jobs if job.tables]
    of_all = [job for job in made if "domain" not in job.wildcards]
    folders = [root / job.tables for job in of_all or made]
    overviews = [(folder / "overview.md").read_text(encoding="utf-8") for folder in folders]
    places = [f"all metrics, with n: {folder / 'main.md'}" for folder in folders]
    return "\n".join(f"\n{overview}\n{place}" for overview, place in zip(overviews, places, strict=True))


def _count(things: Collection[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _rewards(metrics: Path) -> tuple[float, float]:
    """Mean reward of the first and of the last evaluation of a run."""
    rewards = [row["reward"] for row in read_jsonl(metrics) if row.get("event") == "evaluation"]
    if not rewards:
        raise DataError(f"{metrics} holds no evaluation; train again")
    return rewards[0], rewards[-1]


def _seconds(record: Path) -> float:
    """What a run took, all its attempts together."""
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["wall_seconds"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{record} does not say how long the run took ({error!r}); train again") from error
