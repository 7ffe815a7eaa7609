"""Result files into tidy pandas frames: what ran, what it scored, and which files are not there.

Which rows there should be follows from the configuration (methods and baselines x seeds, per domain), never
from what happens to lie in the results folder: a stale run is named, not shown, and a missing file is named,
not skipped. Reads `samples.jsonl`, `evaluation.json` and, of trained methods, `metrics.jsonl` of every run,
and the data manifest of every domain. No model and no GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.config.resolve import rows
from collm.methods.registry import METHODS, ROWS
from collm.methods.returns import episode_return
from collm.pipeline.targets import result_names

SAMPLE_KEYS = ("domain", "method", "seed", "task", "sample", "reward", "tokens")
CURVE_KEYS = ("event", "iteration", "env_step", "samples", "reward")
CURVE_EXTRAS = ("return", "episodes")  # of runs that keep them
PAID = ("discount", "reward_scale", "reward_shift", "reward")  # of `rollout`, in the order of `episode_return`
CURVE_EVENTS = ("rollout", "evaluation")
CUTS = ("cut_prompts", "cut_responses")
LISTED = 12  # missing files listed one by one in a message; the rest are counted


@dataclass(frozen=True)
class Run:
    """One cell of the experiment: a method, trained or not, with one seed in one domain."""

    domain: str
    method: str
    seed: int
    folder: Path

    @property
    def key(self) -> tuple[str, str, int]:
        """Domain, method and seed, the index of `Results.records`."""
        return self.domain, self.method, self.seed

    @property
    def trained(self) -> bool:
        """Whether the run has learning curves: a method of reinforcement learning."""
        return self.method in METHODS

    @property
    def files(self) -> list[Path]:
        """The files that tables and figures read."""
        return [self.folder / name for name in result_names(self.method)]


@dataclass(frozen=True)
class Results:
    """Everything that tables and figures need.

    samples: one row a sample: domain, method, seed, task, sample, reward (raw, last turn), tokens (per agent
        and turn), `metric.<name>` and `part.<name>` (NaN where another domain has no such column), and counts
        over turns and agents: `prompts`, `cut_prompts` (to fit the model), `cut_responses` (had not ended); also
        `turns` (played), `return` (as training counts it, where the record says how) and of prose `text.<name>`.
    curves: one row a rollout or evaluation of a trained run: domain, method, seed, event, iteration, env_step
        (joint actions whose reward was evaluated), samples, reward (mean, raw), return and number of episodes (NaN
        where a run does not say).
    critic_cuts: by the same key the share of cut ones among the texts that the critics of a run have read.
    records: evaluation.json by (domain, method, seed); folders: where the run is; manifests: by domain.
    missing: files that should be there and are not; empty unless the caller asked for partial results.
    """

    samples: pd.DataFrame
    curves: pd.DataFrame
    critic_cuts: Mapping[tuple[str, str, int], float]
    records: Mapping[tuple[str, str, int], Mapping[str, Any]]
    manifests: Mapping[str, Mapping[str, Any]]
    folders: Mapping[tuple[str, str, int], Path]
    missing: tuple[Path, ...]

    def domains(self) -> list[str]:
        """Domains that have samples, in the order of the configuration."""
        return list(dict.fromkeys(self.samples["domain"]))

    def methods(self, domain: str) -> list[str]:
        """Methods of a domain that have samples, in the order of the tables."""
        present = set(self.samples.loc[self.samples["domain"] == domain, "method"])
        return [row for row in ROWS if row in present]

    def several_turns(self, domain: str) -> bool:
        """Whether an evaluated episode of a domain has more than one turn, so that returns are more than rewards."""
        if self.samples.empty:
            return False
        return bool((self.samples.loc[self.samples["domain"] == domain, "turns"] > 1).any())

    def of(self, domain: str, method: str) -> pd.DataFrame:
        """Samples of one method in one domain."""
        return self.samples[(self.samples["domain"] == domain) & (self.samples["method"] == method)]


def load(
    settings: Mapping[str, Any],
    results: Path,
    data: Path | Mapping[str, Path],
    partial: bool = False,
    domains: Sequence[str] | None = None,
) -> Results:
    """Everything that a merged configuration asks for; stale folders and runs left out are named on stderr.

    Args:
        data: as in `collect`.
        domains: show these alone, in this order; None shows all of the configuration.

    Raises:
        DataError: as `collect` does.
    """
    chosen = settings["domains"] if domains is None else domains
    for folder in unused_runs(expected_runs(settings, results), results):
        if domains is None or folder.parts[-3] in chosen:  # a benchmark that is not shown now has a report of its own
            print(f"not shown, the configuration does not ask for it: {folder}", file=sys.stderr)
    runs = expected_runs({**settings, "domains": chosen}, results)
    loaded = collect(runs, data, partial)
    for path in loaded.missing:
        print(f"not there, its run is left out: {path}", file=sys.stderr)
    return loaded


def expected_runs(settings: Mapping[str, Any], results: Path) -> list[Run]:
    """Runs that a merged configuration asks for, in the order of the tables."""
    runs = []
    for domain in settings["domains"]:
        present = rows(settings, domain)
        for method in [row for row in ROWS if row in present]:
            for seed in settings["seeds"]:
                folder = Path(results) / domain / method / f"seed{seed}"
                runs.append(Run(domain, method, int(seed), folder))
    return runs


def unused_runs(runs: Iterable[Run], results: Path) -> list[Path]:
    """Folders of evaluated runs below `results` that the configuration does not ask for."""
    evaluated = {path.parent for path in Path(results).glob("*/*/seed*/samples.jsonl")}
    return sorted(evaluated - {run.folder for run in runs})


def collect(runs: Iterable[Run], data: Path | Mapping[str, Path], partial: bool = False) -> Results:
    """Read the files of `runs` and the manifests of their domains.

    Args:
        data: folder of all domains' data, or the folder of each by name.
        partial: go on with what is there; the files that are not are listed in `Results.missing`.

    Raises:
        DataError: files are missing (all are named), nothing at all is there, or a file is empty or
        malformed.
    """
    runs = list(runs)
    names = dict.fromkeys(run.domain for run in runs)
    folders = data if isinstance(data, Mapping) else {name: Path(data) / name for name in names}
    manifests = {name: folders[name] / "manifest.json" for name in names}
    needed = [*(path for run in runs for path in run.files), *manifests.values()]
    missing = tuple(path for path in needed if not path.is_file())
    if missing and not partial:
        raise DataError(_missing_message(missing))
    complete = [run for run in runs if not {*run.files, manifests[run.domain]} & set(missing)]
    if not complete:
        raise DataError(f"no complete run to show; {_missing_message(missing)}")
    curves = [curve_frame(run) for run in complete if run.trained]
    records = {run.key: read_json(run.folder / "evaluation.json") for run in complete}
    return Results(
        samples=pd.concat([sample_frame(run, _paid(records, run)) for run in complete], ignore_index=True),
        curves=pd.concat(curves, ignore_index=True) if curves else _empty_curves(),
        critic_cuts={run.key: critic_cuts(run) for run in complete if run.trained},
        records=records,
        manifests={run.domain: read_json(manifests[run.domain]) for run in complete},
        folders={run.key: run.folder for run in complete},
        missing=missing,
    )


def _paid(records: Mapping[tuple[str, str, int], Mapping[str, Any]], run: Run) -> tuple[Any, ...] | None:
    """How the turns of a run's episodes are paid: of a baseline as the domain's trained methods are; None: not said.

    What a baseline was evaluated with may be older: nothing of it depends on the discount.
    """
    trained = [key for key in records if key[0] == run.domain and key[1] in METHODS and not ROWS[key[1]].single]
    key = run.key if run.trained or not trained else trained[0]
    rollout = records[key]["config"].get("rollout", {})
    return tuple(rollout[name] for name in PAID) if set(PAID) <= set(rollout) else None


def sample_frame(run: Run, paid: tuple[Any, ...] | None = None) -> pd.DataFrame:
    """Samples of one run as a frame (columns of `Results.samples`); texts and worlds are left in the file.

    `paid` holds the values of `PAID`, from which returns follow; None leaves them out.

    Raises DataError naming file and line if a field is missing or the line belongs to another run.
    """
    path = run.folder / "samples.jsonl"
    rows = []
    for number, row in enumerate(_lines(path), start=1):
        try:
            if (row["domain"], row["method"], row["seed"]) != run.key:
                raise DataError(
                    f"{path}:{number}: belongs to {row['domain']}/{row['method']}/seed{row['seed']}; "
                    "remove the file and evaluate again"
                )
            flat = {key: row[key] for key in SAMPLE_KEYS}
            flat |= {f"metric.{name}": value for name, value in row["metrics"].items()}
            flat |= {f"part.{name}": value for name, value in row["turns"][-1]["parts"].items()}
            flat |= {f"text.{name}": value for name, value in row.get("text_quality", {}).items()}
            flat["turns"] = len(row["turns"])
            if paid is not None:
                flat["return"] = episode_return([turn["reward"] for turn in row["turns"]], *paid)
            flat["prompts"] = sum(len(turn["responses"]) for turn in row["turns"])
            flat |= {cut: sum(sum(turn[cut]) for turn in row["turns"]) for cut in CUTS}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:{number}: not a sample line ({error!r}); evaluate again") from error
        rows.append(flat)
    return pd.DataFrame(rows)


def curve_frame(run: Run) -> pd.DataFrame:
    """Rollouts and evaluations of one training run as a frame (columns of `Results.curves`)."""
    path = run.folder / "metrics.jsonl"
    rows = []
    for number, row in enumerate(_lines(path), start=1):
        if row.get("event") not in CURVE_EVENTS:
            continue
        try:
            columns = {key: row[key] for key in CURVE_KEYS} | {key: row.get(key) for key in CURVE_EXTRAS}
        except KeyError as error:
            raise DataError(f"{path}:{number}: {row['event']} without {error}; train again") from error
        rows.append({"domain": run.domain, "method": run.method, "seed": run.seed, **columns})
    if not rows:
        raise DataError(f"{path} holds neither a rollout nor an evaluation; train again")
    return pd.DataFrame(rows, columns=_empty_curves().columns).astype(dict.fromkeys(CURVE_EXTRAS, float))


def critic_cuts(run: Run) -> float:
    """The mean over a run's updates and critics of the share of texts that were cut; 0 without critics."""
    path = run.folder / "metrics.jsonl"
    updates = [row for row in _lines(path) if row.get("event") == "update"]
    shares = [share for row in updates for name, share in row.items() if name.startswith("cut_texts/")]
    return sum(shares) / len(shares) if shares else 0.0


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object; DataError names the file if it is malformed."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error.msg}, line {error.lineno}); make it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object; make it again")
    return value


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(path)
    if not rows:
        raise DataError(f"{path} is empty; run the stage that writes it again")
    return rows


def _empty_curves() -> pd.DataFrame:
    return pd.DataFrame(columns=["domain", "method", "seed", *CURVE_KEYS, *CURVE_EXTRAS])


def _missing_message(missing: tuple[Path, ...]) -> str:
    names = ", ".join(str(path) for path in missing[:LISTED])
    more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    return f"not there: {names}{more}; run `snakemake --cores all`, or pass --partial to show what there is"
