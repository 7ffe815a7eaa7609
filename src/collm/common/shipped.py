"""Configuration files that ship with collm.

They stand once, in `config/` of the repository, where users edit them and Snakemake reads them; a wheel carries them
inside the package, as `collm/defaults` (setup.py).
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
DEFAULT = Path("config/config.yaml")  # in the folder where a command runs


def folder() -> Path:
    """Where the shipped files are: inside an installed package, or beside `src/` in a clone."""
    installed = PACKAGE / "defaults"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "config"


def config_file() -> Path:
    """The configuration that a command starts from: the one of the working folder, or else the shipped one."""
    return DEFAULT if DEFAULT.is_file() else folder() / DEFAULT.name
