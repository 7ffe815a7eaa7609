"""Coding rewards of profile `paper`: every documented difference from `released`, and any text at all."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import golden

from collm import domains
from collm.domains.base import Task
from collm.domains.coding import reward_paper
from collm.domains.coding.helper_use import calls_aux, ignored_calls, is_wrapper, reachable
from collm.domains.coding.syntax import LONGEST, Unparsable, definition, parse
from collm.sandbox import split_check

PROMPT = 'def f(xs):\n    """Add up the squares."""\n'
TEST = "def check(candidate):\n    assert candidate([1, 2]) == 5\n    assert candidate([3]) == 9\n"
AUX = "def aux(xs):\n    return [x * x for x in xs]"
MAIN = "def f(xs):\n    squares = aux(xs)\n    return sum(squares)"
QUICK = {"check_seconds": 0.5}
PAPER, RELEASED = (domains.get("coophe")(QUICK, profile) for profile in ("paper", "released"))


def rewards(aux=AUX, main=MAIN, test=TEST, prompt=PROMPT):
    case = {"aux_completion": aux, "main_completion": main, "test": test, "prompt": prompt, "entry_point": "f"}
    return tuple(domain.score_case(case)[0] for domain in (PAPER, RELEASED))


DIFFERENCES = {
    "imports": {
        "aux": "import math\n\ndef aux(xs):\n    return [int(math.pow(x, 2)) for x in xs]",
        "expected": (4.0, 1.5),
    },
    "imports_of_main": {
        "main": "from math import fsum\n\ndef f(xs):\n    squares = aux(xs)\n    return fsum(squares)",
        "expected": (4.0, 1.5),
    },
    "nested_definition": {
        "main": "def f(xs):\n    def add(a):\n        return sum(a)\n    squares = aux(xs)\n    return add(squares)",
        "expected": (4.0, 1.5),
    },
    "extra_helper": {
        "main": "def add(a):\n    return sum(a)\n\ndef f(xs):\n    squares = aux(xs)\n    return add(squares)",
        "expected": (4.0, 1.5),
    },
    "extra_helper_that_calls_aux": {
        "main": "def add(xs):\n    return sum(aux(xs))\n\ndef f(xs):\n    total = add(xs)\n    return total",
        "expected": (4.0, 1.5),
    },
    "constant_and_class": {
        "aux": "POWER = 2\nclass P:\n    n = POWER\n\ndef aux(xs):\n    return [x ** P.n for x in xs]",
        "expected": (4.0, 1.5),
    },
    "decorator": {
        "aux": "def twice(g):\n    return lambda xs: g(xs)\n\n@twice\ndef aux(xs):\n    return [x * x for x in xs]",
        "main": "import functools\n\n@functools.cache\ndef root():\n    return 0\n\n"
        "def f(xs):\n    squares = aux(xs)\n    return sum(squares) + root()",
        "expected": (4.0, 1.5),
    },
    "last_definition_counts": {
        "main": "def f(xs):\n    return -1\n\ndef g():\n    return 0\n\n" + MAIN,
        "expected": (4.0, 1.5),
    },
    "helper_of_the_prompt": {
        "prompt": "def add(a):\n    return sum(a)\n\n" + PROMPT,
        "main": "def f(xs):\n    squares = aux(xs)\n    return add(squares)",
        "expected": (4.0, 1.5),
    },
    "call_in_a_comment": {
        "main": "def f(xs):\n    # aux(xs) would help\n    total = sum(x * x for x in xs)\n    return total",
        "expected": (2.5, 4.0),
    },
    "call_in_a_string": {
        "main": "def f(xs):\n    note = 'aux(xs)'\n    total = sum(x * x for x in xs)\n    return total",
        "expected": (2.5, 4.0),
    },
    "aux_handed_on": {
        "aux": "def aux(x):\n    return x * x",
        "main": "def f(xs):\n    squares = map(aux, xs)\n    return sum(squares)",
        "expected": (4.0, 2.5),
    },
    "aux_bound_anew": {
        "main": "def f(xs, aux=sorted):\n    aux(xs)\n    total = sum(x * x for x in xs)\n    return total",
        "expected": (2.5, 4.0),
    },
    "return_in_a_comment_only": {
        "aux": "def aux(xs):\n    # return xs\n    pass",
        "main": "def f(xs):\n    return sum(x * x for x in xs)",
        "expected": (2.1, 2.5),
    },
    "return_of_an_inner_function_only": {
        "aux": "def aux(xs):\n    def inner():\n        return 1",
        "main": "def f(xs):\n    return sum(x * x for x in xs)",
        "expected": (2.1, 2.5),
    },
    "generator": {"aux": "def aux(xs):\n    for x in xs:\n        yield x * x", "expected": (4.0, 3.6)},
    "wrapper_behind_a_dummy_line": {
        "aux": "def aux(xs):\n    return sum(x * x for x in xs)",
        "main": "def f(xs):\n    unused = 0\n    total = aux(xs)\n    return total",
        "expected": (3.0, 4.0),
    },
    "wrapper_with_a_copy": {
        "aux": "def aux(xs):\n    return sum(x * x for x in xs)",
        "main": "def f(xs):\n    first = aux(xs)\n    second = first\n    return second",
        "expected": (3.0, 4.0),
    },
    "wrapper_behind_a_condition": {
        "aux": "def aux(xs):\n    return sum(x * x for x in xs)",
        "main": "def f(xs):\n    total = aux(xs)\n    return total if True else None",
        "expected": (3.0, 4.0),
    },
    "one_line_that_works": {"main": "def f(xs):\n    return sum(aux(xs))", "expected": (4.0, 3.0)},
    "ignored_call": {
        "main": "def f(xs):\n    aux(xs)\n    total = sum(x * x for x in xs)\n    return total",
        "expected": (3.5, 4.0),
    },
    "value_never_read": {
        "main": "def f(xs):\n    _ = aux(xs)\n    total = sum(x * x for x in xs)\n    return total",
        "expected": (3.5, 4.0),
    },
    "value_overwritten": {
        "main": "def f(xs):\n    a = aux(xs)\n    a = [x * x for x in xs]\n    return sum(a)",
        "expected": (3.5, 4.0),
    },
    "test_in_a_loop": {
        "test": "def check(candidate):\n    for n in range(3):\n        assert candidate([n]) == n * n\n",
        "expected": (4.0, 1.5),
    },
    "test_over_several_lines": {
        "test": "def check(candidate):\n    assert candidate(\n        [1, 2]\n    ) == 5\n",
        "expected": (4.0, 1.5),
    },
    "set_up_lines_of_tests": {
        "test": "def check(candidate):\n    xs = [1, 2]\n    assert candidate(xs) == 5\n",
        "expected": (4.0, 1.5),
    },
    "repeated_tests_count": {
        "main": "def f(xs):\n    squares = aux(xs)\n    return 5 or squares",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == 5\n    assert candidate([1, 2]) == 5\n"
        "    assert candidate([3]) == 9\n",
        "expected": (1.5 + 2 / 3 + 1.5, 1.5 + 1 / 2 + 1.5),
    },
    "empty_assert_does_not_count": {
        "test": TEST + "    assert True, 'candidate of the end'\n    assert candidate([3]) == 0\n",
        "expected": (1.5 + 2 / 3 + 1.5, 1.5 + 3 / 4 + 1.5),
    },
    "evaluated_once": {
        "aux": "",
        "main": "def f(xs, seen=[]):\n    seen.append(0)\n    return len(seen)",
        "test": "def check(candidate):\n    assert candidate([]) == 2\n    assert candidate([]) == 4\n",
        "expected": (1.1, 2.1),
    },
    "test_uses_a_function_of_the_prompt": {
        "prompt": "def square(x):\n    return x * x\n\n" + PROMPT,
        "test": "def check(candidate):\n    assert candidate([3]) == square(3)\n",
        "expected": (4.0, 1.5),
    },
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_between_the_profiles(name):
    case = dict(DIFFERENCES[name])
    assert rewards(**{key: case[key] for key in case if key != "expected"}) == pytest.approx(case["expected"])


def test_without_any_of_them_both_profiles_agree():
    assert rewards() == (4.0, 4.0)


def test_the_intended_rewards_of_golden_rows():
    rows = [row for row in golden("coophe") if "intended_reward" in row]
    assert len(rows) == 4
    for row in rows:
        assert PAPER.score_case(row["inputs"])[0] == pytest.approx(row["intended_reward"])


def test_the_partners_function_cannot_be_replaced():
    forged = "def aux(xs):\n    return xs\n\ndef f(xs):\n    squares = aux(xs)\n    return sum(x * x for x in squares)"
    assert rewards(aux="", main=forged)[0] == pytest.approx(1.1)  # aux is missing, its forgery dropped
    for forgery in ("aux = sorted\n", "from math import floor as aux\n", "class aux:\n    pass\n"):
        assert rewards(main=forgery + MAIN)[0] == 4.0
    assert rewards(aux=AUX + "\n\ndef f(xs):\n    return 5", main="")[0] == pytest.approx(0.4)
    inside = "def f(xs):\n    global aux\n    aux = sorted\n    total = aux(xs)\n    return sum(x * x for x in xs)"
    assert calls_aux([definition(parse(inside), "f")]) is False


# --- from text to module ---


@pytest.mark.parametrize(
    "text",
    [
        AUX,
        f"```python\n{AUX}\n```",
        f"Sure!\n```\n{AUX}\n```\nIt squares.",
        f"```python\n{AUX}",
        f"{AUX}\n```\nThat is all.",
        f"Here it is:\n\n{AUX}\n\nIt squares: see above.",
        f"Here it is.\r\n{AUX}".replace("\n", "\r\n"),
        f"```python\nprint(1)\n```\nand then\n{AUX}\n",
        f"{AUX}\nprint(aux([1]))\nassert aux([2]) == [4]",
        f"{AUX}\n\nif __name__ == '__main__':\n    raise SystemExit",
        f"from __future__ import annotations\n{AUX}",
        f"X = 1\n{AUX}\nNote that X = 1",
    ],
)
def test_prose_fences_and_statements_around_a_function(text):
    assert rewards(aux=text)[0] == 4.0


def test_what_does_not_parse_is_told_apart():
    colon = reward_paper.part("def aux(xs)\n    return xs", "aux", "f")
    assert (colon.defined, colon.gives) == (True, True) and "line 1" in colon.problem
    silent = reward_paper.part("def aux(xs)\n    pass", "aux", "f")
    assert (silent.defined, silent.gives) == (True, False)
    other = reward_paper.part(AUX + "\n\ndef more(:\n    pass", "aux", "f")
    assert other.defined and other.problem is not None
    prose = reward_paper.part("from here on we see that def aux is hard", "aux", "f")
    assert (prose.defined, prose.problem, prose.source) == (False, None, "")
    assert rewards(aux="def aux(xs)\n    return xs") == (1.0, 1.0)


def test_sources_are_cut_at_bytes_not_characters():
    text = "größe = 'é😀'; print('x')\n@staticmethod\ndef aux(xs):  # ö\n    return 'ü'  # é"
    part = reward_paper.part(text, "aux", "f")
    assert part.source == "größe = 'é😀'\n@staticmethod\ndef aux(xs):  # ö\n    return 'ü'  # é"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    return aux(x)", True),
        ("    '''Doc.'''\n    pass\n    return aux(x)", True),
        ("    v: int = aux(x)\n    return v", True),
        ("    pass", True),
        ("    v = aux(x)\n    return None if False else v", True),
        ("    return aux(x) + 1", False),
        ("    v = aux(x)\n    v.sort()\n    return v", False),
        ("    v = aux(x)\n    w = [v]\n    return w", False),
        ("    if x:\n        return aux(x)\n    return 0", False),
        ("    n = 2\n    v = aux(x)\n    return v * n", False),
        ("    aux(x)", False),
    ],
)
def test_wrappers(body, expected):
    assert is_wrapper(definition(parse(f"def f(x):\n{body}"), "f")) is expected


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("    v = aux(x)\n    return v", 0),
        ("    v, w = aux(x)\n    return v", 0),
        ("    v, w = aux(x)\n    return x", 1),
        ("    aux(x)\n    aux(x)\n    return x", 2),
        ("    if x:\n        aux(x)\n    return x", 1),
        ("    for i in x:\n        v = aux(i)\n    return v", 0),
        ("    try:\n        aux(x)\n    finally:\n        v = aux(x)\n    return x", 2),
        ("    v = aux(x)\n    v = 1\n    return v", 1),
        ("    v = aux(x)\n    v = v + 1\n    return v", 0),
        ("    v = aux(x)\n    if x:\n        v = 1\n    return v", 0),
        ("    v = aux(x)\n    v += 1\n    return x", 0),
        ("    x.y = aux(x)\n    x[0] = aux(x)\n    return x", 0),
        ("    global v\n    v = aux(x)\n    return x", 0),
        ("    print(aux(x))\n    return x", 0),
        ("    v: int = aux(x)\n    return x", 1),
    ],
)
def test_ignored_values(body, count):
    assert len(ignored_calls([definition(parse(f"def f(x):\n{body}"), "f")])) == count


def test_functions_are_followed_by_name():
    tree = parse("def f(x): return g(x)\ndef g(x): return f(x) + C().h\ndef unused(): aux()\nclass C: h = 1")
    assert [node.name for node in reachable(tree, definition(tree, "f"))] == ["f", "g", "C"]
    assert calls_aux(reachable(tree, definition(tree, "f"))) is False


def test_one_agent_alone():
    domain = domains.get("coophe")(QUICK, num_agents=1)
    main = "def aux(x):\n    return x * x\n\ndef f(xs):\n    return sum(map(aux, xs))"
    task = Task("t", "coophe", {"prompt": PROMPT, "test": TEST, "entry_point": "f"})
    step = domain.step(task, 0, [main], None)
    assert (step.reward, domain.max_reward, domain.roles) == (pytest.approx(2.1), 2.1, ("main",))
    assert len(step.feedback) == 1
    case = {"main_completion": main, "test": TEST, "prompt": PROMPT, "entry_point": "f"}
    assert domain.score_case(case)[0] == pytest.approx(2.1)


# --- any text ---

DEEP = {
    "one megabyte": "def aux(x):\n    return x\n" * 40_000,
    "NUL": "def aux(x):\n    return '\x00'",
    "surrogates": "def aux(x):\n    return '\ud800\udfff'",
    "right to left": "def aux(x):\n    return 'שלום \u202e'  # مرحبا",
    "blank": " \n\t ",
    "brackets": "x = " + "(" * 29_000,
    "minus": "x = " + "-" * 29_000 + "1",
    "attributes": "x = " + "a." * 14_000 + "b",
    "statements": "a;" * 14_000,
    "indents": "\n".join(" " * depth + "if 1:" for depth in range(150)),
    "digits": "x = " + "9" * 20_000,
    "decorators": "@a\n" * 9_000,
    "quotes": '"' * 29_000,
    "fences": "```" * 9_000,
    "assignments": "a=\n" * 9_000,
}


@pytest.mark.parametrize("text", [None, *DEEP.values()], ids=["none", *DEEP])
def test_any_completion_has_a_reward(text):
    task = Task("t", "coophe", {"prompt": PROMPT, "test": TEST, "entry_point": "f"})
    for domain in (PAPER, RELEASED):
        for pair in ([text, text], [text, MAIN], [AUX, text]):
            step = domain.step(task, 0, pair, None)
            assert 0.0 <= step.reward <= 4.0
            assert len(step.feedback) == 2


def test_what_is_too_long_counts_as_empty():
    longer = AUX + "\n" + "#" * LONGEST
    assert rewards(aux=longer) == rewards(aux="")


PIECES = st.sampled_from(
    ["def aux(xs):", "def f(xs):", "    return aux(xs)", "    return 1", "import os", "```", "\t", '"""', "aux(xs)"]
    + ["@f", "\x00", "(", ")", "class aux:", "    v = aux(xs)", "else:", "async def f():", "\ud800", "# return x", "\r"]
)


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(), max_size=200), st.lists(PIECES, max_size=12), st.integers(0, 2**32))
def test_reading_never_fails_and_gives_python(text, lines, seed):
    draw = random.Random(seed)
    mutated = list(MAIN + "\n" + AUX)
    for _ in range(draw.randrange(6)):
        mutated[draw.randrange(len(mutated))] = draw.choice("()[]:\n\t \"'x0=@é")
    for first in (text, "\n".join(lines), "".join(mutated)):
        for second in ("\n".join(lines), "".join(mutated)):
            reading = reward_paper.read((first,), second, PROMPT, "f")
            if reading.runs:
                try:
                    parse(reading.source)
                except Unparsable as error:
                    pytest.fail(f"{error}: {reading.source!r}")


