"""Trials: starts the processes of a program, relays calls, keeps every deadline, counts what passed.

The clock and the verdict are here, out of reach of both processes. A candidate that is late, dead or talks nonsense is
killed and replaced by a fresh one that loads the program anew (what it had stored is gone); the check at hand fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json import dumps, loads
from typing import Any, Protocol

from .frames import Channel, Closed, Late, TooLong

STRETCH = 5.0  # a time limit grows by the time a process was ready but the machine busy, at most to so many times
GRACE = 2.0  # seconds that a check gets to end after its time has run out
PROGRAMS_PER_CHECKER, SECONDS_OF_CHECKER = 50, 5.0  # a fresh one comes after so many programs or one so long


class Forks(Protocol):
    """What starts and ends processes of a role."""

    def fork(self, role: str) -> Channel: ...

    def kill(self, role: str | None = None) -> list[int]: ...

    def waited(self) -> float: ...


class WallsFailed(Exception):
    """A child could not be shut in, so it ran nothing."""


class Judge:
    """Tries programs {source, entry_point, setup, checks, limits}, one at a time."""

    def __init__(self, forks: Forks, limits: dict[str, Any]) -> None:
        self.forks, self.common_limits = forks, limits
        self.candidate: Channel | None = None
        self.checker: Any = None  # its Channel, None while there is none
        self.served = 0  # programs that the present checker has seen

    def verdict(self, program: dict[str, Any]) -> dict[str, Any]:
        """Run it all: {loaded, problem, checks, timeouts, deaths, seconds}."""
        start = time.monotonic()
        self.program, self.limits = program, {**self.common_limits, **program["limits"]}
        self.timeouts = self.deaths = 0
        self.ahead = 0  # checks that the checker has been given and has not yet answered
        self.results: list[list[Any]] = []
        self.end = start + self.limits["program_seconds"]
        problem = self.load()
        if problem is None:
            for _ in program["checks"]:
                self.results.append(self.skipped() or self.check())
        else:
            self.results = [[False, *problem] for _ in program["checks"]]
        self.stop("candidate")
        seconds = time.monotonic() - start
        if self.served >= PROGRAMS_PER_CHECKER or seconds > SECONDS_OF_CHECKER or self.ahead:
            self.stop("checker")
        verdict = {"loaded": problem is None, "problem": problem, "checks": self.results, "timeouts": self.timeouts}
        return {**verdict, "deaths": self.deaths, "seconds": seconds}

    def skipped(self) -> list[Any] | None:
        """The result of a check that is not run any more, or None."""
        for count, most, what in (
            (self.timeouts, self.limits["max_timeouts"], "time limits"),
            (self.deaths, self.limits["max_deaths"], "ended processes"),
        ):
            if count >= most:
                return [False, "Skipped", f"not run after {count} {what}"]
        if time.monotonic() >= self.end:
            return [False, "Skipped", f"not run after {self.limits['program_seconds']:g} s in all"]
        return None

    def load(self) -> list[Any] | None:
        """A candidate that has loaded the program; the problem [type, message], if it does not."""
        job = {"source": self.program["source"], "entry_point": self.program["entry_point"]}
        self.candidate = self.forks.fork("candidate")
        return self.begin("candidate", self.candidate, job, _load_problem)

    def set_up(self) -> list[Any] | None:
        """A checker that has run the set-up; the problem, if it cannot."""
        job = {"setup": self.program["setup"], "entry_point": self.program["entry_point"]}
        if self.checker is None:
            self.checker, self.served = self.forks.fork("checker"), 0
        self.served += 1
        problem = self.begin("checker", self.checker, job, lambda body: loads(body) if body else None)
        if problem is not None:
            return ["SetupFailed", ": ".join(problem)]
        rest = self.program["checks"][len(self.results) :]
        self.checker.send(b"R", dumps(rest).encode("ascii"), self.deadline)
        self.ahead = len(rest)
        return None

    def begin(self, role: str, channel: Channel, job: dict[str, Any], problem_of: Callable[[bytes], Any]) -> Any:
        """Give a process its job; None, or the problem, with the process ended."""
        self.set_clock(self.limits["load_seconds"])
        try:
            channel.send(b"J", dumps(job).encode("ascii"), self.deadline)
            kind, body = self.receive(channel)
            if kind == b"!":
                raise WallsFailed(body.decode("utf-8", "replace"))
            problem = problem_of(body)
        except Late:
            self.timeouts += 1
            problem = ["TimeLimit", f"not loaded within {self.limits['load_seconds']:g} s"]
        except Closed:
            self.deaths += 1
            problem = ["Died", "the process ended while loading"]
        except TooLong as error:
            problem = ["TooLong", str(error)]
        return problem if problem is None else _ended(problem, self.stop(role))

    def check(self) -> list[Any]:
        """The next check: [passed, exception type, message]. The checker runs ahead as far as it needs no answer."""
        problem = self.load() if self.candidate is None else None
        if problem is not None:
            self.stop("checker")  # it waits for an answer within this check
            return [False, *problem]
        timeouts = self.timeouts
        try:
            problem = self.set_up() if not self.ahead else None
            if problem is not None:
                return [False, *problem]
            self.set_clock(self.limits["check_seconds"])
            while True:
                kind, body = self.receive(self.checker)
                if kind == b"D":
                    self.ahead -= 1
                    return loads(body)
                self.relay(body)
        except Late:  # the check itself does not end, unless the candidate was late and it has not noticed
            self.timeouts = timeouts + 1
            problem = ["TimeLimit", f"no result within {self.limits['check_seconds']:g} s"]
        except (Closed, TooLong):
            self.deaths += 1
            problem = ["Died", "the checking process ended"]
        return [False, *_ended(problem, self.stop("checker"))]

    def set_clock(self, limit: float) -> None:
        """A time limit begins, in seconds."""
        self.limit, self.begun, self.waited = limit, time.monotonic(), self.forks.waited()
        self.deadline = min(self.begun + limit, self.end)

    def receive(self, channel: Channel) -> tuple[bytes, bytes]:
        """A message within the time limit. Raises Late, Closed, TooLong.

        Time in which the processes were ready to run but had no processor is not theirs: a machine busy with other
        work does not decide a verdict.
        """
        while True:
            try:
                return channel.receive(self.deadline)
            except Late:
                spared = min(self.forks.waited() - self.waited, self.limit * (STRETCH - 1))
                later = min(self.begun + self.limit + spared, self.end)
                if later <= max(self.deadline, time.monotonic()):
                    raise
                self.deadline = later

    def relay(self, call: bytes) -> None:
        """Hand one call to the candidate and its answer, unread, to the checker; or say why there is none."""
        try:
            if self.candidate is None:
                raise Closed
            self.candidate.send(b"C", call, self.deadline)
            kind, answer = self.receive(self.candidate)
            problem = None if kind == b"A" else ["Died", "the process sent a message that is no answer"]
        except Late:
            self.timeouts += 1
            problem = ["TimeLimit", f"no result within {self.limits['check_seconds']:g} s"]
        except Closed:
            problem = ["Died", "the process ended during the call"]
        except TooLong as error:
            problem = ["Died", str(error)]
        if problem is None:
            self.checker.send(b"A", answer, self.deadline + GRACE)
            return
        if problem[0] == "Died":
            self.deaths += 1
        problem = _ended(problem, self.stop("candidate"))
        self.deadline = max(self.deadline, time.monotonic()) + GRACE
        self.checker.send(b"X", dumps(problem).encode("ascii"), self.deadline)

    def stop(self, role: str) -> list[int]:
        """End the process of a role and what it started; how it ended."""
        channel = getattr(self, role)
        if channel is None:
            return []
        channel.close()
        setattr(self, role, None)
        if role == "checker":
            self.ahead = 0
        return self.forks.kill(role)


def _ended(problem: list[Any], ends: list[int]) -> list[Any]:
    """The problem of a process that ended by itself, with its exit status or signal (9 may be our own)."""
    how = [f"signal {-end}" if end < 0 else f"exit status {end}" for end in ends]
    return [problem[0], f"{problem[1]} ({how[0]})"] if problem[0] == "Died" and how else problem


def _load_problem(body: bytes) -> list[Any] | None:
    """The candidate's own account of its loading; it can only speak ill of itself, or start and fail later."""
    if body == b"1":
        return None
    try:
        name, message = loads(body[1:].decode("ascii"))
        return [str(name)[:80], str(message)[:300]]
    except (ValueError, TypeError, RecursionError):
        return ["Died", "the process sent a message that is no answer"]
