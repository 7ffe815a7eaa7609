"""One trainer per folder: the second is told who the first is, and a dead holder holds nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from collm.common.errors import CheckpointError
from collm.runs import lock
from collm.runs.lock import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from collm.common import cli
from collm.runs.lock import FolderLock

def main(argv):
    FolderLock(Path(argv[0]))
    print("held", flush=True)
    time.sleep(60)

sys.exit(cli.run(main, sys.argv[1:]))
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`/run."""
    environment = {**os.environ, "PYTHONPATH": "src"}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_process_is_told_who_holds_it_and_ends_with_2(tmp_path, holder):
    environment = {**os.environ, "PYTHONPATH": "src"}
    second = subprocess.run(
        [sys.executable, "-c", HOLD, tmp_path / "run"], env=environment, capture_output=True, text=True, timeout=50
    )
    assert second.returncode == 2 and second.stdout == ""
    (message,) = second.stderr.splitlines()
    for part in (
        f"{tmp_path}/run is being written by process {holder.pid} on ",
        sys.executable,
        " since 20",
        "stop it",
    ):
        assert part in message


def test_kill_nine_frees_it_at_once(tmp_path, holder):
    with pytest.raises(CheckpointError, match=f"process {holder.pid} "):
        FolderLock(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    FolderLock(tmp_path / "run").release()


def test_one_process_has_it_once(tmp_path):
    first = FolderLock(tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"process {os.getpid()} "):
        FolderLock(tmp_path / "run")
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []  # nothing is left
    FolderLock(tmp_path / "run").release()


def elsewhere(tmp_path, silence):
    """A lock that a process of another host took, whose last sign of life was `silence` seconds ago."""
    facts = {"host": "node7", "boot": "another", "pid": 1, "process_start": "5", "since": "2026-01-01", "command": "c"}
    path = tmp_path / ".run.lock"
    path.write_text(json.dumps(facts))
    os.utime(path, (time.time() - silence,) * 2)


def test_another_host_counts_as_long_as_it_gives_signs_of_life(tmp_path):
    elsewhere(tmp_path, silence=lock.SILENCE - 60)
    with pytest.raises(CheckpointError, match=r"process 1 on node7 \(c\) since 2026-01-01; .* free (59|60) seconds"):
        FolderLock(tmp_path / "run")
    elsewhere(tmp_path, silence=lock.SILENCE + 1)
    mine = FolderLock(tmp_path / "run")
    mine.confirm()
    mine.release()


def test_the_holder_gives_signs_of_life_and_notices_that_it_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    mine = FolderLock(tmp_path / "run")
    os.utime(mine.path, (0, 0))
    deadline = time.time() + 20
    while mine.path.stat().st_mtime < 1 and time.time() < deadline:
        time.sleep(0.01)
    assert mine.path.stat().st_mtime > 1
    mine.path.unlink()
    elsewhere(tmp_path, silence=0)  # what another host does after a long silence
    with pytest.raises(CheckpointError, match="taken over by another process"):
        mine.confirm()
    mine.release()
    assert mine.path.exists()  # it is the other's


@pytest.mark.parametrize("alive", [True, False])
def test_a_disk_without_locks_goes_by_the_process(tmp_path, monkeypatch, alive):
    def none(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", none)
    monkeypatch.setattr(lock, "SETTLE", 0.0)
    facts = lock._this_process()
    (tmp_path / ".run.lock").write_text(
        json.dumps({**facts, "process_start": facts["process_start"] if alive else "1"})
    )
    if alive:
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} "):
            FolderLock(tmp_path / "run")
    else:
        FolderLock(tmp_path / "run").release()
