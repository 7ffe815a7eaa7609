"""ARC-Challenge: science questions of school tests with mostly four options (protocol: `collm.domains.reasoning`).

Default slices: the first 1,000 training rows train and the first 200 test rows test, of the hub and of a folder alike.
Labels may be A-E or 1-5; options are labelled by position.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collm import sources
from collm.domains.base import RawRow, embedded_path
from collm.domains.reasoning import ReasoningDomain
from collm.errors import DataError

_FILES = {
    "train": ("train.jsonl",),
    "validation": ("validation.jsonl", "validation_294.jsonl"),
    "test": ("test.jsonl",),
}
_FIELDS = ("id", "question", "choices", "answerKey")


@functools.cache
def _embedded_rows() -> tuple[RawRow, ...]:
    return tuple(sources.read_rows(embedded_path("arc_challenge.jsonl")))


class ArcChallenge(ReasoningDomain):
    """Agents 0 and 1 are solver and checker of one science question; accuracy of the joint answer."""

    name = "arc_challenge"
    licence = "ARC CC BY-SA 4.0 (AI2); embedded questions written for this project (MIT)"
    hub = ("allenai/ai2_arc", "ARC-Challenge")

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: see the module; of the embedded rows 3/4 and 1/4."""
        public = ("train[0:1000]", "test[0:200]")
        count = len(_embedded_rows())
        embedded = (f"train[0:{3 * count // 4}]", f"train[{3 * count // 4}:{count}]")
        return {"hub": public, "path": public, "embedded": embedded}

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The questions that ship with the project as split `train`; `seed` is not used."""
        return {"train": list(_embedded_rows())}

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/arc_challenge/train.jsonl, test.jsonl and validation.jsonl (or validation_294.jsonl)."""
        home = Path(folder) / self.name
        splits = {}
        for split, names in _FILES.items():
            path = next((home / name for name in names if (home / name).is_file()), None)
            if path is not None:
                splits[split] = sources.read_rows(path)
        if not splits:
            looked = ", ".join(str(home / name) for names in _FILES.values() for name in names)
            raise DataError(
                f"no data for {self.name} in {folder}; looked for {looked}. Set data.path to the right folder"
            )
        return splits

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Fields id, question, choices and answerKey of the hub rows."""
        origin = f"{self.hub[0]}/{self.hub[1]}:{split}"
        return [
            RawRow({name: row[name] for name in _FIELDS if name in row}, f"{origin}:{number}")
            for number, row in enumerate(rows, start=1)
        ]
