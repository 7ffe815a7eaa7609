"""Subjects of MMLU: where their rows are, and how repeated questions are treated.

Default slices: the dev rows and the first 60 % of the test rows train, the other 40 % test, since there is no training
split. Some subjects repeat questions, at times with other options or in another order: every repetition within a split
is dropped and listed, so that no question can stand on both sides of the cut.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from collm.common.errors import UnusableRow
from collm.domains import readers
from collm.domains.base import RawRow, Task
from collm.domains.choice.protocol import ReasoningDomain
from collm.domains.choice.questions import Family, generate, same_words
from collm.domains.options import Option

SPLITS = ("dev", "validation", "test")
# At least four, which can be cut into 3/4 and 1/4.
GENERATED = Option("generated", 200, "Rows of the seeded generator (source embedded).", minimum=4)
_FIELDS = ("question", "choices", "answer")


class MmluDomain(ReasoningDomain):
    """A subject of cais/mmlu; a subclass gives `subject`, the number of its test rows, and embedded rows."""

    subject: ClassVar[str]
    test_rows: ClassVar[int]
    hub: tuple[str, str | None]

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: see the module; of the embedded rows `embedded_slices`."""
        cut = 6 * self.test_rows // 10
        public = (f"dev+test[0:{cut}]", f"test[{cut}:{self.test_rows}]")
        return {"hub": public, "path": public, "embedded": self.embedded_slices()}

    @abstractmethod
    def embedded_slices(self) -> tuple[str, str]:
        """Default (train, test) slices of the embedded rows."""

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/mmlu/<subject>_test.jsonl as split test, and dev and validation where they are there."""
        files = {split: (f"mmlu/{self.subject}_{split}.jsonl",) for split in SPLITS}
        splits = readers.read_splits(self.name, folder, files, needed="test")
        return {split: _marked(rows) for split, rows in splits.items()}

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Fields question, choices and answer of the hub rows."""
        return _marked(readers.keep_fields(rows, _FIELDS, f"{self.hub[0]}/{self.hub[1]}:{split}"))

    def task(self, row: RawRow, index: int) -> Task:
        """Check the row; UnusableRow if its question stands further up in its split."""
        task = super().task(row, index)
        if first := row.fields.get("repeats"):
            raise UnusableRow(f"{row.origin}: repeats the question of {first}")
        return task

    def key(self, task: Task) -> str:
        """The question alone: repetitions differ in their options."""
        return same_words(task.fields["question"])


class GeneratedSubject(MmluDomain):
    """A subject whose embedded rows are computed from a seed by families, `generated` many of `difficulty`."""

    declared_options = (
        *ReasoningDomain.declared_options,
        GENERATED,
        Option(
            "difficulty",
            "college",
            "Generated questions: college = as in the public set; small = for models made from scratch.",
            choices=("college", "small"),
        ),
    )
    families: ClassVar[Mapping[str, Sequence[Family]]]  # by difficulty

    def embedded_slices(self) -> tuple[str, str]:
        """3/4 of the generated rows and 1/4."""
        return readers.quarters("train", self.options["generated"])

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """Questions in turn from every family as split `train`; ConfigError if so many cannot be made."""
        families = self.families[self.options["difficulty"]]
        return {"train": generate(families, seed, self.options["generated"], self.name)}


def _marked(rows: Iterable[RawRow]) -> list[RawRow]:
    """The rows, each repetition with a field `repeats` that names the first row with its question."""
    first: dict[str, str] = {}
    marked = []
    for row in rows:
        question = row.fields.get("question")
        fields = {name: value for name, value in row.fields.items() if name != "repeats"}
        if isinstance(question, str):
            origin = first.setdefault(same_words(question), row.origin)
            if origin != row.origin:
                fields["repeats"] = origin
        marked.append(RawRow(fields, row.origin))
    return marked
