"""`collm defaults`: where the configuration files are that ship with collm, and copies of them to edit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from collm.common import cli, shipped
from collm.common.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, list or copy; returns the exit status."""
    parser = cli.Parser(description=__doc__)
    words = "copy them there; commands that run in FOLDER's parent take FOLDER/config.yaml if FOLDER is config"
    parser.add_argument("--to", type=Path, metavar="FOLDER", help=words)
    arguments = parser.parse_args(argv)
    files = sorted(path for path in shipped.folder().iterdir() if path.suffix in (".yaml", ".json"))
    if arguments.to is None:
        print(*files, sep="\n")
        return 0
    there = [file.name for file in files if (arguments.to / file.name).exists()]
    if there:
        raise ConfigError(f"{arguments.to} holds {there[0]} already; name a new folder, nothing was copied")
    arguments.to.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, arguments.to / file.name)
    print(f"{len(files)} files in {arguments.to}")
    return 0
