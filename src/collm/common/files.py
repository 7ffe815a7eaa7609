"""Atomic writes and the small file formats of the pipeline: a reader sees a whole file or none.

What is written has the mode that the umask gives, whoever wrote it: `tempfile` and safetensors make files for their
owner alone, and a copy keeps the mode of what it was copied from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from collm.common.errors import DataError


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write `content` (text as UTF-8) under a temporary name beside `path`, flush it to disk, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = _beside(path)
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused with ValueError."""
    return write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> Path:
    """Write one JSON object per line, atomically."""
    return write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: str | Path) -> list[Any]:
    """Read JSON lines; a missing file or a malformed line raises DataError with the file and the line number."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not there; run the stage that writes it first")
    rows = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not a JSON object ({error.msg})") from error
    return rows


def sha256(path: str | Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it takes the place of `path`, on failure it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    mode = stat.S_IMODE(temporary.stat().st_mode)  # what the umask, or a shared folder around it, gives
    try:
        yield temporary
        for name in sorted(temporary.rglob("*")):
            if name.is_file():
                with name.open("rb") as stream:
                    os.fsync(stream.fileno())
        _set_modes(temporary, mode)
        if path.exists():
            old = _beside(path, ".old")
            old.mkdir()
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _set_modes(folder: Path, mode: int) -> None:
    """Give `folder` and all folders in it `mode`, and files what it means for them; links stay as they are, and a file
    that its owner may execute stays executable."""
    folder.chmod(mode)
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(mode)
        else:
            path.chmod(mode & (0o777 if path.stat().st_mode & stat.S_IXUSR else 0o666))


def _beside(path: Path, suffix: str = "") -> Path:
    """A new hidden name in the folder of `path`."""
    return path.with_name(f".{path.name}{suffix}.{secrets.token_hex(4)}")
