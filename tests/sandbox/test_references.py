"""All HumanEval reference solutions pass all their asserts."""

from __future__ import annotations

from collm.domains.coding.humaneval import package_file
from collm.domains.readers import read_rows
from collm.sandbox import Program, split_check


def test_every_reference_passes_every_assert(sandbox):
    rows = [row.fields for row in read_rows(package_file())]
    programs = []
    for row in rows:
        setup, checks = split_check(row["test"], row["prompt"])
        source = row["prompt"] + row["canonical_solution"]
        programs.append(Program(source, checks, row["entry_point"], setup, 60.0, 60.0))
    verdicts = sandbox.run(programs)
    failed = {row["task_id"]: v for row, v in zip(rows, verdicts, strict=True) if not v.all_passed}
    assert len(rows) == 164 and not failed
    assert sum(len(verdict.checks) for verdict in verdicts) > 1100
