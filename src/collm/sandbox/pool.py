"""The trainer's side: starts supervisors, hands programs out, brings verdicts back in order.

The trainer itself never parses or executes a program. Each worker is one supervisor process (see `guest`), fed by one
thread that waits on a socket, so the trainer's own work is not held up.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pwd
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from collm.common.errors import CollmError
from collm.sandbox.guest import supervisor
from collm.sandbox.guest.frames import Channel, Closed, Late, TooLong
from collm.sandbox.guest.layers import ALL
from collm.sandbox.records import Check, Layers, Limits, Program, Verdict

STARTUP_SECONDS = 120.0
SLACK_SECONDS = 30.0  # beyond a program's own limit, before a silent supervisor is replaced
_LOG = logging.getLogger(__name__)


class SandboxError(CollmError):
    """The sandbox cannot be used here; says what is missing and what to do."""


class Worker:
    """One supervisor process and the socket to it."""

    def __init__(self, limits: Limits, without: Collection[str]) -> None:
        here, there = socket.socketpair()
        environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
        self.process = subprocess.Popen(
            supervisor.command("supervisor", there.fileno()),
            pass_fds=[there.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        there.close()
        self.channel = Channel(here, supervisor.LONGEST)
        try:
            report = self.ask(b"H", {"without": sorted(without), "limits": dataclasses.asdict(limits)}, STARTUP_SECONDS)
        except BaseException:
            self.close()
            raise
        escapes = report["escapes"]
        kept = {name: on and not escapes[name] for name, on in report["protections"].items()}
        self.layers = Layers(tuple(report["layers"]), kept, tuple(report["refused"]), escapes, _who())

    def ask(self, kind: bytes, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One question, one answer. Raises SandboxError (the walls failed), Closed, Late."""
        deadline = time.monotonic() + seconds
        self.channel.send(kind, json.dumps(question).encode("ascii"), deadline)
        kind, body = self.channel.receive(deadline)
        if kind == b"E":
            raise SandboxError(f"the sandbox does not work here: {body.decode('utf-8', 'replace')}")
        return json.loads(body)

    def interrupt(self) -> None:
        """Have the supervisor drop what it does, clean up and end; whoever waits for its answer gets Closed."""
        self.channel.end.shutdown(socket.SHUT_WR)

    def close(self, seconds: float = 10.0) -> None:
        """Close the socket, on which the supervisor cleans up and ends; kill it if it does not."""
        self.channel.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _who() -> str:
    if os.geteuid() == 0:
        return f"started by root, programs run as user {supervisor.isolation.NOBODY}"
    try:
        return f"programs run as {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"programs run as user {os.geteuid()}"


class Sandbox:
    """Runs model-written programs behind walls; a context manager, usable from several threads, one run at a time.

    `allow_weak`: run even where files, network or other processes cannot be isolated. `without`: layers to leave off
    (for tests). Raises SandboxError on entry where isolation is missing, ValueError for an unknown layer.
    """

    def __init__(
        self, allow_weak: bool = False, workers: int = 2, limits: Limits | None = None, without: Collection[str] = ()
    ) -> None:
        unknown = sorted(set(without) - set(ALL))
        if unknown:
            raise ValueError(f"unknown layer {unknown[0]!r}; layers are {', '.join(ALL)}")
        if workers < 1:
            raise ValueError(f"{workers} workers; at least 1 is needed")
        self.allow_weak, self.limits, self.without = allow_weak, limits or Limits(), tuple(without)
        self.count = workers
        self.workers: list[Worker] = []
        self.lock = threading.Lock()

    def __enter__(self) -> Sandbox:
        if sys.platform != "linux":
            raise SandboxError(f"model-written code runs on Linux only (this is {sys.platform}); use a Linux machine")
        try:
            for _ in range(self.count):
                self.workers.append(self._worker())
        except BaseException:
            self.close()
            raise
        _LOG.info("%s", self.layers.line())
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def layers(self) -> Layers:
        """The walls of the running workers."""
        return self.workers[0].layers

    def close(self) -> None:
        """End all workers and everything below them."""
        while self.workers:
            self.workers.pop().close()

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        """One verdict for each program, in order; nothing that a program does raises here.

        Raises SandboxError where the walls themselves fail or workers keep dying.
        """
        with self.lock:
            if not self.workers:
                raise SandboxError("the sandbox is not running; use it as `with Sandbox() as sandbox:`")
            free: queue.SimpleQueue[int] = queue.SimpleQueue()
            for place in range(len(self.workers)):
                free.put(place)

            def work(program: Program) -> Verdict:
                place = free.get()
                try:
                    return self._judge(place, program)
                finally:
                    free.put(place)

            with ThreadPoolExecutor(len(self.workers), "sandbox") as pool:
                try:
                    return list(pool.map(work, programs))
                except BaseException:  # an interrupt, most likely: the programs under way are dropped
                    pool.shutdown(wait=False, cancel_futures=True)
                    self._stop()
                    raise

    def _stop(self) -> None:
        """Make every worker end now; the sandbox must be entered anew."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.interrupt()
            worker.process.wait()

    def _worker(self) -> Worker:
        try:
            worker = Worker(self.limits, self.without)
        except (Closed, Late) as error:
            raise SandboxError(f"the sandbox's supervisor did not start ({type(error).__name__})") from None
        missing = worker.layers.missing()
        if missing and not self.allow_weak:
            worker.close()
            raise SandboxError(
                f"not isolated here: {'; '.join(missing)}. Model-written code could do harm. Run where user namespaces "
                "or Landlock (Linux 6.2) with seccomp are allowed, or set `sandbox: allow_weak` if this machine is "
                "expendable"
            )
        return worker

    def _judge(self, place: int, program: Program) -> Verdict:
        """A verdict; a worker that is lost is replaced, and a program that loses two has failed."""
        worker = self.workers[place]
        job = dataclasses.asdict(program)
        overrides = {name: job.pop(name) for name in ("check_seconds", "load_seconds")}
        job["limits"] = {name: value for name, value in overrides.items() if value is not None}
        for _ in range(2):
            try:
                return _verdict(worker.ask(b"P", job, self.limits.program_seconds + SLACK_SECONDS))
            except TooLong as error:
                return _failed(program, "TooLong", str(error))
            except (Closed, Late) as error:
                if not self.workers:
                    raise SandboxError("the sandbox was stopped") from None
                _LOG.warning("a sandbox worker was lost (%s); it is replaced", type(error).__name__)
                worker.close(seconds=0.0)
                worker = self.workers[place] = self._worker()
        return _failed(program, "Lost", "the program brought its worker down twice")


def _verdict(data: dict[str, Any]) -> Verdict:
    checks = tuple(Check(bool(passed), error, message) for passed, error, message in data["checks"])
    problem = None if data["problem"] is None else ": ".join(data["problem"])
    return Verdict(data["loaded"], checks, data["timeouts"], data["deaths"], data["seconds"], problem)


def _failed(program: Program, error: str, message: str) -> Verdict:
    checks = tuple(Check(False, error, message) for _ in program.checks)
    return Verdict(False, checks, 0, 0, 0.0, f"{error}: {message}")


def layers(without: Collection[str] = ()) -> Layers:
    """Which walls work on this machine for this user: starts one worker, asks, ends it. Raises SandboxError."""
    with Sandbox(allow_weak=True, workers=1, without=without) as sandbox:
        return sandbox.layers
