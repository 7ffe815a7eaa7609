"""The benchmarks that dvc.yaml names, made from a configuration.

python -m collm.pipeline.dvc_lists [FILE ...]      after config/config.yaml; rewrites the two lists of dvc.yaml
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from collm.common import cli, shipped
from collm.common.errors import ConfigError
from collm.common.files import write_atomic
from collm.config.load import load_config

FILE = Path("dvc.yaml")
_MATRIX = re.compile(r"(?m)(^ +domain:\n)(?: +- \w+\n)+")
_RESULTS = re.compile(r"(?m)(?:^ +- results/\w+\n)+")


def with_domains(text: str, domains: Sequence[str]) -> str:
    """dvc.yaml with these benchmarks in its matrix and in what the report depends on; all else stays.

    Raises:
        ConfigError: one of the lists is not there once.
    """
    for pattern, what in ((_MATRIX, "matrix of domain"), (_RESULTS, "dependencies results/NAME")):
        if len(pattern.findall(text)) != 1:
            raise ConfigError(f"{FILE}: the {what} is not there once; take the file as it ships")
    matrix = "".join(f"        - {name}\n" for name in domains)
    results = "".join(f"      - results/{name}\n" for name in domains)
    text = _MATRIX.sub(lambda match: match[1] + matrix, text)
    return _RESULTS.sub(lambda match: results, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite dvc.yaml in the working directory; returns the exit status."""
    files: list[str | Path] = [shipped.config_file(), *(sys.argv[1:] if argv is None else argv)]
    domains = load_config(files)["domains"]
    if not FILE.is_file():
        raise ConfigError(f"there is no {FILE} here; call this in the root of the project")
    write_atomic(FILE, with_domains(FILE.read_text(encoding="utf-8"), domains))
    print(f"{FILE}: {', '.join(domains)}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
