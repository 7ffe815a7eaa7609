"""Copies of the repository in which Snakemake is called, and what it planned there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.places import ROOT

DEFAULT, TINY = "config/config.yaml", "tests/workflow/tiny.yaml"
NOTHING = "Nothing to be done"
JOB = re.compile(r"^(?:local)?rule (\w+):\n((?: .*\n)+)", re.MULTILINE)
# Snakemake comes with Python's own folder on PATH, as after activating .venv.
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def copy_of_repository(folder: Path) -> Path:
    """All files that Git has or would take, as in a new clone."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def call(folder: Path, *arguments: str, status: int = 0) -> str:
    """Run a command in `folder`; returns what it printed."""
    done = subprocess.run(
        arguments, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == status, done.stdout[-6000:]
    return done.stdout


def snakemake(folder: Path, *arguments: str, overlays: tuple[str, ...] = (), status: int = 0) -> str:
    """Run Snakemake with the default configuration and overlays."""
    return call(folder, "snakemake", *arguments, "--configfile", DEFAULT, *overlays, status=status)


def log_of_last_run(folder: Path) -> str:
    """Snakemake's own log of the run that started last; dry runs leave none."""
    return max((folder / ".snakemake/log").iterdir()).read_text(encoding="utf-8")


def planned(output: str) -> list[tuple[str, str]]:
    """Jobs of a dry run, or of the log of a run, as (rule, wildcards)."""
    jobs = []
    for rule, body in JOB.findall(output):
        wildcards = re.search(r"wildcards: (.*)", body)
        jobs.append((rule, wildcards.group(1) if wildcards else ""))
    return jobs
