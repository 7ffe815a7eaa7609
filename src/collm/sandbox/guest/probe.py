"""A child that tries to get out, run once at start-up: a layer that is on but does not hold is found here."""

from __future__ import annotations

import errno
import json
import os
import socket

from .frames import Channel

SHUT = (errno.EPERM, errno.EACCES, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


def serve(channel: Channel) -> None:
    """Answer with what could be done although it must not: {"files": [...], "network": [...], "processes": [...]}."""
    _, body = channel.receive()
    job = json.loads(body)
    report = {"files": _files(job["file"], job["folder"]), "network": _network(job["port"]), "processes": _processes()}
    channel.send(b"D", json.dumps(report).encode("ascii"))


def _files(file: str, folder: str) -> list[str]:
    """Read a file of the host, write beside it."""
    done = []
    try:
        with open(file, "rb") as handle:
            handle.read(1)
        done.append("read a file outside")
    except OSError as error:
        _refused(error)
    try:
        with open(os.path.join(folder, "escaped"), "wb"):
            done.append("wrote a file outside")
    except OSError as error:
        _refused(error)
    return done


def _network(port: int) -> list[str]:
    """Reach a port of the host's loopback that listens."""
    try:
        with socket.socket() as client:
            client.settimeout(1)
            client.connect(("127.0.0.1", port))
            return ["reached the loopback of the host"]
    except OSError as error:
        return [] if error.errno in SHUT else [f"the network answered: {error}"]


def _processes() -> list[str]:
    """See the parent, or signal it."""
    parent = os.getppid()
    if parent == 0:
        return []
    try:
        os.kill(parent, 0)
    except OSError as error:
        _refused(error)
        return []
    return ["may signal its parent"]


def _refused(error: OSError) -> None:
    """What is wanted: anything but a refusal or an empty place is an error of the probe itself."""
    if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EROFS, errno.ENOTDIR, errno.ESRCH):
        raise error
