"""A tracker that is not installed is refused before anything runs, wherever a run may start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.places import ROOT

import collm
from collm.common.errors import ConfigError
from collm.config import trackers

WORDS = "report.tracker is wandb, and the package wandb is not installed; install it with: pip install wandb, or set"
MISSING = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "wandb" else found(name, package)
"""


@pytest.fixture
def without_wandb(monkeypatch):
    found = trackers.importlib.util.find_spec
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None if name == "wandb" else found(name))


def test_what_is_there_is_taken(without_wandb):
    for name in ("none", "tensorboard"):
        trackers.check_tracker(name)
    with pytest.raises(ConfigError, match=WORDS):
        trackers.check_tracker("wandb")


def test_either_package_of_tensorboard_will_do(monkeypatch):
    for there in trackers.PACKAGES["tensorboard"]:
        monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name, there=there: name == there or None)
        trackers.check_tracker("tensorboard")


def test_python_and_the_command_make_nothing_first(without_wandb, tmp_path):
    with pytest.raises(ConfigError, match=WORDS):
        collm.train("tldr", "collm_cc", folder=tmp_path, report={"tracker": "wandb"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.workflow
def test_snakemake_refuses_it_when_it_reads_the_configuration(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    (tmp_path / "mine.yaml").write_text("report: {tracker: wandb}\n")
    files = ["--configfile", "config/config.yaml", str(tmp_path / "mine.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "tldr", *files, "--directory", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and WORDS in " ".join((done.stdout + done.stderr).split())
    assert not (tmp_path / "results").exists()
