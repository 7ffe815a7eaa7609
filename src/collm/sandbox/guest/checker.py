"""The process that judges: runs the checks against values that a stand-in for the function brings from elsewhere.

Model-written code never runs here, so the process may serve several programs. `candidate` and the entry point's name
are a stand-in that sends the arguments off and rebuilds what comes back from plain data, so an `==` in a check compares
objects of the standard types.
Messages in: J {setup, entry_point}, R [source, ...], and after each call A answer or X why there is none.
Messages out: S when set up, C call, and for each check of R in turn D [passed, type, message].
"""

from __future__ import annotations

import builtins
import json
import random
from collections.abc import Callable
from typing import Any

from .candidate import LENGTH_OF_MESSAGE, described
from .codec import Decoder, Encoder, Malformed, Opaque
from .frames import Channel, Closed, TooLong

EXCEPTIONS = {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}
ENDS_LOOPS = (StopIteration, StopAsyncIteration, GeneratorExit)  # would cut `all(map(candidate, inputs))` short
NAME = "checks"


class Lost(BaseException):
    """There is no answer (time limit, death, unreadable value): the check fails whatever it catches."""


class Checker:
    """State of one program's checks: their namespace and what went wrong for good in the present one."""

    def __init__(self, channel: Channel, setup: str, entry_point: str) -> None:
        self.channel = channel
        self.lost: list[str] | None = None
        self.calls = 0
        self.entry_point = entry_point
        self.namespace: dict[str, Any] = {"__name__": NAME}
        exec(compile(setup, "<setup>", "exec", dont_inherit=True), self.namespace)
        self.namespace.update({"candidate": self.stand_in(), entry_point: self.stand_in()})

    def stand_in(self) -> Callable[..., Any]:
        """What checks call."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            return self.call(arguments, keywords)

        candidate.__name__ = candidate.__qualname__ = self.entry_point
        return candidate

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """One call: the value, the exception of the other side by its built-in type, or Lost."""
        if self.lost is not None:
            raise Lost
        encoder = Encoder()
        try:
            self.channel.send(b"C", encoder.dumps((arguments, keywords)))
        except (Opaque, TooLong) as error:
            raise self.give_up("Unsendable", f"an argument of the check: {error}") from None
        kind, body = self.channel.receive()
        if kind == b"X":
            raise self.give_up(*json.loads(body))
        try:
            if body.startswith(b'{"e":'):
                raised = rebuilt(json.loads(body)["e"])
            else:
                return Decoder(encoder.nodes).loads(body)
        except (Malformed, ValueError, TypeError, RecursionError, MemoryError) as problem:
            raise self.give_up("Malformed", f"{problem}" or type(problem).__name__) from None
        raise raised

    def give_up(self, name: str, message: str) -> Lost:
        """Note that the present check has failed for good."""
        self.lost = [name, message]
        return Lost()

    def check(self, source: str) -> list[Any]:
        """Run one check: [passed, exception type, message]."""
        self.lost = None
        try:
            exec(compile(source, "<check>", "exec", dont_inherit=True), self.namespace)
        except BaseException as error:  # whatever ends a check early fails it, exits and interrupts included
            if self.lost is None:
                return [False, *getattr(error, "told", described(error)[:2])]
        return [True, None, ""] if self.lost is None else [False, *self.lost]


def rebuilt(parts: Any) -> BaseException:
    """The exception to raise here: the nearest built-in base of the other side's type, with its message."""
    name, message = (str(part)[:LENGTH_OF_MESSAGE] for part in parts[:2])
    known = [base for base in parts[2] if type(base) is str and base in EXCEPTIONS]
    kind = EXCEPTIONS[known[0]] if known else Exception
    if issubclass(kind, ENDS_LOOPS):
        kind = RuntimeError
    error = kind.__new__(kind)
    error.args = (message,)
    error.told = [name, message]  # type: ignore[attr-defined]
    return error


def serve(channel: Channel) -> None:
    """Set up and run checks for as long as the supervisor asks; each J begins another program's checks."""
    checker: Any = None  # a Checker once a program has come
    try:
        while True:
            kind, body = channel.receive()
            if kind == b"R":
                for source in json.loads(body):
                    channel.send(b"D", json.dumps(checker.check(source)).encode("ascii"))
                continue
            job = json.loads(body)
            random.seed(0)  # the same inputs whichever program came before
            try:
                checker = Checker(channel, job["setup"], job["entry_point"])
                channel.send(b"S")
            except BaseException as error:  # the message goes to whoever wrote the checks
                channel.send(b"S", json.dumps(described(error)[:2]).encode("ascii"))
    except Closed:
        return
