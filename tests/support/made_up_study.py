"""Small files of a study as studies/reduce.py writes them, with numbers that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from collm.report.claims.study import COLUMNS, RUN

Key = tuple[str, str, str, str]  # options, domain, method, metric


def write_study(folder: Path, **files: Sequence[Mapping[str, Any]]) -> Path:
    """Files of `folder` from rows; columns that a row lacks are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        columns = [*COLUMNS[name], *(key for key in (rows[0] if rows else {}) if key not in COLUMNS[name])]
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{name}.csv", index=False)
    return folder


def score_rows(scores: Mapping[Key, Sequence[float]]) -> list[dict[str, Any]]:
    """Rows of scores.csv, one per seed from 0."""
    return [
        {**dict(zip(RUN, (*key[:3], seed), strict=True)), "metric": key[3], "value": value}
        for key, values in scores.items()
        for seed, value in enumerate(values)
    ]


def curve_rows(
    options: str, domain: str, method: str, curves: Sequence[Sequence[float]], step: float = 100.0
) -> list[dict[str, Any]]:
    """Rows of curves.csv: evaluations of every seed from 0, every `step` environment steps."""
    return [
        {
            **dict(zip(RUN, (options, domain, method, seed), strict=True)),
            "env_step": place * step,
            "samples": place * step,
            "reward": reward,
        }
        for seed, rewards in enumerate(curves)
        for place, reward in enumerate(rewards)
    ]
