"""Digests of a base: every file that decides what it computes, read again when it changes; and files' modes."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

from collm.llm import sources


@pytest.fixture
def model(models_folder, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(models_folder / "tiny", folder)
    return folder


def test_weights_and_tokenizer_count_and_descriptions_do_not(model):
    digests = sources.digests(model)
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= digests.keys()
    assert not {"model.json", sources.DIGESTS} & digests.keys()
    (model / "model.json").write_text("{}")
    (model / "README.md").write_text("words")
    assert sources.digests(model) == digests
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    changed = sources.digests(model)
    assert {name for name in digests if changed[name] != digests[name]} == {"model.safetensors"}


def test_files_are_read_once(model, monkeypatch):
    (model / sources.DIGESTS).unlink(missing_ok=True)  # a model that was made before there were digests
    digests = sources.digests(model)
    read = []
    real = sources.sha256
    monkeypatch.setattr(sources, "sha256", lambda path: read.append(path.name) or real(path))
    assert sources.digests(model) == digests and read == []
    os.utime(model / "tokenizer.json", ns=(1, 1))
    assert sources.digests(model) == digests and read == ["tokenizer.json"]


def test_a_copied_folder_does_not_bring_its_digests(model, tmp_path):
    """A copy keeps size and time of a file: what the copied folder remembers need not be true of it."""
    kept = json.loads((model / sources.DIGESTS).read_text()) if (model / sources.DIGESTS).exists() else {}
    kept["model.safetensors"] = {
        "size": (model / "model.safetensors").stat().st_size,
        "time": (model / "model.safetensors").stat().st_mtime_ns,
        "sha256": "0" * 64,
    }
    (model / sources.DIGESTS).write_text(json.dumps(kept))
    sources.make("copy", {"source": "folder", "path": str(model)}, tmp_path / "copy", [], 0, tmp_path / "lock.json")
    assert sources.digests(tmp_path / "copy")["model.safetensors"] != "0" * 16


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_prepared_model_follows_the_umask(model, tmp_path, umask):
    (model / "model.safetensors").chmod(0o600)  # as safetensors writes it
    before = os.umask(umask)
    try:
        sources.make("copy", {"source": "folder", "path": str(model)}, tmp_path / "copy", [], 0, tmp_path / "lock.json")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "copy").iterdir()} == {0o666 & ~umask}
