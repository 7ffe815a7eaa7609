"""The process that decides: takes programs from the trainer, keeps the time, and reports what the checkers found.

It executes nothing and interprets nothing that a candidate sends: messages of candidates go on to the checker as they
are, within a size and a time limit. It alone talks to the trainer; it ends when the trainer's end closes.
Messages in: H {without, limits}, then P program. Messages out: H {layers, refused, escapes}, then V verdict or
E error text (the walls failed: nothing was run).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from json import dumps, loads
from typing import Any

from . import isolation, layers
from .folders import remove_tree
from .frames import Channel, Closed, Orphaned
from .judge import Judge, WallsFailed

LONGEST = 1 << 26
CONTROL_LONGEST = 1 << 16
PATIENCE = 60.0  # seconds for the template to answer; it is our own code and answers at once
FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8")  # no site packages, nothing of the working folder on the path
CODE = "import sys; sys.path.insert(0, sys.argv[1]); from guest import {0}; {0}.main(int(sys.argv[2]))"


class Unusable(Exception):
    """The template could not build its walls; says which call failed."""


class NotStarted(Exception):
    """No combination of layers works at all."""


def command(module: str, descriptor: int) -> list[str]:
    """How one of these modules is started as a program of its own, with a socket."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, *FLAGS, "-c", CODE.format(module), folder, str(descriptor)]


class Template:
    """The supervisor's side of one template process."""

    def __init__(self, names: list[str], limits: dict[str, Any], trainer: int) -> None:
        self.names, self.limits, self.trainer = names, limits, trainer
        self.folder = None if "mount" in names else tempfile.mkdtemp(prefix="sandbox-")
        if self.folder is not None:
            os.chmod(self.folder, 0o711)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(command("template", there.fileno()), pass_fds=[there.fileno()])
        there.close()
        self.control = Channel(here, CONTROL_LONGEST, watch=trainer)
        try:
            self.control.send(b"H", dumps({"layers": names, "limits": limits}).encode("ascii"))
            kind, body = self.control.receive(time.monotonic() + PATIENCE)
        except Closed:
            kind, body = b"N", b"the template ended"
        if kind != b"Y":
            self.close()
            raise Unusable(body.decode("utf-8", "replace"))
        below = children(self.process.pid)
        self.pid = below[0] if "pid" in names and below else self.process.pid  # the template proper, as seen here

    def waited(self) -> float:
        """Seconds that the present children have been ready to run without getting a processor; 0 if unknown."""
        return sum(map(queued, children(self.pid)))

    def fork(self, role: str) -> Channel:
        """A new child of a role."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.order({"do": "fork", "role": role, "folder": self.new_folder(role)}, [there.fileno()])
        there.close()
        return Channel(here, self.limits["value_bytes"], watch=self.trainer)

    def kill(self, role: str | None = None) -> list[int]:
        """End the children of a role (all) and everything they started, and wait; exit statuses, signals negative."""
        ends = self.order({"do": "kill", "role": role}, [])
        if self.folder is not None and role != "checker":
            remove_tree(self.folder, keep_top=True)
        return ends

    def close(self) -> None:
        """End the template and all its children."""
        self.control.close()
        self.process.wait()
        if self.folder is not None:
            remove_tree(self.folder)

    def order(self, order: dict[str, Any], descriptors: list[int]) -> list[int]:
        """Have the template do something and wait until it is done; its answer. Raises Closed, Late."""
        socket.send_fds(self.control.end, [dumps(order).encode("ascii")], descriptors)
        _, body = self.control.receive(time.monotonic() + PATIENCE)
        return loads(body)

    def new_folder(self, role: str) -> str | None:
        """A temporary folder on disk where a child cannot have one in memory."""
        if self.folder is None or role == "checker":
            return None
        folder = tempfile.mkdtemp(dir=self.folder)
        if os.geteuid() == 0:
            os.chown(folder, isolation.NOBODY, isolation.NOBODY)
        return folder


def children(pid: int) -> list[int]:
    """Child processes; none where the kernel does not say (CONFIG_PROC_CHILDREN) or the process is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(text) for text in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def queued(pid: int) -> float:
    """Seconds that a process has waited for a processor (CONFIG_SCHED_INFO); 0 if unknown."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) * 1e-9
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0


def main(trainer_fd: int) -> None:
    """Serve one trainer until its end closes."""
    trainer = Channel(socket.socket(fileno=trainer_fd), LONGEST)
    template = None
    try:
        _, body = trainer.receive()
        settings = loads(body)
        template, refused = start(settings, trainer_fd)
        report = {"layers": template.names, "refused": refused, "escapes": probed(template)}
        report["protections"] = layers.protections(template.names)
        trainer.send(b"H", dumps(report).encode("ascii"))
        judge = Judge(template, settings["limits"])
        while True:
            _, body = trainer.receive()
            trainer.send(*judged(judge, loads(body)))
    except NotStarted as error:
        trainer.send(b"E", str(error).encode("utf-8", "replace"))
    except (Closed, Orphaned):
        return
    finally:
        if template is not None:
            template.close()


def start(settings: dict[str, Any], trainer_fd: int) -> tuple[Template, list[str]]:
    """A template with the most layers that work here, and why richer sets do not."""
    refused: list[str] = []
    for names in layers.combinations(settings["without"]):
        try:
            return Template(names, settings["limits"], trainer_fd), refused
        except Unusable as error:
            refused.append(f"{' '.join(names)}: {error}")
    raise NotStarted(f"no template could be started: {'; '.join(refused)}")


def judged(judge: Judge, program: dict[str, Any]) -> tuple[bytes, bytes]:
    """The answer to one program."""
    try:
        return b"V", dumps(judge.verdict(program)).encode("ascii")
    except WallsFailed as error:
        return b"E", str(error).encode("utf-8", "replace")


def probed(template: Template) -> dict[str, list[str]]:
    """What a child that tries to get out could do: {"files": [..], "network": [..], "processes": [..]}."""
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        os.chmod(folder, 0o777)
        job = {"file": os.path.abspath(__file__), "folder": folder, "port": listener.getsockname()[1]}
        channel = template.fork("probe")
        try:
            channel.send(b"J", dumps(job).encode("ascii"))
            kind, body = channel.receive(time.monotonic() + PATIENCE)
        except Closed:
            kind, body = b"!", b"the probe ended without an answer"
        finally:
            channel.close()
            template.kill()
        if kind != b"D":
            raise NotStarted(f"no process can be shut in: {body.decode('utf-8', 'replace')}")
        return loads(body)
