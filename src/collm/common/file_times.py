"""Times of files that another program copies or links: put back where the content is what it was.

DVC with `cache.type` symlink or hardlink replaces results by links when it records them, and the links by copies before
the next run. Content stays, times become new in any order, and Snakemake would take old inputs for newer ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from collm.common.files import sha256, write_json

Record = dict[str, list[Any]]  # by path: bytes, time in ns, SHA-256


def remember(record: Path, folders: Iterable[Path]) -> None:
    """Note time and content of all files below `folders`; unchanged ones are not read again."""
    earlier, now = _read(record), {}
    for file in _files(folders):
        size, time = _size(file), _time(file)
        note = earlier.get(str(file))
        known = note is not None and note[:2] == [size, time]
        now[str(file)] = note if known else [size, time, sha256(file)]
    write_json(record, now)


def restore(record: Path) -> None:
    """Give files the times that `remember` noted, where the content is the same; nothing to do without a record."""
    for name, (size, time, digest) in _read(record).items():
        file = Path(name)
        if file.is_file() and _time(file) != time and _size(file) == size and sha256(file) == digest:
            # The link itself, not the file in a cache that others may share.
            os.utime(file, ns=(time, time), follow_symlinks=False)


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _size(file: Path) -> int:
    return file.stat().st_size


def _time(file: Path) -> int:
    """Time of the file, or of the link that stands for it, in ns."""
    return file.lstat().st_mtime_ns


def _read(record: Path) -> Record:
    notes: Record = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return notes
