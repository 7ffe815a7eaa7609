"""Reduce finished runs to the small files that verdicts are made from (docs/study/*.csv), which are committed.

    python studies/reduce.py --options stable --config config/config.yaml config/study.yaml     # runs of the workflow
    python studies/reduce.py --study /tmp/dials --config config/config.yaml                     # of compare.py --final

Of the workflow every finished run that the configuration asks for; of compare.py every finished one, with the variant's
name as its set of options. Lines of these sets of options are replaced, all others stay. `snakemake claims` reads
nothing else; `collm.report.claims.study` says what the columns mean.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import source_path

from collm import domains
from collm.common import cli
from collm.common.errors import DataError
from collm.common.files import read_jsonl, sha256, write_atomic
from collm.config.load import load_config
from collm.domains.base import Metric
from collm.report import health, starts
from collm.report.claims.study import COLUMNS, KEYS
from collm.report.results import Results, Run, collect, expected_runs
from collm.report.statistics import drawn_at_least_once, score_matrix

DIGITS = "%.6g"
SHORT = 16  # digits of a hash
Rows = dict[str, list[dict[str, Any]]]  # by file


def main(argv: Sequence[str] | None = None) -> int:
    """Read, reduce, write; returns the exit status."""
    arguments = _arguments(argv)
    groups = list(_of_study(arguments.study) if arguments.study else _of_workflow(arguments))
    rows: Rows = {name: [] for name in COLUMNS}
    for options, root, runs in groups:
        for name, own in reduced(options, collect(runs, root / "data", partial=True)).items():
            rows[name] += own
    for name, own in rows.items():
        if name != "variance":  # measured by a script of its own
            replace(arguments.out / f"{name}.csv", name, own, ["options"])
    found = pd.DataFrame(rows["runs"], columns=list(COLUMNS["runs"])).groupby(["options", "domain"]).size()
    for (options, domain), count in found.items():
        print(f"{options}, {domain}: {count} runs")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__ or "", domain=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--options", help="name of the set of options that the workflow's runs have, paper or stable")
    parser.add_argument("--root", type=Path, default=source_path.ROOT, help="folder with results/ and data/")
    parser.add_argument("--study", type=Path, help="folder of compare.py instead")
    parser.add_argument("--out", type=Path, default=source_path.ROOT / "docs" / "study", help="folder of the CSVs")
    arguments = parser.parse_args(argv)
    if (arguments.options is None) == (arguments.study is None):
        parser.error("write --options NAME for runs of the workflow, or --study FOLDER for those of compare.py")
    return arguments


Group = tuple[str, Path, list[Run]]  # options, folder with data/, runs


def _of_workflow(arguments: argparse.Namespace) -> Iterator[Group]:
    """Finished runs that a configuration asks for."""
    settings = load_config([Path(file) for file in arguments.config])
    runs = expected_runs(settings, arguments.root / "results")
    finished = [run for run in runs if all(file.is_file() for file in run.files)]
    if not finished:
        raise DataError(f"{arguments.root}/results has no finished run of {', '.join(arguments.config)}; run it first")
    print(f"{len(finished)} of {len(runs)} runs are finished", file=sys.stderr)
    yield arguments.options, arguments.root, finished


def _of_study(folder: Path) -> Iterator[Group]:
    """Finished and evaluated runs of compare.py, by variant and by the folder that holds their data."""
    listed = folder / "runs.json"
    if not listed.is_file():
        raise DataError(f"{listed} is not there; name the --out of studies/compare.py")
    groups: dict[tuple[str, Path], list[Run]] = {}
    for fact in json.loads(listed.read_text(encoding="utf-8")):
        run = Run(fact["domain"], fact["method"], int(fact["seed"]), Path(fact["folder"]))
        if all(file.is_file() for file in run.files):
            groups.setdefault((fact["variant"], run.folder.parents[3]), []).append(run)
    if not groups:
        raise DataError(f"{folder} has no evaluated run; call studies/compare.py with --final")
    for (variant, root), runs in groups.items():
        yield variant, root, runs


def reduced(options: str, results: Results) -> Rows:
    """Rows of every file for the runs of one set of options."""
    rows: Rows = {name: [] for name in COLUMNS}
    for (domain, method, seed), record in results.records.items():
        key = {"options": options, "domain": domain, "method": method, "seed": seed}
        folder = results.folders[domain, method, seed]
        own = results.of(domain, method)
        own = own[own["seed"] == seed]
        rows["runs"].append(key | _facts(folder, record, results.manifests[domain]))
        scores, tasks = _scores(domain, own, record)
        rows["scores"] += [key | {"metric": name, "value": value} for name, value in scores.items()]
        rows["tasks"].append(key | tasks)
    curves = results.curves[results.curves["event"] == "evaluation"]
    kept = curves[["domain", "method", "seed", "env_step", "samples", "reward"]].drop_duplicates(
        ["domain", "method", "seed", "env_step"], keep="last"
    )
    rows["curves"] = [{"options": options, **row} for row in kept.to_dict("records")]
    found = health.frame(health.runs(results, starts.outcomes(results)))
    rows["health"] = [{"options": options, **row} for row in found.to_dict("records")]
    return rows


def _facts(folder: Path, record: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that claims ask for, counts, and where the numbers come from."""
    config = record["config"]
    agents = config["team"]["num_agents"]
    built = domains.get(record["domain"])(config["options"], config["profile"], agents)
    facts = {
        "turns": config["rollout"]["turns"],
        "generations": config["rollout"]["generations"],
        "agents": agents,
        "paid": config["rollout"].get("reward", "every_turn"),
        "tasks_per_rollout": min(config["training"]["tasks_per_rollout"], manifest["splits"]["train"]["rows"]),
        "least_reward": built.min_reward,
        "best_reward": built.max_reward,
        "commit": record.get("git_commit"),
        "device": record.get("device_name"),
        "samples_sha256": sha256(folder / "samples.jsonl")[:SHORT],
    }
    return facts | (_training(folder) if (folder / "metrics.jsonl").is_file() else {})


