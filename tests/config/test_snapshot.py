"""The configuration that travels with the jobs of a run."""

from __future__ import annotations

import json
import os

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config import snapshot
from collm.config.load import load_config
from collm.config.resolve import merge, resolve_settings


@pytest.fixture(scope="module")
def config():
    return load_config([ROOT / "config" / "config.yaml"])


def test_a_name_stands_for_values(config, tmp_path):
    other = merge(config, {"seeds": [7]})
    backwards = dict(reversed(list(config.items())))
    assert snapshot.digest(backwards) == snapshot.digest(config) != snapshot.digest(other)
    first, second = snapshot.keep(config, tmp_path), snapshot.keep(other, tmp_path)
    assert first.name == f"{snapshot.digest(config)}.json" != second.name
    assert json.loads(first.read_text()) == config and json.loads(second.read_text()) == other
    assert load_config([first]) == config


def test_a_snapshot_is_written_once_and_a_damaged_one_again(config, tmp_path):
    file = snapshot.keep(config, tmp_path)
    inode = file.stat().st_ino
    os.utime(file, (1, 1))
    assert snapshot.keep(config, tmp_path) == file
    assert file.stat().st_ino == inode and file.stat().st_mtime > 1, "the same file, now the newest"
    file.write_text('{"seeds": [9]}')
    assert json.loads(snapshot.keep(config, tmp_path).read_text()) == config


def test_a_job_on_a_node_takes_the_snapshot_of_its_run(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, edited = snapshot.keep(config), merge(config, {"seeds": [7]})
    monkeypatch.setenv(snapshot.VARIABLE, str(file))
    assert snapshot.of_this_run(edited) == (file, config), "the user edited a file while the job was queued"
    monkeypatch.delenv(snapshot.VARIABLE)
    assert snapshot.of_this_run(config) == (file, config)
    with pytest.raises(ConfigError, match="the configuration files changed since this run began"):
        snapshot.of_this_run(edited)


def test_the_settings_of_a_job_name_their_configuration(config):
    resolved = resolve_settings(config, "tldr", "collm_cc")
    assert resolved["configuration"] == snapshot.digest(config)
