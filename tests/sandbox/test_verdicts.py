"""What a verdict says about honest, wrong, slow and dying programs, and how checks see the function."""

from __future__ import annotations

import pytest

from collm.common.errors import RowError
from collm.sandbox import Limits, Program, Sandbox, SandboxError, split_check

PATIENT = 30.0


def run(sandbox, source, *checks, setup="", seconds=PATIENT):
    return sandbox.run([Program(source, checks, "f", setup, seconds, PATIENT)])[0]


def test_checks_are_counted_one_by_one(sandbox):
    verdict = run(
        sandbox,
        "def f(x): return x / 2",
        "assert candidate(2) == 1",
        "assert candidate(1) == 1, 'halves'",
        "candidate('a')",
        "assert f(4) == 2",
    )
    assert [check.passed for check in verdict.checks] == [True, False, False, True]
    assert (verdict.checks[1].error, verdict.checks[1].message) == ("AssertionError", "halves")
    assert verdict.checks[2].error == "TypeError" and verdict.passed == 2 and not verdict.all_passed
    assert verdict.loaded and verdict.problem is None and verdict.seconds > 0


def test_tolerances_loops_helpers_and_keywords(sandbox):
    verdict = run(
        sandbox,
        "def f(x, scale=1.0): return x * scale / 3",
        "assert abs(candidate(1) - 1 / 3) < 1e-9",
        "for i in range(50):\n    assert math.isclose(candidate(i, scale=3), near(i))",
        "total = sum(candidate(i) for i in range(4))\nassert total == 2",
        setup="import math\ndef near(x):\n    return float(x)",
    )
    assert verdict.all_passed, verdict


def test_expected_exceptions_by_type(sandbox):
    source = """
class Own(ValueError): pass
def f(x):
    if x == 0: raise Own("zero")
    if x == 1: raise ZeroDivisionError
    raise SystemExit(3)
"""
    expected = "try:\n    candidate({})\nexcept {} as error:\n    {}\nelse:\n    assert False"
    verdict = run(
        sandbox,
        source,
        expected.format(0, "ValueError", "assert error.args == ('zero',)"),
        expected.format(1, "ArithmeticError", "pass"),
        expected.format(2, "Exception", "pass"),
        "candidate(0)",
    )
    assert [check.passed for check in verdict.checks] == [True, True, False, False]
    assert [(check.error, check.message) for check in verdict.checks[2:]] == [("SystemExit", "3"), ("Own", "zero")]


def test_functions_that_change_their_argument(sandbox):
    verdict = run(
        sandbox,
        "def f(xs, seen={}):\n    xs.sort()\n    xs[-1].append(0)\n    return xs",
        "xs = [[3], [1], [2]]\nassert candidate(xs) is xs and xs == [[1], [2], [3, 0]]",
        "inner = []\nassert candidate([inner]) == [[0]] and inner == [0]",
    )
    assert verdict.all_passed, verdict


def test_state_lives_on_between_checks_and_each_call_runs_once(sandbox):
    source = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls)"
    verdict = run(sandbox, source, "assert f() == 1", "assert f() == 2")
    assert verdict.all_passed


def test_a_dead_process_is_replaced_and_state_is_lost(sandbox):
    source = "import os\ncalls = []\ndef f(x):\n    calls.append(x)\n    if x == 2: os._exit(7)\n    return len(calls)"
    verdict = run(sandbox, source, "assert f(0) == 1", "assert f(2)", "assert f(1) == 1")
    assert [check.passed for check in verdict.checks] == [True, False, True]
    assert verdict.deaths == 1 and verdict.checks[1].error == "Died" and "exit status 7" in verdict.checks[1].message


def test_a_death_fails_the_check_even_where_the_check_catches_everything(sandbox):
    swallow = "try:\n    candidate(1)\nexcept BaseException:\n    pass"
    verdict = run(sandbox, "import os\ndef f(x): os._exit(0)", *[swallow] * 5)
    assert [check.error for check in verdict.checks] == ["Died"] * 3 + ["Skipped"] * 2


