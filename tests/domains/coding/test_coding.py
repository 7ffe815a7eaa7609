"""Coding domains as episodes: prompts, feedback, demonstrations, scoring side by side, pass@k."""

from __future__ import annotations

import math
import random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collm import domains
from collm.common.errors import DataError
from collm.domains.base import Exchange, Move, Task
from collm.domains.coding.demonstrations import divided, solutions, spoiled
from collm.domains.coding.prompts import first, parameters
from collm.domains.coding.reading import kind
from collm.report import statistics

NAMES = ("coophe", "humaneval", "mbpp")
PROMPT = 'import math\n\ndef f(xs: list[int], sep: str = ")") -> int:\n    """Add up the squares."""\n'
CHECKS = ("candidate([1, 2]) == 5", "candidate([3]) == 9", "candidate([0]) == 0")
TEST = "def check(candidate):\n" + "".join(f"    assert {check}\n" for check in CHECKS)
AUX = "def aux(xs):\n    return [x * x for x in xs]"
MAIN = "def f(xs, sep=''):\n    squares = aux(xs)\n    return sum(squares)"
TASK = Task("t", "coophe", {"prompt": PROMPT, "test": TEST, "entry_point": "f", "solution": "", "reference": None})


def make(**options):
    return domains.get("coophe")({"check_seconds": 0.5, **options})


def messages_after(domain, agent, pair=(AUX, MAIN)):
    """The last message of the second turn."""
    step = domain.step(TASK, 0, pair, None)
    seen = tuple(domain.observe(TASK, agent, 0, (), None))
    return domain.observe(TASK, agent, 1, (Exchange(seen, pair[agent]),), step.feedback[agent])


@pytest.fixture(scope="module", params=NAMES)
def embedded(request):
    domain = domains.get(request.param)({"check_seconds": 1.0})
    rows = [row for part in domain.embedded(0).values() for row in part]
    return domain, [domain.task(row, index) for index, row in enumerate(rows[:44])]


# --- prompts ---


def test_prompts_of_both_roles_and_of_one_alone():
    domain = make()
    aux, main = (domain.observe(TASK, agent, 0, (), None) for agent in (0, 1))
    for messages in (aux, main):
        assert PROMPT.strip() in messages[1]["content"]
        assert "no fences, no prose, no tests" in messages[0]["content"]
    assert aux[1]["content"].endswith("def aux(...):\n    return ...")
    assert "def f(xs: list[int], sep: str=')'):" in main[1]["content"] and "do not define it" in main[1]["content"]
    alone = domains.get("coophe")({}, num_agents=1).observe(TASK, 0, 0, (), None)
    assert "aux" not in alone[0]["content"] + alone[1]["content"] and "all cases" in alone[0]["content"]


def test_functions_without_parameters_have_prompts_too():
    assert parameters('def f():\n    """Nothing."""\n', "f") == ""
    assert "def f():" in first("main", {"prompt": 'def f():\n    """Nothing."""\n', "entry_point": "f"})[1]["content"]


def test_prompts_of_all_rows(embedded):
    domain, tasks = embedded
    for task in tasks:
        for agent in (0, 1):
            text = domain.observe(task, agent, 0, (), None)[1]["content"]
            assert task.fields["entry_point"] in text and "aux" in text


def test_the_second_turn_repeats_the_agents_own_past_only():
    for agent, code in ((0, AUX), (1, MAIN)):
        messages = messages_after(make(), agent)
        assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
        assert messages[2]["content"] == code
        assert messages[:2] == make().observe(TASK, agent, 0, (), None)
    with pytest.raises(ValueError, match="own history"):
        make().observe(TASK, 0, 1, (), None)


SECRET = "zebra_4711"


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("feedback", ["level_feedback", "plain"])
@pytest.mark.parametrize(
    "code",
    [
        "def {name}(xs):\n    raise ValueError('{secret}')",
        "def {name}(xs):\n    class {secret}(Exception):\n        pass\n    raise {secret}",
        "def {name}(xs):\n    return '{secret}'",
        "def {name}({secret}\n    return 1",
        "{secret}\ndef {name}(xs):\n    return {secret}",
        "class {secret}(Exception):\n    pass\nX = 1\ndef {name}(xs=X):\n    raise {secret}('{secret}')",
        "def stop():\n    class {secret}(BaseException): pass\n    raise {secret}\nX = stop()\ndef {name}(a): return X",
    ],
)
def test_nothing_of_the_partners_text_comes_through(agent, feedback, code):
    pair = [AUX, MAIN]
    pair[1 - agent] = code.format(name=("aux", "f")[1 - agent], secret=SECRET)
    for profile in ("paper", "released"):
        domain = domains.get("coophe")({"check_seconds": 0.5, "feedback": feedback}, profile)
        step = domain.step(TASK, 0, pair, None)
        seen = tuple(domain.observe(TASK, agent, 0, (), None))
        messages = domain.observe(TASK, agent, 1, (Exchange(seen, pair[agent]),), step.feedback[agent])
        assert SECRET not in str(messages) and SECRET not in str(step.feedback[agent])


