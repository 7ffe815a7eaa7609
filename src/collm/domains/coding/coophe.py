"""CoopHumanEval: problems that two functions solve together (protocol and rewards: `collm.domains.coding.base`).

Slices of hub and folder are the paper's (C.1): rows 0 to 65 train, 66 to 81 test. The first 16 rows are functions of
HumanEval. By default they never train a model (`humaneval_functions: drop`), so that whatever is trained here may be
evaluated on HumanEval too; the manifest lists them. The paper trains on them: `keep`. They may always be tested on.
"""

from __future__ import annotations

from pathlib import Path

from collm.common.errors import DataError
from collm.domains import readers
from collm.domains.base import RawRow, Task
from collm.domains.coding.base import ShippedProblems
from collm.domains.options import Option

HUMANEVAL_FUNCTIONS = frozenset(
    ("x_or_y", "will_it_fly", "valid_date", "unique_digits", "unique", "truncate_number", "simplify", "same_chars")
    + ("right_angle_triangle", "prime_length", "prime_fib", "largest_prime_factor", "is_multiply_prime", "is_happy")
    + ("skjkasdkd", "factorize")
)
CHOICES = ("drop", "keep")


class CoopHe(ShippedProblems):
    """One agent writes a helper function, the other the function that is tested.

    It has the option `humaneval_functions` beside those of all coding sets.
    """

    name = "coophe"
    title = "CoopHE"
    licence = "CoopHumanEval Apache-2.0; embedded and generated problems written for this project (MIT)"
    generated_label = "generated problems, not CoopHumanEval"
    hub = ("OpenMLRL/CoopHumanEval", None)
    public_slices = ("test[0:66]", "test[66:82]")
    declared_options = (
        *ShippedProblems.declared_options,
        Option("humaneval_functions", "drop", "Whether functions of HumanEval train (paper: keep).", choices=CHOICES),
    )

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/coophumaneval/test.jsonl."""
        path = Path(folder) / "coophumaneval" / "test.jsonl"
        if not path.is_file():
            raise DataError(f"no data for coophe in {folder}; looked for {path}. Set data.path to the right folder")
        return {"test": readers.read_rows(path)}

    def withheld(self, task: Task) -> str | None:
        """Functions of HumanEval are not trained on, unless the options say so."""
        if self.options["humaneval_functions"] == "keep" or task.fields["entry_point"] not in HUMANEVAL_FUNCTIONS:
            return None
        return (
            f"{task.fields['entry_point']} is a function of HumanEval: a model trained on it could not be evaluated "
            "there (humaneval_functions: keep trains on it)"
        )
