"""Data sets: rows of any source become checked tasks, cut into a train and a test split, with a manifest.

All sources end as data/<domain>/{train,test}.jsonl (one {"id", "domain", "fields"} a line) and manifest.json.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import DataError, RowError, UnusableRow
from collm.common.files import atomic_folder, read_jsonl, sha256, write_atomic, write_json
from collm.data import hub, licences
from collm.domains.base import Domain, RawRow, Task
from collm.domains.options import nearest

LABELS = {"embedded": "embedded data", "path": "data from a folder", "hub": "hub data"}
SPLITS = ("train", "test")
LOCK = Path("resources/revisions.json")
Kept = list[tuple[Task, str]]  # tasks with the origin of their row
SLICE = re.compile(r"\s*([\w.\-]+)\s*(?:\[\s*(-?\d+)?\s*:\s*(-?\d+)?\s*\])?\s*", re.ASCII)


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` (Python's rules) of one split of a source."""

    split: str
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True)
class Source:
    """Rows of one source by split name, and where they come from."""

    splits: Mapping[str, Sequence[RawRow]]
    origin: str
    revision: str | None = None
    licence: str = ""  # that a data set's card on the hub states


def parse_slices(expression: str) -> tuple[Slice, ...]:
    """Parse "split[a:b]" parts joined by "+"; no bound or bracket means all, negative counts from the end.

    Raises:
        DataError: a part has another form.
    """
    slices = []
    for part in expression.split("+"):
        match = SLICE.fullmatch(part)
        if match is None:
            raise DataError(
                f"slice {part.strip()!r} of {expression!r} is not understood; "
                'write "train", "train[0:1000]" or "train[:8]+test[-2:]" (row numbers, no step, no percent)'
            )
        split, start, stop = match.groups()
        bounds = [None if bound is None else int(bound) for bound in (start, stop)]
        slices.append(Slice(split, *bounds))
    return tuple(slices)


def select(expression: str, splits: Mapping[str, Sequence[RawRow]], key: str) -> list[tuple[int, RawRow]]:
    """The rows that a slice expression names, each with its number in the source (splits one after another).

    Args:
        expression: see `parse_slices`.
        splits: rows by split name.
        key: the configuration key of the expression, for messages.

    Raises:
        DataError: a split is unknown, or a slice holds no row.
    """
    offsets, total = {}, 0
    for split, rows in splits.items():
        offsets[split], total = total, total + len(rows)
    chosen = []
    for part in parse_slices(expression):
        if part.split not in splits:
            raise DataError(f"{key}: the source has no split {part.split!r}; {nearest(part.split, splits)}")
        rows = splits[part.split]
        positions = range(len(rows))[part.start : part.stop]
        if not positions:
            raise DataError(
                f"{key}: {expression!r} holds no row, split {part.split!r} has {len(rows)}; choose other bounds"
            )
        chosen += [(offsets[part.split] + position, rows[position]) for position in positions]
    return chosen


