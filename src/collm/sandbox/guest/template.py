"""The process that children are forked from: a fresh interpreter with the standard library's common modules.

It knows no program, no check and nothing of the trainer. It obeys one supervisor over a socket: F forks a child for
a role and gives it the descriptor that comes along, K kills every child and everything they started, and each is
answered when done. It ends when the supervisor's end closes; in a pid namespace it is process 1, so that nothing
below it outlives it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import signal
import socket
import sys

from . import candidate, checker, isolation, kernel, probe
from .frames import Channel

PRELOADED = (
    "abc array ast base64 binascii bisect calendar cmath collections.abc contextlib copy dataclasses datetime decimal "
    "difflib enum fractions functools hashlib heapq inspect io itertools json keyword locale math numbers operator "
    "pprint queue random re statistics string struct tempfile textwrap threading time traceback types typing "
    "unicodedata uuid warnings weakref zlib"
).split()
ROLES = {"candidate": candidate.serve, "checker": checker.serve, "probe": probe.serve}
LONGEST = 1 << 16


def main(control_fd: int) -> None:
    """Build the walls that children share, say so, and serve."""
    control = Channel(socket.socket(fileno=control_fd), LONGEST)
    _, body = control.receive()
    settings = json.loads(body)
    for name in PRELOADED:
        importlib.import_module(name)
    layers, as_root = frozenset(settings["layers"]), os.geteuid() == 0
    walls = isolation.Walls(layers, settings["limits"], as_root)
    try:
        isolation.enter_namespaces(layers, as_root)
        own_pid_namespace = _become_first(layers)
        if "mount" in layers:
            walls.folder = isolation.build_root()
        walls.prepare()
        isolation.limit_children(walls)
    except OSError as error:
        control.send(b"N", str(error).encode("utf-8", "replace"))
        return
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0, what="not dumpable")
    _forget_paths()
    os.environ.clear()
    os.environ.update({"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"})
    _tell_folder(walls.folder)
    sys.argv[:] = ["program"]
    gc.collect()
    gc.freeze()
    control.send(b"Y")
    serve(control, walls, own_pid_namespace)


def _become_first(layers: frozenset[str]) -> int:
    """Go on as process 1 of the new pid namespace (not outside); a descriptor of the namespace, -1 without."""
    if "pid" not in layers:
        return -1
    first = os.fork()
    if first != 0:
        os.closerange(3, 4096)
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def _forget_paths() -> None:
    """Nothing of this package can be imported by name in a child."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]
    sys.path_importer_cache.clear()


def _tell_folder(folder: str) -> None:
    os.environ.update({"HOME": folder, "TMPDIR": folder})


def serve(control: Channel, walls: isolation.Walls, own_pid_namespace: int) -> None:
    """Fork and kill as told, until the supervisor is gone."""
    children: list[tuple[int, str]] = []
    while True:
        descriptors, order = _receive(control)
        if order is None:
            break
        ends: list[int] = []
        if order["do"] == "kill":
            ends = _kill([child for child in children if order["role"] in (None, child[1])], children)
        else:
            child = _fork(walls, own_pid_namespace, descriptors[0], order)
            children.append((child, order["role"]))
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(b"Y", json.dumps(ends).encode("ascii"))
    _kill(list(children), children)


def _receive(control: Channel) -> tuple[list[int], dict | None]:
    """One order with the descriptors that came along; None at the end."""
    data, descriptors, _, _ = socket.recv_fds(control.end, LONGEST, 1)
    return descriptors, json.loads(data) if data else None


def _fork(walls: isolation.Walls, own_pid_namespace: int, descriptor: int, order: dict) -> int:
    """A new child of a role; its process id."""
    if own_pid_namespace >= 0:
        kernel.setns(own_pid_namespace, kernel.CLONE_NEWPID)  # back home: unshare works from there only
        kernel.unshare(kernel.CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        try:
            _child(walls, descriptor, order)
        finally:
            os._exit(0)  # whatever happened: a child never returns into the loop of the template
    return child


def _child(walls: isolation.Walls, descriptor: int, order: dict) -> None:
    """What a child does, from the fork to its end."""
    writes = order["role"] != "checker"
    if order["folder"] is not None:
        walls.folder = order["folder"]
    os.dup2(descriptor, isolation.CHANNEL_FD)
    channel = Channel(socket.socket(fileno=isolation.CHANNEL_FD), walls.limits["value_bytes"])
    try:
        isolation.close_in(walls, writes)
    except OSError as error:
        channel.send(b"!", str(error).encode("utf-8", "replace"))
        return
    if order["folder"] is not None:
        _tell_folder(walls.folder)
    random.seed(0)  # forking has seeded it from the clock
    ROLES[order["role"]](channel)


def _kill(some: list[tuple[int, str]], children: list[tuple[int, str]]) -> list[int]:
    """End children with their process groups (and pid namespaces), collect them; how they ended.

    Exit statuses are 0 or more, signals negative, -9 being most often our own.
    """
    ends = []
    for entry in some:
        for end in (os.killpg, os.kill):
            try:
                end(entry[0], signal.SIGKILL)
            except ProcessLookupError:  # it has not yet made its group
                continue
        _, status = os.waitpid(entry[0], 0)
        ends.append(os.waitstatus_to_exitcode(status))
        children.remove(entry)
    return ends
