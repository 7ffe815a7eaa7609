"""Removal of folders that hostile programs have filled: links are not followed, depth does not matter."""

from __future__ import annotations

import os
import stat


def remove_tree(top: str, keep_top: bool = False) -> None:
    """Delete a folder and all below it. Deeper folders are moved up first, so that no path grows long."""
    number = 0
    while True:
        deeper = False
        for entry in list(os.scandir(top)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, stat.S_IRWXU)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, stat.S_IRWXU)
                    while os.path.lexists(os.path.join(top, f"{number}.moved")):
                        number += 1
                    os.rename(inner.path, os.path.join(top, f"{number}.moved"))
                    deeper = True
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)
        if not deeper:
            break
    if not keep_top:
        os.rmdir(top)
