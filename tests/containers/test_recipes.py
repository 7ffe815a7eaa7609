"""The container recipes name what is there, and what they copy is enough for the workflow and the command.

No image is built here; what the recipes run at their end is run on a folder of the files that they copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT
from support.workflow import call, copy_of_repository

DOCKER = (ROOT / "containers/Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "containers/collm.def").read_text(encoding="utf-8")
COPIED = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKER, re.M) for name in line.split()}
FILES = APPTAINER.split("%files\n")[1].split("\n\n")[0]


def test_both_copy_the_same_and_all_of_it_is_there():
    assert dict(line.split() for line in FILES.splitlines()) == {name: f"/opt/collm/{name}" for name in COPIED}
    assert [name for name in COPIED if not (ROOT / name).exists()] == []


def test_both_start_from_the_same_base_and_name_no_other_host():
    base = "python:3.11-slim"
    assert re.findall(r"^FROM (\S+)$", DOCKER, re.M) == re.findall(r"^From: (\S+)$", APPTAINER, re.M) == [base]
    assert not re.findall(r"\w+://", DOCKER + APPTAINER)


def test_torch_is_the_one_that_results_were_made_with():
    for recipe in (DOCKER, APPTAINER):
        assert "\"$(grep '^torch==' requirements.txt)\"" in recipe and "--requirement requirements.txt" in recipe
    assert len(re.findall(r"^torch==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)) == 1


@pytest.mark.workflow
def test_what_is_copied_plans_the_workflow_and_answers_the_command(tmp_path):
    whole, image = tmp_path / "clone", tmp_path / "image"
    copy_of_repository(whole)
    image.mkdir()
    for name in COPIED:
        source = whole / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, image / name)
    work = tmp_path / "work"
    work.mkdir()
    assert "tldr" in call(work, "snakemake", "--snakefile", str(image / "Snakefile"), "--directory", ".", "--dry-run")
    environment = {**os.environ, "PYTHONPATH": str(image / "src")}
    command = [sys.executable, "-m", "collm", "--help"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=True)
    assert "export" in done.stdout
    assert [path.name for path in Path(work).iterdir()] == [".snakemake"]
