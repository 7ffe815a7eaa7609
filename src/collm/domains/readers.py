"""Reads files of raw rows (JSON lines, gzipped or not, JSON, CSV), each with the line where it begins.

Also what the domains' readers have in common: splits of a folder, embedded rows, rows of the hub.
"""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common.errors import DataError, RowError
from collm.domains.base import RawRow, embedded_path

Placed = Iterator[tuple[int | str, Any]]  # rows with their line, or "line, element number"


def read_rows(file: str | Path) -> list[RawRow]:
    """Read every row of `file`; the origin of a row is "folder/file:line", lines counted from 1.

    Where several elements of a JSON list begin on one line it is "folder/file:line, element number".
    .jsonl and .jsonl.gz hold an object per line, .json a list of objects or one object, .csv a header and
    rows whose values stay text. A file without rows gives an empty list.

    Raises:
        DataError: the file is missing, unreadable or of another format.
        RowError: a row is malformed; names file and line.
    """
    file = Path(file)
    suffix = next((suffix for suffix in READERS if file.name.endswith(suffix)), None)
    if suffix is None:
        raise DataError(f"{file}: rows are read from {', '.join(READERS)} files only")
    rows = []
    for place, fields in READERS[suffix](_text(file), file):
        if not isinstance(fields, dict):
            raise RowError(f"{file}:{place}: a row must be an object of named fields, not {_shorten(fields)}")
        rows.append(RawRow(fields, f"{file.parent.name}/{file.name}:{place}"))
    return rows


def find_splits(domain: str, folder: Path, files: Mapping[str, Sequence[str]], needed: str = "") -> dict[str, Path]:
    """The file of every split: the first of its `files` that is below `folder`; splits without one are left out.

    Raises:
        DataError: no split has a file, or `needed` has none; lists what was looked for.
    """
    candidates = {split: [Path(folder) / name for name in names] for split, names in files.items()}
    first = {split: next((path for path in paths if path.is_file()), None) for split, paths in candidates.items()}
    splits = {split: path for split, path in first.items() if path is not None}
    if not splits or (needed and needed not in splits):
        looked = ", ".join(str(path) for paths in candidates.values() for path in paths)
        raise DataError(f"no data for {domain} in {folder}; looked for {looked}. Set data.path to the right folder")
    return splits


def read_splits(
    domain: str, folder: Path, files: Mapping[str, Sequence[str]], needed: str = ""
) -> dict[str, list[RawRow]]:
    """Rows of every split that `find_splits` finds; raises what it and `read_rows` raise."""
    return {split: read_rows(path) for split, path in find_splits(domain, folder, files, needed).items()}


@functools.cache
def embedded_rows(name: str) -> tuple[RawRow, ...]:
    """Rows of a file that ships with the package, read once."""
    return tuple(read_rows(embedded_path(name)))


def keep_fields(rows: Iterable[Mapping[str, Any]], fields: Sequence[str], origin: str) -> list[RawRow]:
    """Rows of a hub set reduced to `fields`, with origin "origin:number"."""
    return [
        RawRow({name: row[name] for name in fields if name in row}, f"{origin}:{number}")
        for number, row in enumerate(rows, start=1)
    ]


def quarters(split: str, count: int) -> tuple[str, str]:
    """Slices of the first three quarters of `count` rows (to train on) and of the rest (to test on)."""
    cut = 3 * count // 4
    return f"{split}[0:{cut}]", f"{split}[{cut}:{count}]"


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        if file.name.endswith(".gz"):
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise DataError(f"{file} is not there; {_neighbours(file.parent)}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}); copy it again") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RowError(f"{file}:{line}: not UTF-8 text; save the file as UTF-8") from error


def _neighbours(folder: Path) -> str:
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = sorted(path.name for path in folder.iterdir())[:10]
    return f"the folder holds {', '.join(names)}" if names else "the folder is empty"


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _json_lines(text: str, file: Path) -> Placed:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise RowError(f"{file}:{number}: not a JSON object ({reason})") from error


def _json(text: str, file: Path) -> Placed:
    try:
        whole = DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowError(f"{file}:{error.lineno}{_element(text, error.pos)}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise RowError(f"{file}{_element(text)}: not valid JSON ({error})") from error
    if not isinstance(whole, list):
        yield 1, whole
        return
    elements = list(_elements(text))
    starts = Counter(line for line, _, _ in elements)
    for number, (line, _, value) in enumerate(elements, start=1):
        yield (line if starts[line] == 1 else f"{line}, element {number}"), value


def _elements(text: str) -> Iterator[tuple[int, int, Any]]:
    """The elements of a JSON list, each with the line where it begins and the place where it ends.

    Raises:
        ValueError, RecursionError: from the decoder, at the first wrong element.
    """
    line, seen = 1, 0
    position = text.index("[") + 1
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        if position == len(text) or text[position] == "]":
            return
        line, seen = line + text.count("\n", seen, position), position
        value, position = DECODER.raw_decode(text, position)
        yield line, position, value


def _element(text: str, position: int | None = None) -> str:
    """Which element of a JSON list is wrong, in words; "" if it is no list.

    It is the one after those that can be read and end before `position`, where the decoder stopped.
    """
    if not text.lstrip().startswith("["):
        return ""
    readable = 0
    try:
        for _, end, _ in _elements(text):
            if position is not None and end > position:
                break
            readable += 1
    except (ValueError, RecursionError):
        pass  # it is this one
    return f", element {readable + 1}"


def _csv(text: str, file: Path) -> Placed:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    header: list[str] = []
    try:
        for cells in reader:
            if cells and not header:
                header = _header(cells, file, line)
            elif cells and len(cells) != len(header):
                raise RowError(f"{file}:{line}: {len(cells)} cells, the header names {len(header)} fields")
            elif cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise RowError(f"{file}:{line}: not valid CSV ({error})") from error


def _header(cells: list[str], file: Path, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) < len(names) or not all(names):
        listed = ", ".join(map(repr, names))
        raise RowError(f"{file}:{line}: the header must name every field once, not {listed}")
    return names


READERS: dict[str, Callable[[str, Path], Placed]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json,
    ".csv": _csv,
}
