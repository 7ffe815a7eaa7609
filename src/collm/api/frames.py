"""Results of runs as tidy pandas frames, whatever configuration made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.config.job import build_domain
from collm.config.resolve import job_of
from collm.domains.base import Domain
from collm.report import results as report_results
from collm.report import tables

FACTS = ("stage", "started", "finished", "wall_seconds", "peak_memory_mb", "device", "git_commit")


@dataclass(frozen=True)
class Results:
    """Runs below a folder of results, one frame a kind of fact; `domain`, `method` and `seed` name a run in each.

    runs: a row a run: when, where and how long it was trained (NaN without training), counts of its training
        (`counts.env_step` and so on), whether it is evaluated, its folder.
    samples: a row an evaluated episode: task, sample, reward (raw, of the last turn), tokens, `metric.<name>`,
        `part.<name>`.
    curves: a row a rollout or an evaluation while training (`event`): iteration, env_step, samples, reward, return and
        episodes (NaN where a run does not say).
    updates: a row an update of a trained run, with everything that metrics.jsonl says of it.
    """

    runs: pd.DataFrame
    samples: pd.DataFrame
    curves: pd.DataFrame
    updates: pd.DataFrame
    evaluated: tuple[report_results.Run, ...]
    data: Path

    def table(self, resamples: int = 10_000) -> pd.DataFrame:
        """The main table: a row a domain, method and metric, with a 95 % bootstrap interval (`low`, `high`).

        Intervals are over seeds where there are two or more, else over tasks (`interval` says which).

        Raises:
            DataError: nothing is evaluated, or the manifest of a domain is not there.
        """
        if not self.evaluated:
            raise DataError("no run is evaluated, so there is no table; call collm.evaluate first")
        loaded = report_results.collect(_complete(self.evaluated), self.data)
        frame = tables.main_frame(loaded, _domains(self.evaluated), resamples=resamples)
        return frame.drop(columns=["paper", "difference"])


def results(
    folder: str | Path = "results",
    *,
    domains: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | Path | None = None,
) -> Results:
    """What runs below a folder of results have to say.

    Args:
        folder: holds <domain>/<method>/seed<k>.
        domains, methods, seeds: these alone; None: all that are there.
        data: folder of the data manifests, by default data/ beside `folder`.
    Raises:
        DataError: there is no run, or a file of one is malformed.
    """
    folder = Path(folder)
    runs = [run for run in _runs(folder) if _chosen(run, domains, methods, seeds)]
    if not runs:
        raise DataError(f"no run below {folder}; it should hold <domain>/<method>/seed<k> with run.json")
    evaluated = tuple(run for run in runs if (run.folder / "samples.jsonl").is_file())
    trained = [run for run in runs if run.trained and (run.folder / "metrics.jsonl").is_file()]
    return Results(
        runs=pd.DataFrame([_facts(run) for run in runs]),
        samples=_joined([report_results.sample_frame(run) for run in evaluated]),
        curves=_joined([report_results.curve_frame(run) for run in trained]),
        updates=_joined([_updates(run) for run in trained]),
        evaluated=evaluated,
        data=Path(data) if data else folder.parent / "data",
    )


def _runs(folder: Path) -> list[report_results.Run]:
    """Finished runs, in the order of their folders."""
    found = []
    for path in sorted(folder.glob("*/*/seed*")):
        number = path.name.removeprefix("seed")
        if number.isdigit() and any((path / name).is_file() for name in ("run.json", "evaluation.json")):
            found.append(report_results.Run(path.parts[-3], path.parts[-2], int(number), path))
    return found


def _chosen(
    run: report_results.Run,
    domains: Sequence[str] | None,
    methods: Sequence[str] | None,
    seeds: Sequence[int] | None,
) -> bool:
    wanted = zip(run.key, (domains, methods, seeds), strict=True)
    return all(choice is None or value in choice for value, choice in wanted)


def _facts(run: report_results.Run) -> dict[str, Any]:
    file = run.folder / "run.json"
    facts = report_results.read_json(file) if file.is_file() else {}
    counts = {f"counts.{name}": value for name, value in facts.get("counts", {}).items() if not isinstance(value, dict)}
    row = {"domain": run.domain, "method": run.method, "seed": run.seed}
    row |= {name: facts.get(name) for name in FACTS}
    return row | counts | {"evaluated": (run.folder / "samples.jsonl").is_file(), "folder": str(run.folder)}


def _updates(run: report_results.Run) -> pd.DataFrame:
    rows = [row for row in read_jsonl(run.folder / "metrics.jsonl") if row.get("event") == "update"]
    return pd.DataFrame([{"domain": run.domain, "method": run.method, "seed": run.seed, **row} for row in rows])


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["domain", "method", "seed"])


def _complete(runs: Sequence[report_results.Run]) -> list[report_results.Run]:
    """Runs in the order of the tables."""
    order = list(report_results.ROWS)
    return sorted(runs, key=lambda run: (run.domain, order.index(run.method), run.seed))


def _domains(runs: Sequence[report_results.Run]) -> Mapping[str, Domain]:
    """The domains of runs with the options that a team was evaluated with."""
    built: dict[str, Domain] = {}
    for run in runs:
        settings = json.loads((run.folder / "evaluation.json").read_text(encoding="utf-8"))["config"]
        if run.domain not in built or settings["team"]["num_agents"] > built[run.domain].num_agents:
            built[run.domain] = build_domain(job_of(settings))
    return built
