"""Messages over a stream socket: four bytes of length, one byte of kind, the body. Nothing is interpreted here.

A reader takes no more than it is told to accept and waits no longer than its deadline, so the other side can neither
fill this one's memory nor hold it up.
"""

from __future__ import annotations

import select
import socket
import struct
import time

_HEAD = struct.Struct("<IB")


class Closed(Exception):
    """The other side is gone."""


class Late(Exception):
    """The deadline passed."""


class TooLong(Exception):
    """A message longer than this side accepts."""


class Channel:
    """One end of a stream socket. `watch`: a descriptor whose closing ends the wait with `Orphaned`."""

    def __init__(self, end: socket.socket, longest: int, watch: int | None = None) -> None:
        self.end, self.longest, self.watch = end, longest, watch
        self.buffer = bytearray()
        self.polls = {event: self.poll(event) for event in (select.POLLIN, select.POLLOUT)}

    def close(self) -> None:
        """Close the socket."""
        self.end.close()

    def send(self, kind: bytes, body: bytes = b"", deadline: float | None = None) -> None:
        """Send one message by the deadline (time.monotonic). Raises Closed, Late, TooLong."""
        if len(body) > self.longest:
            raise TooLong(f"a message of {len(body)} bytes where {self.longest} are allowed")
        rest = memoryview(_HEAD.pack(len(body), kind[0]) + body)
        while rest:
            try:
                rest = rest[self.end.send(rest, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self.wait(select.POLLOUT, deadline)
            except (BrokenPipeError, ConnectionError):
                raise Closed from None

    def receive(self, deadline: float | None = None) -> tuple[bytes, bytes]:
        """The next message as (kind, body). Raises Closed, Late, TooLong."""
        self.fill(_HEAD.size, deadline)
        length, kind = _HEAD.unpack_from(self.buffer)
        if length > self.longest:
            raise TooLong(f"a message of {length} bytes where {self.longest} are allowed")
        self.fill(_HEAD.size + length, deadline)
        body = bytes(self.buffer[_HEAD.size : _HEAD.size + length])
        del self.buffer[: _HEAD.size + length]
        return bytes((kind,)), body

    def fill(self, size: int, deadline: float | None) -> None:
        """Read until the buffer holds `size` bytes."""
        while len(self.buffer) < size:
            patient = deadline is None and self.watch is None
            if not patient:
                self.wait(select.POLLIN, deadline)
            try:
                room = max(65536, min(size - len(self.buffer), 1 << 20))
                piece = self.end.recv(room, 0 if patient else socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except ConnectionError:
                raise Closed from None
            if not piece:
                raise Closed
            self.buffer += piece

    def wait(self, event: int, deadline: float | None) -> None:
        """Block until the socket is ready, the deadline passes (Late) or the watched end closes (Orphaned)."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = self.polls[event].poll(left)
        if not ready:
            raise Late
        if self.watch is not None and any(descriptor == self.watch for descriptor, _ in ready):
            raise Orphaned

    def poll(self, event: int) -> select.poll:
        """What waits for an event on the socket, or for the end of what is watched."""
        poll = select.poll()
        poll.register(self.end, event)
        if self.watch is not None:
            poll.register(self.watch, select.POLLRDHUP)
        return poll


class Orphaned(Exception):
    """The process that this one works for is gone: stop at once."""
