"""Files and folders have the mode that the umask gives, whoever writes them."""

from __future__ import annotations

import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from collm.common.files import atomic_folder, write_atomic, write_json


@pytest.fixture(params=[0o002, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def wrong_modes(root, umask):
    """What below `root` has another mode than the umask gives."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*") if not path.is_symlink()}
    right = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in modes}
    assert modes
    return {path.name: oct(modes[path]) for path in modes if modes[path] != right[path]}


def test_files_and_folders_follow_the_umask(tmp_path, umask):
    source = tmp_path / "elsewhere"
    source.write_text("weights")
    source.chmod(0o400)
    root = tmp_path / "root"
    write_atomic(root / "a" / "text", "x")
    write_json(root / "b.json", {})
    for _ in range(2):  # the second takes the place of the first
        with atomic_folder(root / "model") as folder:
            save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
            (folder / "inner").mkdir(mode=0o700)
            (folder / "inner" / "private").write_text("x")
            (folder / "inner" / "private").chmod(0o600)
            (folder / "link").symlink_to(source)
    assert wrong_modes(root, umask) == {}
    assert stat.S_IMODE(source.stat().st_mode) == 0o400  # a link's target is somebody else's


def test_an_executable_stays_executable_and_a_shared_folder_shared(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    with atomic_folder(shared / "model") as folder:
        (folder / "tool").write_text("x")
        (folder / "tool").chmod(0o700)
        (folder / "inner").mkdir()
    assert (shared / "model" / "tool").stat().st_mode & stat.S_IXUSR
    assert (shared / "model").stat().st_mode & stat.S_ISGID and (
        shared / "model" / "inner"
    ).stat().st_mode & stat.S_ISGID
