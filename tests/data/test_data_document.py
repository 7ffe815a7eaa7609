"""docs/data.md against the readers: it names the files that they look for, and its rows become tasks."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from support.places import ROOT

from collm import domains
from collm.common.errors import DataError
from collm.config.job import build_domain
from collm.config.load import load_config
from collm.config.resolve import resolve_job

SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/data.md").read_text("utf-8"), re.M | re.S))
FILE = re.compile(r"`([\w./-]+/[\w.-]+\.(?:jsonl\.gz|jsonl|json|csv))`")


@pytest.fixture(scope="module")
def config() -> dict:
    return load_config([ROOT / "config/config.yaml"])


def named(section: str) -> list[str]:
    """Files that a section names for users' own rows."""
    return [name for name in FILE.findall(section) if not name.startswith("src/")]


def test_every_benchmark_has_a_section():
    assert set(SECTIONS) == set(domains.NAMES)


@pytest.mark.parametrize("name", domains.NAMES)
def test_the_files_are_those_that_the_reader_looks_for(config, tmp_path, name):
    domain = build_domain(resolve_job(config, name))
    with pytest.raises(DataError) as refused:
        domain.read(tmp_path)
    looked = str(refused.value).split("looked for ")[1].split(". Set ")[0].split(", ")
    assert sorted(named(SECTIONS[name])) == sorted(str(Path(file).relative_to(tmp_path)) for file in looked)


@pytest.mark.parametrize("name", domains.NAMES)
def test_the_row_becomes_a_task(config, tmp_path, name):
    domain = build_domain(resolve_job(config, name))
    (row,) = re.findall(r"```\w+\n(.*?)```", SECTIONS[name], re.S)
    for file in named(SECTIONS[name]):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(row.encode()) if file.endswith(".gz") else row.encode())
    splits = domain.read(tmp_path)
    rows = [row for rows in splits.values() for row in rows if ":" in row.origin and "generated" not in row.origin]
    assert rows and all(domain.task(row, 0).domain == name for row in rows[:1])
