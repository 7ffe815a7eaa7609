"""Files that are no good: each is refused with its name, the line and what to do."""

from __future__ import annotations

import json

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config.load import check_files, load_config
from collm.config.read_files import read_files

DEFAULT = ROOT / "config" / "config.yaml"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["line 1: holds no mapping of keys to values", "it is empty"]),
        ("# a comment\n\n", ["holds no mapping", "comments alone"]),
        ("# a comment\n- seeds: [0]\n", ["line 2: holds no mapping", "it is a list"]),
        ("seeds 1\n", ["line 1: holds no mapping", "it is a str"]),
        ("seeds: [0\nmethods: [ac]\n", ["line 2: is not valid YAML", "while parsing a flow sequence"]),
        ("seeds: [0]\n\tmethods: [ac]\n", ["line 2: is not valid YAML"]),
        ("data: {seed: 1}\n---\nseeds: [0]\n", ["line 2: is not valid YAML", "another document"]),
        ("seeds: *none\n", ["line 1: is not valid YAML", "undefined alias"]),
        ("data: &a {path: *a}\n", ["line 1: is not valid YAML", "recursive"]),
        ("revision: 2026-13-01\n", ["is not valid YAML", "month"]),
        ("seeds: [0]\nmethods: [ac]\nseeds: [1]\n", ["line 3: key 'seeds' stands twice", "in lines 1 and 3"]),
        (
            "defaults:\n  training:\n    epochs: 1\n    shuffle: true\n    'epochs': 2\n",
            ["line 5: key 'epochs' stands twice in one mapping, in lines 3 and 5", "keep one of them"],
        ),
        ("domain:\n  tldr: {training: {epochs: 1}}\n  arxiv: {}\n  tldr: {}\n", ["key 'tldr'", "in lines 2 and 4"]),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, content, words):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    for read in (lambda: load_config([DEFAULT, file]), lambda: check_files([DEFAULT, file], {})):
        with pytest.raises(ConfigError) as error:
            read()
        message = str(error.value)
        assert message.startswith(f"{file}") and all(word in message for word in words), message
        assert "\n" not in message


def test_other_encodings_and_json(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes("seeds: [0]\nrevision: früh\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"mine.yaml, line 2: byte 0xfc is no UTF-8"):
        read_files([file])
    file.write_bytes("seeds: [7]\n".encode("utf-8-sig"))
    assert read_files([file]) == [{"seeds": [7]}]
    file = tmp_path / "mine.json"
    file.write_text('{"seeds": [0],\n "data": {"seed": 1, "seed": 2}}')
    with pytest.raises(ConfigError, match=r"mine.json: key 'seed' stands twice"):
        read_files([file])
    file.write_text('{"seeds": [0],\n "data": }')
    with pytest.raises(ConfigError, match=r"mine.json, line 2: is not valid JSON"):
        read_files([file])


def test_a_merged_key_may_be_overridden(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\n")
    assert read_files([file]) == [{"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 3}}]


def test_a_file_that_is_named_twice_counts_where_it_stands_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n")
    assert read_files(["a.yaml", tmp_path / "b.yaml", tmp_path / "a.yaml"]) == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize("number", ["0", "2"])
def test_seeds_are_written_as_whole_numbers(tmp_path, number):
    (tmp_path / "mine.json").write_text(json.dumps({"seeds": [float(number)]}))
    with pytest.raises(ConfigError, match=rf"seeds: {number}.0 is refused: seeds name folders; write {number}"):
        load_config([DEFAULT, tmp_path / "mine.json"])
