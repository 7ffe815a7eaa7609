"""Coding rewards of profile `released`: the golden rows, and how it reads completions and tests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import FOLDER, differences, golden

from collm import domains
from collm.common import cli
from collm.domains.base import Task
from collm.domains.coding import reward_released
from collm.stages import score

NAMES = ("coophe", "humaneval", "mbpp")
QUICK = {"check_seconds": 0.3}  # for endless loops; the reward does not depend on it
ROWS = [pytest.param(name, row, id=row["id"]) for name in NAMES for row in golden(name)]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_golden_row(name, row):
    reward, components = domains.get(name)(QUICK, "released").score_case(row["inputs"])
    assert reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert differences(components, row["components"]) == {}


def test_the_parts_of_a_step_are_the_components_of_the_golden_rows():
    domain = domains.get("coophe")({**QUICK, "feedback_tests": "released"}, "released")
    for row in golden("coophe")[:16]:
        inputs = row["inputs"]
        task = Task("t", "coophe", {**inputs, "solution": "", "reference": None})
        step = domain.step(task, 0, [inputs["aux_completion"], inputs["main_completion"]], None)
        assert step.reward == pytest.approx(row["expected_reward"], abs=1e-9)
        assert sum(step.parts.values()) == pytest.approx(step.reward)
        passed, total = (row["components"][name] for name in ("tests_passed", "tests_total"))
        assert step.metrics["pass_rate"] == pytest.approx(100 * passed / total)
        assert step.metrics["pass_at_1"] == 100 * (passed == total)


@pytest.mark.parametrize("name", NAMES)
def test_the_script_scores_rows_and_says_which_walls_are_on(name, tmp_path, capfd):
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    cases = tmp_path / "cases.jsonl"
    cases.write_text("\n".join(line for line in lines if "needs_timeout" not in line), encoding="utf-8")
    assert cli.run(score.main, ["--domain", name, "--profile", "released", str(cases)]) == 0
    output = capfd.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    expected = [row for row in golden(name) if "needs_timeout" not in row]
    assert [row["reward"] for row in rows] == pytest.approx([row["expected_reward"] for row in expected], abs=1e-9)
    assert all(differences(row["components"], one["components"]) == {} for row, one in zip(rows, expected, strict=True))


def test_the_time_limit_is_the_released_one():
    assert domains.get("mbpp")({}, "released").check_seconds == 10.0
    assert domains.get("mbpp")({}, "paper").check_seconds == 8.0
    assert domains.get("mbpp")({"check_seconds": 3}, "paper").check_seconds == 3.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no code here", ""),
        ("```python\ndef f(x):\n    return x\n```\ntext", "def f(x):\n    return x"),
        ("import os\n\ndef f(x):\n    return x\n\nX = 1", "def f(x):\n    return x"),
        ("def f(x):\n    a = 1\n\n    return a\nprint(f(1))\n    b", "def f(x):\n    a = 1\n\n    return a"),
        ("def f(x):\n    def g(y):\n        return y\n    return g(x)", "def f(x):\n\n    def g(y):\n        return y"),
        ("def f(x):\n\tif x:\n\t\treturn x", "def f(x):\n\tif x:\n\t\treturn x"),
        ('def f(x):\n"""Doc."""\n    return x', 'def f(x):\n"""Doc."""\n    return x'),
        ("def f(x):\n    Here it is.\n    return x", "def f(x):\n    return x"),
        ("async def f(x):\n    return x", ""),
    ],
)
def test_completions_are_cleaned_line_by_line(text, expected):
    assert reward_released.clean(text) == expected


def test_tests_are_read_line_by_line():
    test = (
        "X = 1\n\ndef check(candidate):\n    y = 2\n    assert candidate(1) == 1, 'candidate'\n"
        "    assert candidate(1) == 1\n    assert candidate(1) == 1\n    assert y\n"
        "    for i in range(3):\n        assert candidate(i) == i\n"
        "    assert abs(candidate((1, 2)) - 1) < 1\n\ndef other():\n    assert candidate(9)\n"
    )
    prompt = "import math\nfrom os import path, sep\nimport math\ndef f(): pass"
    setup, checks = reward_released.checks(test, prompt, "f")
    assert setup == "import math\nfrom os import path, sep"
    assert [check.split("\n")[-1] for check in checks] == [
        "assert f(1) == 1, 'f'",
        "assert f(1) == 1",
        "assert f(i) == i",
        "assert abs(f((1, 2)) - 1) < 1",
    ]
    assert [check.count("\n") for check in checks] == [2, 2, 2, 0]  # simple ones call once more before


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=300), st.lists(st.sampled_from(["def f(x):", "    return x", "\t", '"""', "    ", "x"])))
def test_cleaning_never_fails_and_keeps_functions_only(text, lines):
    for given_text in (text, "\n".join(lines), "\n".join([text, *lines])):
        cleaned = reward_released.clean(given_text)
        assert not cleaned.strip() or "def " in cleaned.split("\n")[0]
        assert reward_released.extract(cleaned, "f") == "" or "def" in reward_released.extract(cleaned, "f")
