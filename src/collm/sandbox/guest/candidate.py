"""The process that runs model-written code: loads it, then answers calls with values until it is killed.

It knows neither the checks nor the expected values, and nothing it sends is more than a claim about a return value.
Messages in: J {source, entry_point}, then C call. Messages out: L load result, then A answer, one for each call.
"""

from __future__ import annotations

import json
import sys
import types
from typing import Any

from .codec import Decoder, Encoder
from .frames import Channel, Closed

NAME = "candidate"
LENGTH_OF_MESSAGE = 300


def serve(channel: Channel) -> None:
    """Load the program, then answer calls for as long as the supervisor asks."""
    try:
        _, body = channel.receive()
        job = json.loads(body)
        module = types.ModuleType(NAME)
        sys.modules[NAME] = module
        problem = load(module, job["source"], job["entry_point"])
        if problem is not None:
            channel.send(b"L", b"0" + problem)
            return
        channel.send(b"L", b"1")
        while True:
            _, body = channel.receive()
            channel.send(b"A", answer(module, job["entry_point"], body, channel.longest))
    except Closed:
        return


def load(module: types.ModuleType, source: str, entry_point: str) -> bytes | None:
    """Execute the program in the module; the problem as JSON [type, message], or None."""
    try:
        exec(compile(source, f"<{NAME}>", "exec", dont_inherit=True), module.__dict__)
        if not callable(module.__dict__.get(entry_point)):
            raise NameError(f"the program defines no function {entry_point!r}")
    except BaseException as error:  # SystemExit and KeyboardInterrupt are failures of the program like any other
        return json.dumps(described(error)[:2]).encode("ascii")
    return None


def answer(module: types.ModuleType, entry_point: str, body: bytes, longest: int) -> bytes:
    """Call the function; JSON {"e": [type, message, bases]} or the encoded return value."""
    try:
        decoder = Decoder()
        arguments, keywords = decoder.loads(body)
        value = module.__dict__[entry_point](*arguments, **keywords)
        reply = Encoder(decoder.nodes, strangers=True).dumps(value)
        if len(reply) > longest:
            raise ValueError(f"a return value of {len(reply)} bytes where {longest} are allowed")
        return reply
    except BaseException as error:  # the same here: whatever the program raises is its answer
        return json.dumps({"e": described(error)}).encode("ascii")


def described(error: BaseException) -> list[Any]:
    """Type name, message and names of the base classes; an exception whose __str__ fails has no message."""
    kind = type(error)
    try:
        message = str.__str__(str(error))[:LENGTH_OF_MESSAGE]
    except BaseException:
        message = ""
    bases = [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"]
    return [kind.__name__, message, bases]