def _training(folder: Path) -> dict[str, Any]:
    """Counts of a training run."""
    rollouts = [line for line in read_jsonl(folder / "metrics.jsonl") if line["event"] == "rollout"]
    trained = json.loads((folder / "run.json").read_text(encoding="utf-8")) if (folder / "run.json").is_file() else {}
    counts = trained.get("counts", {})
    names = {"rollouts": "iteration", "env_steps": "env_step", "updates": "update", "tokens": "tokens"}
    return {
        **{name: counts.get(there) for name, there in names.items()},
        "first_rollout": rollouts[0]["samples"] if rollouts else None,
        "seconds": trained.get("training_seconds"),
        "metrics_sha256": sha256(folder / "metrics.jsonl")[:SHORT],
    }


def _scores(domain: str, samples: pd.DataFrame, record: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Means over test tasks by metric, and the main metric task by task."""
    metrics = domains.get(domain).metrics
    scores = {name: _by_task(samples, name).mean() for name in ("reward", "tokens")}
    for metric in metrics:
        values = _of_metric(samples, metric)
        if values is not None:
            scores[metric.name] = values.mean()
    if (record.get("latency") or {}).get("seconds") is not None:
        scores["seconds"] = float(record["latency"]["seconds"])
    main = _of_metric(samples, metrics[0])
    assert main is not None  # a benchmark's first metric is measured at every sample
    digest = hashlib.sha256("\n".join(map(str, main.index)).encode()).hexdigest()[:SHORT]
    words = " ".join(f"{value:.4g}" for value in main)
    return scores, {"metric": metrics[0].name, "tasks": digest, "values": words}


def _of_metric(samples: pd.DataFrame, metric: Metric) -> pd.Series | None:
    """A metric of every task; None where there are too few samples for it, or none at all."""
    column = f"metric.{metric.of if metric.draws > 1 else metric.name}"
    if column not in samples or samples[column].isna().any():
        return None
    if metric.draws == 1:
        return _by_task(samples, column)
    if samples.groupby("task").size().min() < metric.draws:
        return None
    return _by_task(samples.assign(drawn=drawn_at_least_once(samples, column, metric.draws)), "drawn")


def _by_task(samples: pd.DataFrame, column: str) -> pd.Series:
    """Means over the samples of each task, by its name in order."""
    matrix = score_matrix(samples, column)
    return pd.Series(matrix.values[0], index=pd.Index(matrix.tasks))


def replace(file: Path, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Put rows in the place of those that agree with one of them in `columns`; without rows the file stays."""
    new = _as_text(pd.DataFrame(rows, columns=None if rows else list(COLUMNS[name])))
    if file.is_file():
        old = pd.read_csv(file, dtype=str, keep_default_na=False)
        given = set(new[[*columns]].itertuples(index=False, name=None))
        kept = [key not in given for key in old[[*columns]].itertuples(index=False, name=None)]
        new = pd.concat([old[kept], new], ignore_index=True)
    order = [*COLUMNS[name], *(column for column in new if column not in COLUMNS[name])]
    new = new.reindex(columns=order, fill_value="").fillna("")
    write_atomic(file, new.sort_values(list(KEYS[name]), key=_sortable).to_csv(index=False))


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is written, so that lines of other runs keep their digits."""
    return frame.map(lambda cell: "" if pd.isna(cell) else DIGITS % cell if isinstance(cell, float) else str(cell))


def _sortable(column: pd.Series) -> pd.Series:
    """Numbers by size, all else by name."""
    return pd.to_numeric(column) if column.name in ("seed", "env_step", "generations") else column


if __name__ == "__main__":
    sys.exit(cli.run(main))
