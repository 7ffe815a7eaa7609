"""Hostile programs: each is contained, none is scored as passed, an honest one beside it is, and nothing is left."""

from __future__ import annotations

import os

import pytest
from bombs import BOMBS, MANY_FILES
from hostile import FORGERIES, INTRUSIONS
from processes import below_workers
from support.golden_rows import golden

from collm.sandbox import Program

HOSTILE = {**FORGERIES, **INTRUSIONS, **BOMBS}
PATIENT = 30.0  # seconds; a program that must pass does so on a machine busy with other work, too
CHECK = ("assert candidate(1) == 2",)
HONEST = Program("import math\ndef f(x):\n    return math.floor(x) + 1\n", CHECK, "f", "", PATIENT)


@pytest.fixture(scope="module")
def verdicts(sandbox, victim):
    """All hostile programs in turn, each with an honest one at its heels."""
    print(sandbox.layers.line())
    programs = [Program(victim.fill(source), CHECK, "f") for source in HOSTILE.values()]
    found = sandbox.run([program for pair in zip(programs, [HONEST] * len(programs), strict=True) for program in pair])
    return dict(zip(HOSTILE, zip(found[::2], found[1::2], strict=True), strict=True))


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_does_not_pass(verdicts, name):
    verdict, honest = verdicts[name]
    if name == "wide_source":  # merely big: fine if it compiles in time, and honest
        assert verdict.checks[0].error in ("TypeError", "AssertionError", "RecursionError", "TimeLimit", "MemoryError")
    assert not verdict.all_passed
    assert verdict.checks[0].error
    assert honest.all_passed, honest
    assert verdict.seconds < 20


def test_nothing_is_left_behind(verdicts, victim, places, sandbox):
    assert victim.damage() == []
    assert [sorted(os.listdir(folder)) for folder in places] == [[], []]
    left = below_workers(sandbox)
    assert "Z" not in left.values()
    # launcher, template and at most one idle checker for each worker
    assert len(left) <= 3 * len(sandbox.workers)


def test_many_nested_files_are_removed(sandbox):
    assert sandbox.run([Program(MANY_FILES, CHECK, "f", "", PATIENT)])[0].all_passed
    listing = "import os\ndef f(x): return sorted(os.listdir('.'))"
    assert sandbox.run([Program(listing, ("assert candidate(1) == []",), "f", "", PATIENT)])[0].all_passed


GOLDEN = {
    "robust-pub-sys_exit": 0,
    "robust-pub-swallow_timeout": 0,
    "robust-pub-memory": 0,
    "robust-pub-write_file": 2,
    "robust-pub-fork_children": 0,
    "robust-pub-always_equal": 0,
    "robust-pub-stdout_flood": 0,
    "robust-pub-load_hang": 0,
}


def test_golden_rows(sandbox, places):
    """The stated hostile programs; writing a file is allowed and harmless, in the folder that goes away."""
    rows = {row["id"]: row["inputs"] for row in golden("coding_robustness")}
    assert set(rows) == set(GOLDEN)
    programs = [
        Program(
            inputs["aux_completion"] + "\n\n" + inputs["main_completion"],
            ("assert candidate(1) == 1", "assert candidate(2) == 2"),
            inputs["entry_point"],
            check_seconds=PATIENT if GOLDEN[name] else None,
        )
        for name, inputs in rows.items()
    ]
    found = dict(zip(rows, sandbox.run(programs), strict=True))
    assert {name: verdict.passed for name, verdict in found.items()} == GOLDEN
    assert not found["robust-pub-load_hang"].loaded
    assert [sorted(os.listdir(folder)) for folder in places] == [[], []]
    assert len(below_workers(sandbox)) <= 3 * len(sandbox.workers)
