"""A wheel of this repository works without the repository, and asks for what requirements.txt pins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from support.places import ROOT
from support.workflow import copy_of_repository

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"[\w-]+==")
ALL = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]


def test_ranges_of_the_package_hold_what_is_pinned():
    pins, of_developers = (
        dict(line.split("==") for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if PIN.match(line))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    ranges = {requirement.name: requirement.specifier for requirement in map(Requirement, ALL)}
    assert set(pins) <= set(ranges)
    assert set(ranges) - set(pins | of_developers) == {"wandb", "bitsandbytes"}, "what nothing here needs"
    known = [(name, version) for name, version in (of_developers | pins).items() if name in ranges]
    assert [name for name, version in known if version not in ranges[name]] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel was unpacked, as `pip install --target` does."""
    folder = tmp_path_factory.mktemp("package")
    copy = copy_of_repository(folder / "copy")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "."]
    done = subprocess.run([*build, "-w", str(folder)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = folder.glob("collm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        names = archive.namelist()
    return folder / "site", names


def test_a_wheel_holds_what_it_needs(installed):
    site, names = installed
    shipped = {path.name for path in (ROOT / "config").iterdir() if path.suffix in (".yaml", ".json")}
    assert {name.removeprefix("collm/defaults/") for name in names if name.startswith("collm/defaults/")} == shipped
    for folder in ("domains/embedded", "report"):
        data = {path.name for path in (ROOT / "src/collm" / folder).iterdir() if path.suffix not in (".py", "")}
        assert data <= {name.split("/")[-1] for name in names if name.startswith(f"collm/{folder}/")}
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/collm").rglob("*.py")}
    assert modules <= set(names) and not [name for name in names if name.startswith(("tests", "train", "config"))]
    assert "collm = collm.command.main:main" in (next(site.glob("*.dist-info")) / "entry_points.txt").read_text()


def test_a_wheel_works_far_from_the_repository(installed, tmp_path):
    site, _ = installed
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for words in (["prepare", "--help"], ["plan", "--seeds", "0", "--json", "plan.json"]):
        command = [sys.executable, "-m", "collm", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    code = (
        "from collm.stages import prepare_data; prepare_data.main(['--domain', 'tldr']); "
        "from collm.common import shipped; print(shipped.folder())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(site / "collm" / "defaults"), done.stderr[-3000:]
    assert (tmp_path / "data/tldr/manifest.json").is_file() and (tmp_path / "plan.json").is_file()
