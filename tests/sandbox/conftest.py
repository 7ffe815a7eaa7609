"""A victim for hostile programs: a secret file, a secret in the environment, a listening port, a running sandbox."""

from __future__ import annotations

import os
import socket
import sysconfig
import tempfile
from pathlib import Path

import pytest

import collm.sandbox
from collm.sandbox import Limits, Sandbox

SHORT = Limits(check_seconds=0.8, load_seconds=1.0, program_seconds=30.0)


class Victim:
    """What an intruder could find; `fill` puts it into a program's text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text("the secret", encoding="utf-8")
        folder.chmod(0o777)  # only the walls keep others out
        self.secret.chmod(0o666)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(50)
        self.listener.setblocking(False)
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(self.listener.getsockname())
        self.datagrams.setblocking(False)
        self.state = self.secret.stat()

    def fill(self, source: str) -> str:
        """The program aimed at this victim."""
        values = {
            "SECRET": self.secret,
            "FOLDER": self.folder,
            "PORT": self.listener.getsockname()[1],
            "PID": os.getpid(),
            "SOURCE": Path(collm.sandbox.__file__).parent,
            "SITE": sysconfig.get_path("purelib"),
        }
        for name, value in values.items():
            source = source.replace(f"@{name}@", str(value))
        return source

    def damage(self) -> list[str]:
        """What has happened to it."""
        found = []
        if self.secret.read_text(encoding="utf-8") != "the secret" or self.secret.stat().st_mode != self.state.st_mode:
            found.append("the secret file was changed")
        if self.secret.stat().st_mtime_ns != self.state.st_mtime_ns or self.secret.stat().st_nlink != 1:
            found.append("the secret file was touched or linked")
        if sorted(path.name for path in self.folder.iterdir()) != ["secret.txt"]:
            found.append("files were added or removed")
        for what, end in (("connection", self.listener.accept), ("datagram", lambda: self.datagrams.recv(10))):
            try:
                end()
            except BlockingIOError:
                continue
            found.append(f"a {what} came through")
        return found


@pytest.fixture(scope="session")
def victim(tmp_path_factory):
    return Victim(tmp_path_factory.mktemp("victim"))


@pytest.fixture
def folder():
    """An empty folder outside pytest's own, which only its user may enter."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        os.chmod(path, 0o755)
        yield path


@pytest.fixture(scope="module")
def places():
    """(temporary folder, working folder), both empty and in use while a module runs."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as working:
        os.chmod(temporary, 0o755)  # where there is no mount namespace, user 65534 must reach it
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SANDBOX_TEST_SECRET", "the secret")
            patch.setenv("TMPDIR", temporary)
            os.chdir(working)
            yield temporary, working
            os.chdir(before)


@pytest.fixture(scope="module")
def sandbox(places):
    with Sandbox(limits=SHORT) as running:
        yield running