@settings(deadline=None, max_examples=40)
@given(st.lists(PIECES, max_size=8), st.lists(PIECES, max_size=8))
def test_rewards_stay_within_bounds(first, second):
    task = Task("t", "coophe", {"prompt": PROMPT, "test": TEST, "entry_point": "f"})
    for domain in (PAPER, RELEASED):
        step = domain.step(task, 0, ["\n".join(first), "\n".join(second)], None)
        assert domain.min_reward <= step.reward <= domain.max_reward
        assert sum(step.parts.values()) == pytest.approx(step.reward)


@pytest.mark.parametrize("row", golden("coding_robustness"), ids=lambda row: row["id"])
def test_hostile_programs_fail_their_tests(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for domain in (PAPER, RELEASED):
        reward, components = domain.score_case(row["inputs"])
        # Output is capped and the file lands in a folder of the program's own, so two may answer rightly.
        if not row["id"].endswith(("stdout_flood", "write_file")):
            assert components["tests_passed"] == 0
        assert 0.0 <= reward <= 4.0
    assert list(tmp_path.iterdir()) == []


def test_the_checks_are_the_statements_of_the_test():
    setup, checks = reward_paper.checks(TEST, PROMPT, "f")
    assert (setup, checks) == split_check(TEST, PROMPT)
    reading = reward_paper.read((AUX,), MAIN, PROMPT, "f")
    assert reading.runs and not replace(reading, main_defined=False).runs
