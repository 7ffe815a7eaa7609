"""The small files of a study, docs/study/*.csv, as frames: all that verdicts are made from. `studies/reduce.py` writes
them.

A run is known by options (the set of settings that it ran with), domain, method and seed. One file may lack what
another one has, and a whole file may be missing: what was not run has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from collm.common.errors import DataError

RUN = ("options", "domain", "method", "seed")
COLUMNS = {
    # What ran: settings that a claim asks for, counts, and where a number can be traced to.
    "runs": (
        *RUN,
        *("turns", "generations", "agents", "paid", "tasks_per_rollout", "least_reward", "best_reward"),
        *("rollouts", "env_steps", "first_rollout", "updates", "tokens", "seconds"),
        *("commit", "device", "samples_sha256", "metrics_sha256"),
    ),
    # Final evaluation, mean over the test tasks; `seconds` is the response time.
    "scores": (*RUN, "metric", "value"),
    # The same by task: values in the order of the tasks' names, which `tasks` is a digest of.
    "tasks": (*RUN, "metric", "tasks", "values"),
    # Evaluations while training.
    "curves": (*RUN, "env_step", "samples", "reward"),
    # Numbers of health of the run, as `collm.report.health` names them.
    "health": (*RUN, "updates", "start_reward", "end_reward", "below_start", "explained_variance", "zero_advantages"),
    # Variance of the gradient from groups of K samples of one prompt (studies/variance_of_k.py).
    "variance": (*RUN, "generations", "variance", "draws"),
}
KEYS = {
    "runs": RUN,
    "scores": (*RUN, "metric"),
    "tasks": (*RUN, "metric"),
    "curves": (*RUN, "env_step"),
    "health": RUN,
    "variance": (*RUN, "generations"),
}


@dataclass(frozen=True)
class Study:
    """Frames by file, with the columns of `COLUMNS` (and more); empty where there is no file."""

    frames: Mapping[str, pd.DataFrame]

    @classmethod
    def read(cls, folder: Path) -> Study:
        """The files of a folder.

        Raises:
            DataError: there is no such folder; a file lacks a column, or has two lines for one run.
        """
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; name the one that studies/reduce.py wrote")
        return cls({name: _frame(folder / f"{name}.csv", name) for name in COLUMNS})

    def of(self, file: str, options: str, domain: str, method: str) -> pd.DataFrame:
        """Lines of one method on one benchmark."""
        frame = self.frames[file]
        chosen = (frame["options"] == options) & (frame["domain"] == domain) & (frame["method"] == method)
        return frame[chosen]

    def scores(self, options: str, domain: str, method: str, metric: str) -> dict[int, float]:
        """A metric of the final evaluation by seed."""
        frame = self.of("scores", options, domain, method)
        return _by_seed(frame[frame["metric"] == metric], "value")

    def numbers(self, column: str, options: str, domain: str, method: str) -> dict[int, float]:
        """A column of runs.csv by seed."""
        return _by_seed(self.of("runs", options, domain, method), column)

    def curves(self, options: str, domain: str, method: str) -> dict[int, np.ndarray]:
        """Evaluations while training by seed: [evaluations, 2], environment steps and reward."""
        frame = self.of("curves", options, domain, method)
        groups = frame.sort_values("env_step").groupby("seed")
        return {int(str(seed)): own[["env_step", "reward"]].to_numpy(dtype=float) for seed, own in groups}

    def task_scores(self, options: str, domain: str, method: str, metric: str) -> tuple[dict[int, np.ndarray], str]:
        """Scores of every test task by seed, [tasks], and the digest of the tasks' names; nothing if they differ."""
        frame = self.of("tasks", options, domain, method)
        frame = frame[frame["metric"] == metric]
        digests = set(frame["tasks"])
        if len(digests) != 1:
            return {}, ""
        pairs = zip(frame["seed"], frame["values"], strict=True)
        values = {int(seed): np.array([float(number) for number in str(text).split()]) for seed, text in pairs}
        return values, str(digests.pop())


def _by_seed(frame: pd.DataFrame, column: str) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(frame["seed"], frame[column], strict=True) if value == value}


def _frame(file: Path, name: str) -> pd.DataFrame:
    columns: Sequence[str] = COLUMNS[name]
    if not file.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        frame = pd.read_csv(file, dtype={"values": str, "tasks": str, "commit": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no table ({error}); write it again with studies/reduce.py") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise DataError(f"{file} has no column {missing[0]}; write it again with studies/reduce.py")
    keys = list(KEYS[name])
    twice = frame[frame.duplicated(keys)]
    if len(twice):
        place = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
        raise DataError(f"{file} has two lines for {place}; keep one of them")
    return frame
