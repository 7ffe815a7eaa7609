"""One sandbox per process: started once, told once, gone with the process, not shared with forked children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import collm.sandbox.pool as pool
from collm.common.errors import ConfigError
from collm.sandbox import Program, SandboxError, shared

SOURCE = Path(pool.__file__).parents[2]
GOOD = Program("def f(x):\n    return x", ("assert candidate(1) == 1",), "f")


@pytest.fixture(autouse=True)
def alone():
    """Each test begins and ends without a running sandbox."""
    shared.stop()
    yield
    shared.stop()


def gone(pid):
    """Whether a process ends within a few seconds."""
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def test_it_is_started_once_and_says_so(capfd):
    first = shared.start()
    assert shared.start() is first
    assert [verdict.passed for verdict in shared.run([GOOD, GOOD])] == [1, 1]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("sandbox: files ") and "layers:" in lines[0]


def test_it_starts_by_itself_and_not_for_nothing():
    assert shared.run([]) == []
    assert shared._running is None
    assert shared.run([GOOD])[0].all_passed
    assert shared._running is not None


def test_stopping_leaves_no_process():
    pids = [worker.process.pid for worker in shared.start().workers]
    shared.stop()
    assert all(gone(pid) for pid in pids)
    assert shared.run([GOOD])[0].all_passed  # a new one


def test_after_an_interrupt_it_is_started_anew(monkeypatch):
    sandbox = shared.start()
    monkeypatch.setattr(sandbox, "_judge", lambda place, program: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        shared.run([GOOD])
    assert shared.run([GOOD])[0].all_passed
    assert shared._running is not sandbox


def test_a_forked_child_has_one_of_its_own_and_leaves_the_parents_alone():
    workers = shared.start().workers
    pids = [worker.process.pid for worker in workers]
    child = os.fork()
    if child == 0:
        good = shared._running is None and shared.run([GOOD])[0].all_passed
        shared.stop()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared.run([GOOD])[0].all_passed
    assert [worker.process.pid for worker in shared._running.workers] == pids


def test_a_child_that_lives_on_does_not_keep_the_parents_workers():
    pids = [worker.process.pid for worker in shared.start().workers]
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        shared.stop()
        assert all(gone(pid) for pid in pids)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "os.kill(os.getpid(), 9)"])
def test_workers_end_with_their_process(end):
    script = (
        "import os\nfrom collm.sandbox import shared\n"
        f"print(*[worker.process.pid for worker in shared.start().workers], flush=True)\n{end}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    pids = result.stdout.split()
    assert pids and all(gone(pid) for pid in pids), result.stderr


def test_policies(monkeypatch):
    with pytest.raises(ConfigError, match="'maybe' is unknown; allowed are refuse, allow_weak"):
        shared.start("maybe")
    original = pool.Sandbox.__init__
    every = ("user", "mount", "pid", "net", "ipc", "uts", "landlock", "seccomp")
    monkeypatch.setattr(pool.Sandbox, "__init__", lambda self, **options: original(self, **options, without=every))
    with pytest.raises(SandboxError, match="sandbox: allow_weak"):
        shared.start()
    assert shared._running is None
    shared.start("allow_weak")
    assert shared.run([GOOD])[0].all_passed
