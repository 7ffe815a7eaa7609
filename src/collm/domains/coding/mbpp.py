"""MBPP sanitized: short functions from a sentence and asserts (protocol and rewards: `collm.domains.coding.base`).

Profile `paper` builds prompt and tests from the set's own form (code, test_list), whose asserts stay as they are; a
row whose own code does not pass them is dropped and listed. Profile `released` reads the set that the released code
converted, with its faults; rows whose asserts no program can pass are dropped and listed too. The paper does not
report this set; slices are those of the released configurations (test rows 15 to 64 train, 0 to 14 test).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import DataError, RowError, UnusableRow
from collm.domains import readers
from collm.domains.base import RawRow, require_integer
from collm.domains.coding.base import ShippedProblems
from collm.domains.coding.generated_problems import NAME, Problem
from collm.domains.coding.rows import RELEASED_CORRUPTION, coding_fields, converted_badly, mbpp_fields
from collm.sandbox import Program, shared

FILES = {"paper": "sanitized-mbpp.json", "released": "mbpp_collab_test257.jsonl"}
HUBS: dict[str, tuple[str, str | None]] = {
    "paper": ("google-research-datasets/mbpp", "sanitized"),
    "released": ("OpenMLRL/MBPP", None),
}
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}  # by task_id
COLUMNS: dict[str, tuple[str, ...]] = {
    "paper": ("task_id", "prompt", "code", "test_imports", "test_list"),
    "released": ("task_id", "prompt", "test", "entry_point"),
}
REFERENCE_SECONDS = 8.0  # per test, for a row's own code: a busy machine must not cost a row


class Mbpp(ShippedProblems):
    """One agent writes a helper function, the other the function that is tested.

    Which form of the set is read depends on the profile.
    """

    name = "mbpp"
    title = "MBPP"
    licence = "MBPP CC BY 4.0 (Google Research); embedded and generated problems written for this project (MIT)"
    generated_label = "generated problems, not MBPP"
    public_slices = ("test[15:65]", "test[0:15]")

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self.hub = HUBS[profile]
        self.columns = COLUMNS[profile]

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/mbpp/sanitized-mbpp.json, cut into its splits by task_id; for `released` the converted test rows."""
        path = Path(folder) / self.name / FILES[self.profile]
        if not path.is_file():
            raise DataError(f"no data for mbpp in {folder}; looked for {path}. Set data.path to the right folder")
        rows = readers.read_rows(path)
        if self.profile == "released":
            return {"test": rows}
        numbers = [require_integer(row.fields, "task_id", 1, row.origin) for row in rows]
        return {
            split: [row for row, number in zip(rows, numbers, strict=True) if first <= number <= last]
            for split, (first, last) in SPLITS.items()
        }

    def generated_fields(self, problem: Problem) -> dict[str, Any]:
        """A generated problem in MBPP's own form: a sentence, code in one piece, asserts that name the function."""
        return {
            "prompt": f"Write a function to {problem.sentence[0].lower()}{problem.sentence[1:]}",
            "code": f"def {NAME}({problem.parameter}):\n{problem.solution}",
            "test_imports": [],
            "test_list": problem.asserts(NAME),
            "reference": {"aux": problem.aux, "main": problem.main},
        }

    def fields(self, row: RawRow) -> dict[str, Any]:
        """Fields of either form; UnusableRow if its tests cannot be passed."""
        if self.profile == "released" and "test_list" not in row.fields:
            fields = coding_fields(row.fields, row.origin)
            if converted_badly(fields["test"]):
                raise UnusableRow(f"{row.origin}: {RELEASED_CORRUPTION}")
            return fields
        fields = mbpp_fields(row.fields, row.origin, renamed=self.profile == "released")
        try:
            setup, checks = self._checks(fields)
        except RowError as error:
            raise RowError(f"{row.origin}: {error}") from error
        limit = max(self.check_seconds, REFERENCE_SECONDS)
        verdict = shared.run([Program(fields["solution"], checks, fields["entry_point"], setup, limit, limit)])[0]
        if not verdict.all_passed:
            errors = sorted({check.error for check in verdict.checks if check.error})
            raise UnusableRow(
                f"{row.origin}: its own code passes {verdict.passed} of {len(checks)} tests ({', '.join(errors)}), "
                "so they cannot be passed"
            )
        return fields
