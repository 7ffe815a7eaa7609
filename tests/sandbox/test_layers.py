"""Walls: what is on here, that each combination which claims to protect does, and refusal where none does."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SHORT
from hostile import INTRUSIONS
from processes import alive, below_workers, descendants

import collm
from collm.sandbox import Program, Sandbox, SandboxError, layers
from collm.sandbox.guest import folders, kernel, seccomp

SPACES = ("user", "mount", "pid", "net", "ipc", "uts")
PATIENT = 30.0


def test_layers_say_what_is_on(sandbox):
    found = layers()
    assert found == sandbox.layers
    assert set(found.protections) == {"files", "network", "processes"} and all(found.protections.values())
    line = found.line()
    assert line.startswith("sandbox: files isolated, network isolated") and all(name in line for name in found.names)


@pytest.mark.parametrize("without", [("landlock",), ("seccomp",), ("mount",), SPACES], ids="-".join)
def test_intrusions_fail_with_fewer_layers_too(without, victim, places):
    """Each layer alone is enough for what it protects; without seccomp, children may be started, and end."""
    spared = {"leave_child", "leave_daemon", "new_session", "fork_bomb"} if "seccomp" in without else set()
    if "seccomp" in without:  # harmless inside namespaces of one's own
        spared |= {"kill_everything", "listen", "abstract_socket", "netlink", "shared_memory", "touch_times"}
        spared |= {"io_uring", "new_namespaces"}
    names = [name for name in INTRUSIONS if name not in spared]
    with Sandbox(limits=SHORT, without=without, allow_weak=without == SPACES) as running:
        verdicts = running.run([Program(victim.fill(INTRUSIONS[n]), ("assert f(1) == 2",), "f") for n in names])
        honest = Program("def f(x):\n    open('a', 'w').close()\n    return 2", ("assert f(1) == 2",), "f", "", PATIENT)
        assert running.run([honest])[0].all_passed
        assert len(below_workers(running)) <= 3 * len(running.workers)
    assert [name for name, verdict in zip(names, verdicts, strict=True) if verdict.all_passed] == []
    assert victim.damage() == []
    assert os.listdir(places[0]) == []


def test_refuses_without_isolation(places):
    holes = {"network": ("net", "seccomp"), "files": ("mount", "landlock"), "processes": ("pid", "seccomp")}
    for what, without in holes.items():
        with pytest.raises(SandboxError, match=f"{what}.*allow_weak"):
            Sandbox(workers=1, without=without).__enter__()
        assert not layers(without).protections[what]
    with Sandbox(workers=1, without=("net", "seccomp"), allow_weak=True) as running:
        assert running.run([Program("def f(x): return x", ("assert f(1) == 1",), "f", "", PATIENT)])[0].all_passed
        assert "network NOT ISOLATED" in running.layers.line()


def test_nothing_stays_when_it_is_closed(places):
    with Sandbox(limits=SHORT) as running:
        pids = [*below_workers(running), *(worker.process.pid for worker in running.workers)]
        assert len(pids) >= 6 or "pid" not in running.layers.names
    assert not [pid for pid in pids if alive(pid)] and os.listdir(places[0]) == []


TRAINER = """
import os, sys, threading
from collm.sandbox import Program, Sandbox
sandbox = Sandbox(workers=2).__enter__()
threading.Thread(target=sandbox.run, args=([Program("def f(x):\\n    while True: pass", ("f(1)",), "f")] * 2,)).start()
print("running", flush=True)
sys.stdin.read()
"""


def test_nothing_stays_when_the_trainer_is_killed(places):
    environment = {**os.environ, "PYTHONPATH": str(Path(collm.__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER], env=environment, **pipes)
    assert trainer.stdout.readline() == b"running\n"
    time.sleep(0.5)
    pids = descendants(trainer.pid)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    trainer.stdin.close()
    end = time.monotonic() + PATIENT
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
    assert os.listdir(places[0]) == []


def test_a_lost_supervisor_is_replaced(places):
    with Sandbox(limits=SHORT, workers=1) as running:
        running.workers[0].process.kill()
        verdict = running.run([Program("def f(x): return x", ("assert f(1) == 1",), "f", "", PATIENT)])[0]
        assert verdict.all_passed


def test_folders_of_any_depth_are_removed(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    (top / "0.moved").mkdir()
    here = os.getcwd()
    os.chdir(top)
    try:
        for _ in range(600):
            os.mkdir("d")
            os.symlink(tmp_path, "link")
            Path("file").touch()
            os.chdir("d")
    finally:
        os.chdir(here)
    (top / "d" / "d").chmod(0)
    (tmp_path / "kept").touch()
    folders.remove_tree(str(top), keep_top=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "top"] and not list(top.iterdir())


def decide(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """What a filter answers, by a small interpreter of classic BPF."""
    words = [struct.unpack("<HBBI", code[place : place + 8]) for place in range(0, len(code), 8)]
    values = {0: number, 4: arch, **{16 + 8 * place: value for place, value in enumerate((*arguments, 0, 0, 0))}}
    place = accumulator = 0
    while True:
        operation, then, otherwise, operand = words[place]
        place += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            accumulator = values[operand]
        elif operation == 0x05:
            place += operand
        else:
            tests = {0x15: accumulator == operand, 0x45: accumulator & operand, 0x35: accumulator >= operand}
            place += then if tests[operation] else otherwise


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_allows_what_is_listed_and_nothing_else(machine, monkeypatch):
    monkeypatch.setattr(kernel, "MACHINE", machine)
    arch, plain, special = seccomp._TABLES[machine]
    code, allow, refuse = seccomp.program(7), 0x7FFF0000, 0x00050001
    listed, judged = set(seccomp._numbers(plain).values()), seccomp._numbers(special)
    for number in range(600):
        if number not in judged.values():
            assert decide(code, arch, number) == (allow if number in listed else refuse), number
    cases = [
        ("clone", (0x10000,), (17,)),
        ("kill", (7,), (8,)),
        ("kill", (7,), (0xFFFFFFFF,)),
        ("tgkill", (7, 7), (1, 7)),
        ("ioctl", (0, 0x5401), (0, 0x5412)),
        ("prlimit64", (0,), (1,)),
        ("socketpair", (1,), (2,)),
    ]
    for name, fine, not_fine in cases:
        assert decide(code, arch, judged[name], *fine) == allow
        assert decide(code, arch, judged[name], *not_fine) == refuse
    assert decide(code, arch, judged["clone3"]) == 0x00050000 | 38
    assert decide(code, arch ^ 1, 0) == decide(code, arch, 0x40000000) == 0x80000000
