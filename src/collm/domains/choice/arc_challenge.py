"""ARC-Challenge: school science with mostly four options (protocol: `collm.domains.choice.protocol`).

Default slices: the first 1,000 training rows train and the first 200 test rows test, of the hub and of a folder alike.
Labels may be A-E or 1-5; options are labelled by position. Embedded rows are written (`arc_challenge.jsonl`) or
generated (`arc_questions`), as `written` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collm.domains import readers
from collm.domains.base import RawRow
from collm.domains.choice import arc_questions, written
from collm.domains.choice.protocol import ReasoningDomain

_FILES = {
    "train": ("arc_challenge/train.jsonl",),
    "validation": ("arc_challenge/validation.jsonl", "arc_challenge/validation_294.jsonl"),
    "test": ("arc_challenge/test.jsonl",),
}
_FIELDS = ("id", "question", "choices", "answerKey")


class ArcChallenge(ReasoningDomain):
    """A solver and a checker answer the same science question; accuracy is that of their joint answer."""

    name = "arc_challenge"
    title = "ARC-Challenge"
    licence = "ARC CC BY-SA 4.0 (AI2); embedded questions written or generated for this project (MIT)"
    hub = ("allenai/ai2_arc", "ARC-Challenge")
    generated_label = "generated questions, not ARC-Challenge"
    declared_options = (*ReasoningDomain.declared_options, written.GENERATED)

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: see the module; of the embedded rows 3/4 and 1/4 (`written.slices`)."""
        public = ("train[0:1000]", "test[0:200]")
        return {"hub": public, "path": public, "embedded": written.slices(self.name, self.options["generated"])}

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The questions that ship with the project as split `train`, and those made from `seed` as `generated`."""
        return written.rows(self.name, arc_questions.FAMILIES, seed, self.options["generated"])

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/arc_challenge/train.jsonl, test.jsonl and validation.jsonl (or validation_294.jsonl)."""
        return readers.read_splits(self.name, folder, _FILES)

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Fields id, question, choices and answerKey of the hub rows."""
        return readers.keep_fields(rows, _FIELDS, f"{self.hub[0]}/{self.hub[1]}:{split}")
