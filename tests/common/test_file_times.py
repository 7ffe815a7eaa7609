"""Times of files that DVC copies or links."""

from __future__ import annotations

import os

import pytest

from collm.common import file_times


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name, time in (("input", 100), ("output", 200)):
        (tmp_path / "data" / name).write_text(f"{name} of a run")
        os.utime(tmp_path / "data" / name, (time, time))
    file_times.remember(tmp_path / "record.json", [tmp_path / "data", tmp_path / "not_there"])
    return tmp_path


def times(folder):
    return {path.name: path.lstat().st_mtime for path in sorted((folder / "data").iterdir())}


def test_copies_get_their_times_back(folder):
    for name in ("output", "input"):  # in any order
        path = folder / "data" / name
        text = path.read_text()
        path.unlink()
        path.write_text(text)
    file_times.restore(folder / "record.json")
    assert times(folder) == {"input": 100, "output": 200}


def test_a_link_gets_its_own_time_and_its_target_keeps_its(folder):
    cached = folder / "cached"
    (folder / "data" / "input").rename(cached)
    os.utime(cached, (50, 50))
    (folder / "data" / "input").symlink_to(cached)
    file_times.restore(folder / "record.json")
    assert times(folder)["input"] == 100 and cached.stat().st_mtime == 50


def test_other_content_keeps_its_new_time(folder):
    (folder / "data" / "input").write_text("input of a ruN")
    os.utime(folder / "data" / "input", (300, 300))
    (folder / "data" / "output").unlink()
    file_times.restore(folder / "record.json")
    assert times(folder) == {"input": 300}
    file_times.remember(folder / "record.json", [folder / "data"])
    os.utime(folder / "data" / "input", (400, 400))
    file_times.restore(folder / "record.json")
    assert times(folder) == {"input": 300}


def test_without_a_record_nothing_happens(folder):
    os.utime(folder / "data" / "input", (300, 300))
    file_times.restore(folder / "none.json")
    assert times(folder)["input"] == 300