def prepare(
    domain: Domain,
    settings: Mapping[str, Any],
    out: str | Path,
    seed: int,
    lock: str | Path = LOCK,
    made_with: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the train and test split of a domain; the same input gives the same bytes.

    Args:
        domain: says how rows are read and checked.
        settings: the block `data`: source (embedded | path | hub), path, train, test, revision; null slices
            are the domain's own for that source.
        out: folder to write; it appears whole or not at all.
        seed: of the generators that some domains add to their rows.
        lock: file that remembers which hub commit a null revision meant.
        made_with: all settings that the data depend on; later stages compare them with their own
            (`pipeline.provenance`), and refuse data without them.

    Returns:
        The manifest, as written to out/manifest.json. "dropped" lists rows that were left out, "replaced" rows with
        characters that are none (lone surrogates), each of which became "?".

    Raises:
        RowError: a row is malformed; names file, line and field.
        DataError: unknown source or split, missing folder, empty or overlapping splits, hub out of reach.
    """
    name = settings["source"]
    if name not in LABELS:
        raise DataError(f"data.source: {name!r} is unknown; {nearest(name, LABELS)}")
    chosen = expressions(domain, settings)
    source = _load(domain, settings, chosen, seed, Path(lock))
    kept, dropped, replaced = _split(domain, source, chosen)
    folder = Path(settings["path"]) if name == "path" else None
    origins = [origin for rows in kept.values() for _, origin in rows]
    manifest = {
        "domain": domain.name,
        "source": name,
        "origin": source.origin,
        "revision": source.revision,
        "licence": licences.licence(domain, name, origins, folder, source.licence),
        "seed": seed,
        "label": _label(domain, name, kept["test"]),
        "splits": {split: {"slice": chosen[split], "rows": len(rows)} for split, rows in kept.items()},
        "dropped": dropped,
        "replaced": replaced,
        **({} if made_with is None else {"settings": dict(made_with)}),
    }
    _say_replaced(domain, replaced)
    _write(Path(out), manifest, kept)
    return manifest


def _label(domain: Domain, source: str, test: Kept) -> str:
    """What tables call the data: the source, and whether the test rows come from a generator instead."""
    generated = [origin for _, origin in test if origin.startswith("generated:")]
    if not generated or not domain.generated_label:
        return LABELS[source]
    return f"{LABELS[source]}, {'' if len(generated) == len(test) else 'partly '}{domain.generated_label}"


def load_tasks(path: str | Path) -> list[Task]:
    """Read a train.jsonl or test.jsonl that `prepare` wrote.

    Plain JSON lines on purpose: `datasets` would copy each file to the user's cache and is slow to start.

    Raises:
        DataError: the file is missing, empty or holds something else.
    """
    tasks = []
    for number, row in enumerate(read_jsonl(path), start=1):
        if not isinstance(row, dict) or set(row) != {"id", "domain", "fields"}:
            raise DataError(f"{path}: row {number} is not id, domain and fields; prepare the data again")
        tasks.append(Task(**row))
    if not tasks:
        raise DataError(f"{path} holds no task; prepare the data again")
    return tasks


def tasks(domain: Domain, settings: Mapping[str, Any], seed: int) -> dict[str, list[Task]]:
    """Tasks by split as `prepare` would write them, without writing anything; raises as it does."""
    chosen = expressions(domain, settings)
    kept, *_ = _split(domain, _load(domain, settings, chosen, seed, LOCK), chosen)
    return {split: [task for task, _ in rows] for split, rows in kept.items()}


def expressions(domain: Domain, settings: Mapping[str, Any]) -> dict[str, str]:
    """Slice expressions by split: the settings' own, else the domain's for their source; DataError if neither."""
    defaults = domain.slices.get(settings["source"], (None, None))
    chosen = {}
    for split, default in zip(SPLITS, defaults, strict=True):
        expression = settings.get(split) or default
        if expression is None:
            raise DataError(
                f"{_key(domain, split)} is null and {domain.name} has no slice of its own for source "
                f'{settings["source"]}; write one like "train[0:1000]" or use {" or ".join(domain.slices)}'
            )
        chosen[split] = expression
    return chosen


def _key(domain: Domain, split: str) -> str:
    """The configuration key of a split's slice."""
    return f"domain.{domain.name}.data.{split}"


def surrogates(value: Any) -> int:
    """Lone surrogates in the texts of a row's fields: `domains.base.printable` makes each a "?"."""
    if isinstance(value, str):
        return sum("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return sum(map(surrogates, value.values()))
    return sum(map(surrogates, value)) if isinstance(value, list) else 0


def _say_replaced(domain: Domain, replaced: Sequence[Mapping[str, Any]]) -> None:
    if replaced:
        total, first = sum(row["characters"] for row in replaced), replaced[0]["origin"]
        print(
            f'{domain.name}: {total} lone surrogates, which are no characters, became "?" in {len(replaced)} rows, the '
            f"first is {first}; the manifest lists them",
            file=sys.stderr,
        )


def _load(domain: Domain, settings: Mapping[str, Any], expressions: Mapping[str, str], seed: int, lock: Path) -> Source:
    if settings["source"] == "embedded":
        return Source(domain.embedded(seed), domain.embedded_origin)
    if settings["source"] == "path":
        path = settings.get("path")
        if not path:
            raise DataError("data.path is empty; data.source: path needs the folder that holds the data sets")
        if not Path(path).is_dir():
            raise DataError(
                f"data.path: there is no folder {path} (seen from {Path.cwd()}); "
                "correct it, or use data.source: embedded or hub"
            )
        return Source(domain.read(Path(path), seed), str(path))
    return _load_hub(domain, settings, expressions, lock)


def _load_hub(domain: Domain, settings: Mapping[str, Any], expressions: Mapping[str, str], lock: Path) -> Source:
    repository, configuration = domain.hub or (None, None)
    if repository is None:
        raise DataError(f"{domain.name} has no data set on the hub; use data.source: embedded or path")
    revision = hub.resolve("dataset", repository, settings.get("revision"), lock)
    hub.announce("dataset", repository, revision, folder=configuration)
    needed = {part.split for expression in expressions.values() for part in parse_slices(expression)}
    loaded = hub.load_splits(repository, configuration, revision, needed)
    splits = {split: domain.hub_rows(split, rows) for split, rows in loaded.items()}
    origin = repository if configuration is None else f"{repository}/{configuration}"
    return Source(splits, origin, revision, hub.stated_licence(repository, revision))


def _split(
    domain: Domain, source: Source, expressions: Mapping[str, str]
) -> tuple[dict[str, Kept], list[dict[str, str]], list[dict[str, Any]]]:
    dropped: list[dict[str, str]] = []
    replaced: list[dict[str, Any]] = []
    kept = {}
    for split in SPLITS:
        chosen = select(expressions[split], source.splits, _key(domain, split))
        kept[split] = _tasks(domain, split, chosen, dropped)
        rows = {row.origin: row for _, row in chosen}
        for _, origin in kept[split]:
            if count := surrogates(rows[origin].fields):
                replaced.append({"split": split, "origin": origin, "characters": count})
    _refuse_overlap(domain, kept)
    return kept, dropped, replaced


def _tasks(domain: Domain, split: str, chosen: Sequence[tuple[int, RawRow]], dropped: list[dict[str, str]]) -> Kept:
    """Check rows, and drop (and list) those that the domain calls unusable or that repeat an earlier one."""
    kept: Kept = []
    origins: dict[str, str] = {}
    ids: dict[str, str] = {}
    for number, row in chosen:
        try:
            task = domain.task(row, number)
        except UnusableRow as error:
            dropped.append({"split": split, "origin": row.origin, "reason": str(error)})
            continue
        withheld = domain.withheld(task) if split == "train" else None
        if withheld is not None:
            dropped.append({"split": split, "origin": row.origin, "reason": withheld})
            continue
        key = domain.key(task)
        if key in origins:
            reason = f"the same content as {origins[key]}"
            dropped.append({"split": split, "origin": row.origin, "reason": reason})
            continue
        if task.id in ids:
            raise RowError(f"{row.origin}: id {task.id!r} is taken by {ids[task.id]}; give each its own")
        origins[key] = ids[task.id] = row.origin
        kept.append((task, row.origin))
    if not kept:
        reason = next(entry["reason"] for entry in dropped if entry["split"] == split)
        raise DataError(f"{_key(domain, split)}: all {len(chosen)} rows were dropped, the first because {reason}")
    return kept


def _refuse_overlap(domain: Domain, kept: Mapping[str, Kept]) -> None:
    train = {domain.key(task): origin for task, origin in kept["train"]}
    shared = [(train[domain.key(task)], origin) for task, origin in kept["test"] if domain.key(task) in train]
    if shared:
        first, second = shared[0]
        raise DataError(
            f"train and test overlap in {len(shared)} rows: {first} (train) and {second} (test) hold the "
            f"same {domain.name} task; choose {_key(domain, 'train')} and {_key(domain, 'test')} so that no row is in "
            "both"
        )


def _write(out: Path, manifest: dict[str, Any], kept: Mapping[str, Kept]) -> None:
    """Write the splits, add their digests to `manifest` and write it beside them, all or nothing."""
    with atomic_folder(out) as folder:
        for split, tasks in kept.items():
            path = folder / f"{split}.jsonl"
            write_atomic(path, "".join(_line(task, origin) for task, origin in tasks))
            manifest["splits"][split]["sha256"] = sha256(path)
        write_json(folder / "manifest.json", manifest)


def _line(task: Task, origin: str) -> str:
    record = {"id": task.id, "domain": task.domain, "fields": dict(task.fields)}
    try:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        line.encode("utf-8")
    except ValueError as error:
        raise RowError(f"{origin}: a field cannot be written as UTF-8 JSON ({error}); correct it") from error
    return line
