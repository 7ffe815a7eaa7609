"""Runs a command as user 65534 although interpreter or project may lie in folders that only root may enter.

`python as_user.py PATH... -- COMMAND`: in a mount namespace of its own, each private folder above a PATH is covered
by an empty one that everybody may enter, with the PATH inside. Changes nothing for anybody else; needs root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

USER = 65534


def closed_ancestor(path: Path) -> Path | None:
    """The topmost folder on the way that others may not enter."""
    return next((folder for folder in [*reversed(path.parents), path] if not folder.stat().st_mode & 0o001), None)


def open_way(paths: list[Path]) -> None:
    """Cover closed folders and show the paths inside them again."""
    from collm.sandbox.guest import kernel

    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    closed: dict[Path, list[tuple[Path, int]]] = {}
    for path in paths:
        folder = closed_ancestor(path)
        if folder is not None:
            closed.setdefault(folder, []).append((path, os.open(path, os.O_PATH)))
    for folder, inside in closed.items():
        kernel.mount("tmpfs", str(folder), "tmpfs", 0, "size=1m,mode=755")
        for path, descriptor in inside:
            path.mkdir(parents=True, exist_ok=True)
            kernel.mount(f"/proc/self/fd/{descriptor}", str(path), None, kernel.MS_BIND | kernel.MS_REC)


def main(arguments: list[str]) -> None:
    """Open the way, become the user, run the command."""
    place = arguments.index("--")
    paths = [Path(text).resolve() for text in arguments[:place]]
    open_way(paths)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.execv(arguments[place + 1], arguments[place + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
