"""The configuration that travels with the jobs of a run: a file that is named by its content and never changes.

Two runs may share a folder and files of configuration may be edited while jobs wait in a queue, so a job reads neither
the user's files nor one place that the next run writes: its command names the snapshot of the run that it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError
from collm.common.files import write_json

FOLDER = Path("results/configs")
# Names the snapshot of a run to Snakemake's processes on other machines, which read the user's files once more.
VARIABLE = "COLLM_CONFIGURATION"
DIGITS = 16


def digest(config: Mapping[str, Any]) -> str:
    """Name of a merged configuration by its values; the order of keys does not matter, and 2.0 is 2."""
    text = json.dumps(_whole(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:DIGITS]


def path(config: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Where the snapshot of a merged configuration lies or will lie."""
    return folder / f"{digest(config)}.json"


def keep(config: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write the snapshot of a merged configuration, if it is not there, and make it the newest one."""
    file = path(config, folder)
    if file.is_file() and _read(file) == config:
        os.utime(file)
        return file
    return write_json(file, config)


def of_this_run(config: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Path and content of the snapshot that a job of Snakemake, started on its own, belongs to.

    Args:
        config: what the files named on its command line hold now; serves where the variable did not travel along.
    Raises:
        ConfigError: the snapshot is not there: the files changed since the run began.
    """
    file = Path(os.environ.get(VARIABLE) or path(config))
    if not file.is_file():
        raise ConfigError(
            f"{file} is not there: the configuration files changed since this run began, or its snapshot was deleted; "
            "start Snakemake again"
        )
    return file, _read(file)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
