"""The same suite as an ordinary user, when root runs it (an ordinary user runs it as such in the first place)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="started by an ordinary user: the whole suite has just run as one")
def test_hostile_programs_as_an_ordinary_user(folder):
    """Runs test_hostile.py in a process of user 65534; its start-up line goes to this test's output."""
    os.chown(folder, 65534, 65534)
    environment = {**os.environ, "HOME": folder, "TMPDIR": folder, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c"]
    command += [str(ROOT / "pyproject.toml"), f"--basetemp={folder}/pytest", str(HERE / "test_hostile.py")]
    places = [sys.base_prefix, sys.prefix, str(ROOT)]
    done = subprocess.run(
        [sys.executable, str(HERE / "as_user.py"), *places, "--", *command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=580,
    )
    print(done.stdout[-3000:], done.stderr[-3000:])
    assert done.returncode == 0, done.stdout[-3000:]
    assert "programs run as" in done.stdout and "started by root" not in done.stdout