def test_types_of_errors_are_built_in_or_the_sandboxs():
    assert [kind(name) for name in (None, "TimeLimit", "NameError", "print", "hello partner", "__name__")] == [
        None,
        "TimeLimit",
        "NameError",
        "Exception",
        "Exception",
        "Exception",
    ]


# --- feedback ---


def test_level_feedback_tells_levels_and_tests():
    text = messages_after(make(), 1)[-1]["content"]
    assert text.split("\n")[:-1] == ["aux: defined", "f: defined", "syntax: right", "tests: 1/1 passed", "you call aux"]
    wrong = messages_after(make(feedback_slice=2), 0, ("def aux(xs):\n    return xs", MAIN))[-1]["content"]
    failed = [f"failed (AssertionError): assert f({test}" for test in ("[1, 2]) == 5", "[3]) == 9")]
    assert "\n".join(["tests: 0/2 passed", *failed]) in wrong
    assert "you call" not in wrong  # of main only


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ("def f(xs, sep=''):\n    return aux(xs)", "you only hand on the value of aux"),
        ("def f(xs, sep=''):\n    aux(xs)\n    return 1", "aux is misused: the value of aux(...) is not kept"),
        ("def f(xs, sep=''):\n    return 1", "you do not call aux"),
        ("def f(xs, sep=''):\n    while True:\n        pass\n    return 1", "failed (TimeLimit)"),
        ("def f(xs, sep='')\n    return 1", "syntax of yours: line 1"),
        ("I cannot.", "f: missing, or it returns nothing"),
        ("X = 1 / 0\ndef f(xs):\n    return X", "loading failed: ZeroDivisionError"),
    ],
)
def test_feedback_names_what_is_wrong(main, expected):
    assert expected in messages_after(make(), 1, (AUX, main))[-1]["content"]


def test_feedback_for_the_partner_of_broken_code():
    text = messages_after(make(), 0, (AUX, "def f(xs\n    return 1"))[-1]["content"]
    assert "syntax: the two parts together are no valid program" in text and "tests: 0/1" in text


def test_plain_feedback_is_the_order_alone():
    domain = make(feedback="plain")
    assert domain.step(TASK, 0, [AUX, MAIN], None).feedback == (None, None)
    assert messages_after(domain, 0)[-1]["content"] == "Revise your function. Answer with code alone."


def test_no_feedback_after_the_last_turn():
    assert make().step(TASK, 1, [AUX, MAIN], None).feedback == (None, None)


def test_tests_that_feedback_shows_do_not_score():
    first_only = "def f(xs, sep=''):\n    squares = aux(xs)\n    return 5 if len(squares) > 1 else -1"
    step = make().step(TASK, 0, [AUX, first_only], None)
    assert step.feedback[0]["checks"] == [["assert f([1, 2]) == 5", None]]
    assert (step.record["tests"], step.record["passed"], step.parts["tests"]) == (2, 0, 0.0)
    assert len(step.record["checks"]) == len(step.record["errors"]) == 2
    assert all(check.startswith("assert f(") for check in step.record["checks"]) and step.record["problem"] is None
    leaking = make(feedback_tests="released").step(TASK, 0, [AUX, first_only], None)
    assert leaking.feedback == step.feedback
    assert (leaking.record["tests"], leaking.record["passed"]) == (3, 1)
    plain = make(feedback="plain").step(TASK, 0, [AUX, first_only], None)  # shows no test, so all of them score
    assert plain.record["tests"] == 3


@given(st.integers(-6, 6), st.integers(0, 8), st.booleans())
def test_slices_of_tests(size, total, disjoint):
    if not size and disjoint:
        return
    domain = make(feedback_slice=size, feedback_tests="disjoint" if disjoint else "released")
    for_feedback, scored = (set(range(total)[part]) for part in domain.slices_of_tests(total))
    if disjoint:
        assert not for_feedback & scored and for_feedback | scored == set(range(total))
        assert scored or not total
        assert len(for_feedback) == min(abs(size), max(0, total - 1))
    else:
        assert scored == set(range(total))
        assert for_feedback == set(range(total)[:size] if size > 0 else range(total)[size:] if size else range(total))


# --- scoring ---