def test_three_time_limits_skip_the_rest(sandbox):
    verdict = run(sandbox, "def f(x):\n    while x: pass\n    return 0", *["assert f(1) == 0"] * 5, seconds=0.3)
    assert verdict.timeouts == 3 and [check.error for check in verdict.checks] == ["TimeLimit"] * 3 + ["Skipped"] * 2


def test_a_slow_check_itself_is_ended(sandbox):
    verdict = run(sandbox, "def f(x): return x", "while f(0) == 0: pass", "assert f(1) == 1", seconds=1.0)
    assert verdict.checks[0].error == "TimeLimit" and verdict.checks[1].error in (None, "TimeLimit")


def test_programs_that_do_not_load(sandbox):
    broken = {"def f(:": "SyntaxError", "x = 1": "NameError", "1 / 0": "ZeroDivisionError", "": "NameError"}
    for source, error in broken.items():
        verdict = run(sandbox, source, "assert f(1) == 1", "assert f(2) == 2")
        assert not verdict.loaded and verdict.problem.startswith(error) and verdict.passed == 0
        assert {check.error for check in verdict.checks} == {error}


def test_odd_sources(sandbox):
    longest = Limits().value_bytes
    plain = "\r\ndef f(x): return x\r\n"
    for source in (plain, plain + "# \u202e\u05d0", "#" * 1_000_000 + plain):
        assert run(sandbox, source, "assert f(1) == 1").all_passed, source[:20]
    for source in ("\0", "\ud800", "#" * longest, "x" * (1 << 26)):
        assert not run(sandbox, source, "assert f(1) == 1").loaded


def test_broken_set_up_and_unsendable_arguments_are_named(sandbox):
    assert run(sandbox, "def f(x): return x", "assert f(1)", setup="1 / 0").checks[0].error == "SetupFailed"
    assert run(sandbox, "def f(x): return x", "assert f(len)").checks[0].error == "Unsendable"


def test_iterator_exceptions_cannot_cut_a_check_short(sandbox):
    verdict = run(sandbox, "def f(x): raise StopIteration", "assert all(map(candidate, [1, 2]))")
    assert verdict.checks[0].error == "StopIteration"


def test_same_program_same_verdict(sandbox):
    source = "import random\ndef f(x): return list({str(i) for i in range(50)}), random.random(), hash('a')"
    program = Program(source, ("assert candidate(1) == 0, repr(candidate(1))[:280]",), "f", "", PATIENT)
    assert len({verdict.checks[0].message for verdict in sandbox.run([program] * 4)}) == 1


def test_no_checks_and_no_programs(sandbox):
    assert sandbox.run([]) == []
    verdict = run(sandbox, "def f(x): return x")
    assert verdict.loaded and verdict.checks == () and not verdict.all_passed


def test_use_before_start_and_bad_settings():
    with pytest.raises(SandboxError, match="with Sandbox"):
        Sandbox().run([])
    with pytest.raises(ValueError, match="workers"):
        Sandbox(workers=0)
    with pytest.raises(ValueError, match="seccomp"):
        Sandbox(without=["secomp"])


def test_split_check_keeps_order_and_drops_what_says_nothing():
    test = """
METADATA = {}
def check(candidate):
    assert True, "always"
    x = 3
    assert candidate(x) == 1
    for i in range(2):
        assert candidate(i) == i
    assert not candidate(
        9
    )
check(f)
"""
    setup, checks = split_check(test, "def helper(x):\n    return x\n")
    assert checks == (
        "assert True, 'always'\nx = 3\nassert candidate(x) == 1",
        "for i in range(2):\n    assert candidate(i) == i",
        "assert not candidate(9)",
    )
    assert "helper" in setup and "METADATA = {}" in setup and "check(f)" not in setup


@pytest.mark.parametrize("test", ["def check(candidate):\n    pass", "x = 1", "def check(", "\0"])
def test_split_check_names_what_is_wrong(test):
    with pytest.raises(RowError):
        split_check(test)