def test_moves_are_scored_side_by_side_in_order():
    domain = make()
    pairs = [(AUX, MAIN), ("", ""), (AUX, "def f(xs, sep=''):\n    return 0"), (AUX, "def f("), (AUX, MAIN)]
    together = domain.steps([Move(TASK, 0, pair, None) for pair in pairs])
    assert together == [domain.step(TASK, 0, pair, None) for pair in pairs]
    assert domain.steps([]) == []
    assert [round(step.reward, 6) for step in together] == [4.0, 0.0, 2.0, 0.4, 4.0]
    with pytest.raises(ValueError, match="1 responses for 2 agents"):
        domain.step(TASK, 0, [AUX], None)


# --- demonstrations and text ---


def test_demonstrations_without_noise_are_the_references(embedded):
    domain, tasks = embedded
    for task in tasks[:12]:
        examples = domain.demonstrations(task, random.Random(1), 0.0)
        assert [(demo.agent, demo.turn) for demo in examples] == [(0, 0), (1, 0), (0, 1), (1, 1)]
        assert (examples[0].response, examples[1].response) == solutions(task.fields)
        feedback = examples[2].messages[-1]["content"]
        assert "tests: 1/1 passed" in feedback or "tests" not in feedback
        step = domain.step(task, 1, [demo.response for demo in examples[2:]], None)
        assert step.parts["tests"] == 1.0


def test_noise_spoils_demonstrations_and_feedback_says_so(embedded):
    domain, tasks = embedded
    examples = [
        demo for n, task in enumerate(tasks[:10]) for demo in domain.demonstrations(task, random.Random(n), 1.0)
    ]
    early = [demo for demo in examples if demo.turn == 0]
    references = [text for task in tasks[:10] for text in solutions(task.fields)]
    assert all(demo.response != text for demo, text in zip(early, references, strict=True))
    assert examples == [
        d for n, task in enumerate(tasks[:10]) for d in domain.demonstrations(task, random.Random(n), 1.0)
    ]


def test_a_row_without_any_solution_has_no_demonstration():
    assert make().demonstrations(TASK, random.Random(0), 0.0) == []


def test_each_fault_changes_the_text():
    faulty = {spoiled(MAIN, "f", random.Random(seed)) for seed in range(40)}
    assert len(faulty) == 5 and MAIN not in faulty


def test_a_solution_is_divided_where_its_variables_can_be_handed_over():
    solution = PROMPT + "    best = max(xs)\n    return sum(math.pow(x, 2) for x in xs if x <= best)\n"
    aux, main = divided(solution, PROMPT, "f")
    assert aux == "def aux(xs, best):\n    return sum((math.pow(x, 2) for x in xs if x <= best))"
    assert main.split("\n")[1:] == ["    best = max(xs)", "    return aux(xs, best)"]
    single = divided("def f(xs):\n    return 'a' + str(xs[0])", 'def f(xs):\n    """."""\n', "f")
    assert single == ("def aux(xs):\n    return str(xs[0])", "def f(xs):\n    return 'a' + aux(xs)")
    whole = divided("def f(x):\n    return x", 'def f(x):\n    """."""\n', "f")
    assert whole == ("def aux(x):\n    return x", "def f(x):\n    return aux(x)")


def test_text_for_pretraining_holds_problem_and_solutions(embedded):
    domain, tasks = embedded
    for task in tasks[:5]:
        texts = domain.corpus(task, random.Random(0))
        assert task.fields["prompt"] in texts[0] and all(text.strip() for text in texts)
        assert solutions(task.fields)[0] in texts


# --- pass@k ---


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(1, 7))
def test_pass_at_k_is_the_mean_over_all_draws(hits, draws):
    from itertools import combinations

    frame = pd.DataFrame({"seed": 0, "task": "a", "x": [100.0 * hit for hit in hits]})
    if draws > len(hits):
        with pytest.raises(DataError, match="too few to draw"):
            statistics.drawn_at_least_once(frame, "x", draws)
        return
    drawn = [any(part) for part in combinations(hits, draws)]
    chances = statistics.drawn_at_least_once(frame, "x", draws)
    assert chances.nunique() == 1 and chances.iloc[0] == pytest.approx(100 * sum(drawn) / math.comb(len(hits), draws))


def test_pass_at_k_goes_task_by_task_and_run_by_run():
    frame = pd.DataFrame(
        {"seed": [0, 0, 1, 1, 0, 0], "task": list("aaaabb"), "x": [100.0, 0.0, 0.0, 0.0, 100.0, 100.0]}
    )
    assert list(statistics.drawn_at_least_once(frame, "x", 1)) == [50, 50, 0, 0, 100, 100]
    assert list(statistics.drawn_at_least_once(frame, "x", 2)) == [100, 100, 0, 0, 100, 100]
