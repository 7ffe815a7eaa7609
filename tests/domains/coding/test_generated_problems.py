"""Generated programming problems: references pass, wrong steps fail, seeds, splits, levels, forms, noise."""

from __future__ import annotations

import random
import re

import pytest

from collm import domains
from collm.common.errors import ConfigError
from collm.data import prepare
from collm.domains.base import Move
from collm.domains.coding import generated_problems
from collm.domains.coding.demonstrations import slipped, solutions
from collm.domains.coding.generated_problems import CASES, LEVELS, generate, practice
from collm.domains.coding.operations import ARITHMETIC, COUNTS, ITEMS, LISTING, SUMMARIES, TESTS, WORDS, WRITING, Step

NAMES = ("coophe", "humaneval", "mbpp")
EMBEDDED = {"source": "embedded", "path": None, "train": None, "test": None, "revision": None}
ALL_LEVELS = {"generated": 48, "difficulty": list(LEVELS)}


def make(name="coophe", profile="paper", num_agents=2, **options):
    return domains.get(name)({"check_seconds": 1.0, **ALL_LEVELS, **options}, profile, num_agents)


def tasks_of(domain, seed=0):
    rows = domain.embedded(seed)["generated"]
    return [domain.task(row, number) for number, row in enumerate(rows)]


def played(domain, tasks, pairs):
    return domain.steps([Move(task, 0, pair, None) for task, pair in zip(tasks, pairs, strict=True)])


# --- problems ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["paper", "released"])
def test_every_reference_of_every_level_earns_everything(name, profile):
    domain = make(name, profile)
    tasks = tasks_of(domain)
    steps = played(domain, tasks, [solutions(task.fields) for task in tasks])
    assert len(steps) == 48 and {step.reward for step in steps} == {4.0}
    alone = make(name, profile, num_agents=1)
    steps = played(alone, tasks, [solutions(task.fields, 1) for task in tasks])
    assert {round(step.reward, 9) for step in steps} == {2.1}


def test_answers_are_those_of_the_code_and_there_are_six(level_problems):
    for level, problems in level_problems.items():
        for problem in problems:
            assert problem.level == level and len(problem.cases) == CASES >= 5
            assert len({repr(argument) for argument, _ in problem.cases}) == CASES
            assert len({repr(answer) for _, answer in problem.cases}) > 1
            assert problem.aux.count("\n") == 1 and problem.main.count("\n") == 2


@pytest.fixture(scope="module")
def level_problems():
    return {level: generate(0, 40, [level], "coophe") for level in LEVELS}


def test_seeds_and_domains_decide_the_problems():
    first = generate(3, 60, [1, 6], "coophe")
    assert first == generate(3, 60, [1, 6], "coophe")
    assert first[:10] == generate(3, 10, [1, 6], "coophe")
    assert first != generate(4, 60, [1, 6], "coophe") != generate(4, 60, [1, 6], "mbpp")
    assert [problem.level for problem in first] == [1, 6] * 30


def test_there_are_thousands_and_no_sentence_comes_twice():
    problems = generate(0, 3000, list(LEVELS), "coophe")
    assert len({problem.sentence for problem in problems}) == 3000


def test_the_easiest_level_holds_as_many_as_the_default_configuration_takes():
    for name in NAMES:
        for seed in range(5):
            assert len(generate(seed, 180, [1], name)) == 180


def test_more_problems_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match=r"domain.coophe.options.generated: 999 different problems .* \[1\]; at most"):
        generate(0, 999, [1], "coophe")


@pytest.mark.parametrize("level", LEVELS)
def test_a_wrong_step_fails_a_test_that_scores(level):
    """In the sandbox, with the code of other operations: nothing of the generator's own arithmetic is used."""
    domain = make(difficulty=[level], generated=12)
    tables = {1: (COUNTS, WORDS, ITEMS), 2: (COUNTS, WORDS, ITEMS), 3: (ARITHMETIC,), 4: (WRITING,), 5: (LISTING,)}
    tables[6] = (TESTS,)
    tasks, pairs = [], []
    for task in tasks_of(domain):
        aux, main = solutions(task.fields)
        parameter = re.match(r"def aux\((\w+)\)", aux)[1]
        kind = {"n": 0, "s": 1, "xs": 2}[parameter] if level <= 2 else 0
        for operation in tables[level][kind]:
            wrong = f"def aux({parameter}):\n    return {Step(operation, operation.numbers[0]).code(parameter)}"
            if wrong != aux:
                tasks.append(task)
                pairs.append((wrong, main))
    steps = played(domain, tasks, pairs)
    assert len(steps) > 20 and not any(step.metrics["pass_at_1"] for step in steps)


@pytest.mark.parametrize("table", [ARITHMETIC, COUNTS, ITEMS, LISTING, SUMMARIES, TESTS, WORDS, WRITING])
def test_words_name_one_operation_each(table):
    words = [Step(operation, number).words for operation in table for number in operation.numbers]
    assert len(set(words)) == len(words)


def test_brackets_keep_the_order_of_operations():
    plus, times, least = (Step(operation, 3) for operation in (ARITHMETIC[0], ARITHMETIC[2], ARITHMETIC[4]))
    assert times.code(plus.code("n")) == "(n + 3) * 3" and times.code("n") == "n * 3"
    assert least.code(plus.code("n")) == "min(n + 3, 3)" and plus.code(least.code("n")) == "min(n, 3) + 3"
    assert WORDS[1].value("ab", 0) == "AB" and Step(WORDS[1], 0).code("s[1:]") == "s[1:].upper()"


# --- rows, splits, forms ---


@pytest.mark.parametrize("name", NAMES)
def test_train_and_test_are_disjoint_and_labelled(name, tmp_path):
    domain = make(name, generated=40)
    manifest = prepare.prepare(domain, EMBEDDED, tmp_path / "out", 0)
    assert {split: part["rows"] for split, part in manifest["splits"].items()} == {"train": 30, "test": 10}
    assert manifest["splits"]["test"]["slice"] == "generated[30:40]" and manifest["dropped"] == []
    assert manifest["label"] == f"embedded data, {domain.generated_label}" and "not " in domain.generated_label
    train, test = (prepare.load_tasks(tmp_path / "out" / f"{split}.jsonl") for split in prepare.SPLITS)
    assert not {domain.key(task) for task in train} & {domain.key(task) for task in test}
    shipped = "test[0:4]" if name == "humaneval" else "train[0:4]"
    mixed = {**EMBEDDED, "train": "generated[0:4]", "test": f"generated[4:6]+{shipped}"}
    assert "partly generated problems" in prepare.prepare(domain, mixed, tmp_path / "mixed", 0)["label"]
    own = {**EMBEDDED, "train": "generated[0:4]", "test": shipped}
    assert prepare.prepare(domain, own, tmp_path / "own", 0)["label"] == "embedded data"


@pytest.mark.parametrize("name", NAMES)
def test_without_generated_problems_everything_is_as_before(name):
    plain = domains.get(name)({})
    assert set(plain.embedded(0)) == {"test" if name == "humaneval" else "train"}
    assert "generated" not in "".join(plain.slices["embedded"])
    for source in ("hub", "path"):
        assert plain.slices[source] == make(name).slices[source]


def test_each_set_has_its_own_form_of_prompt():
    plain, hints, sentence = (tasks_of(make(name))[0].fields for name in NAMES)
    assert re.fullmatch(r'def solve\(\w+\):\n    """(Take|If) .*\."""\n', plain["prompt"])
    assert re.match(
        r'def solve\(\w+: [\w\[\]]+\) -> [\w\[\]]+:\n    """ (Take|If) .*\n    >>> solve\(', hints["prompt"]
    )
    assert "def solve(" in sentence["prompt"] and '"""Write a function to ' in sentence["prompt"]
    assert "assert solve(" in sentence["test"] and "assert candidate(" in plain["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": []}, "difficulty: .* allowed are 1, 2, 3, 4, 5, 6"),
        ({"difficulty": [7]}, r"difficulty: \[7\] is no list of levels"),
        ({"difficulty": [True]}, r"difficulty: \[True\] is no list of levels"),
        ({"generated": 3}, "generated: 3 problems cannot be cut .* give 0 or at least 4"),
        ({"faults": "none"}, "faults"),
        ({"wording": "short"}, "wording"),
        ({"demonstrated_turns": 3}, "demonstrated_turns"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ConfigError, match=f"domain.coophe.options.{message}"):
        make(**options)


def test_brief_prompts_are_the_problem_and_one_line():
    domain = make(wording="brief")
    task = tasks_of(domain)[0]
    texts = [domain.observe(task, agent, 0, (), None) for agent in (0, 1)]
    assert all(len(messages) == 1 and task.fields["prompt"].strip() in messages[0]["content"] for messages in texts)
    lines = [messages[0]["content"].split("\n")[-1] for messages in texts]
    assert lines == ["Write the helper aux for solve.", "Write solve with the helper aux."]
    alone = make(wording="brief", num_agents=1).observe(task, 0, 0, (), None)
    assert alone[0]["content"].endswith("\nWrite solve.")


# --- text for scratch models ---


def test_practice_shows_no_problem_of_any_split():
    rng = random.Random(0)
    sentences = {practice([level], rng).split('"""')[1] for level in LEVELS for _ in range(300)}
    problems = {problem.sentence for level in LEVELS for problem in generate(0, 100, [level], "coophe")}
    assert len(sentences) > 300 and not sentences & problems


def test_text_for_pretraining_is_what_is_asked_and_answered():
    domain = make(wording="brief", difficulty=[1])
    for task in tasks_of(domain)[:8]:
        texts = domain.corpus(task, random.Random(0))
        for agent, answer in enumerate(solutions(task.fields)):
            assert f"{domain.observe(task, agent, 0, (), None)[-1]['content']}\n{answer}" == texts[agent]
        assert not any("assert" in text for text in texts)
        assert texts == domain.corpus(task, random.Random(0)) != domain.corpus(task, random.Random(1))


# --- noise ---


def test_one_turn_is_demonstrated_where_one_is_played():
    domain = make(demonstrated_turns=1)
    task = tasks_of(domain)[0]
    examples = domain.demonstrations(task, random.Random(0), 0.0)
    assert [(demo.agent, demo.turn) for demo in examples] == [(0, 0), (1, 0)]
    assert tuple(demo.response for demo in examples) == solutions(task.fields)
    assert len(make().demonstrations(task, random.Random(0), 0.0)) == 4


def test_noise_puts_wrong_operations_into_its_share_of_demonstrations():
    domain = make(faults="operation", demonstrated_turns=1, difficulty=[1])
    tasks = tasks_of(domain)
    wrong = [
        demo.response != reference
        for number in range(20)
        for task in tasks
        for demo, reference in zip(
            domain.demonstrations(task, random.Random(f"{number} {task.id}"), 0.4), solutions(task.fields), strict=True
        )
    ]
    assert sum(wrong) / len(wrong) == pytest.approx(0.4, abs=0.03)


def test_wrong_operations_keep_the_form_and_seldom_pass():
    domain = make(faults="operation", demonstrated_turns=1)
    tasks = tasks_of(domain)
    pairs = [
        [demo.response for demo in domain.demonstrations(task, random.Random(number), 1.0)]
        for number, task in enumerate(tasks)
    ]
    steps = played(domain, tasks, pairs)
    assert all(step.parts["aux_defined"] and step.parts["main_defined"] for step in steps)
    assert sum(step.parts["syntax"] > 0 for step in steps) >= 0.95 * len(steps)
    assert sum(step.metrics["pass_at_1"] == 100.0 for step in steps) <= 0.05 * len(steps)


def test_a_slip_changes_one_place_of_the_body():
    main = "def solve(n):\n    v = aux(n)\n    return v * 2"
    slips = {slipped(main, "solve", random.Random(seed)) for seed in range(200)}
    bodies = {slip.removeprefix("def solve(n):\n") for slip in slips}
    assert main not in slips and all(slip.startswith("def solve(n):\n") for slip in slips)
    assert {
        "    v = n\n    return v * 2",
        "    v = aux(n)\n    return v + 2",
        "    v = aux(n)\n    return v * 3",
    } <= bodies
    assert slipped("def aux(s):\n    return s", "aux", random.Random(0)) == "def aux(s):\n    return None"


def test_a_level_that_runs_dry_is_left_out(monkeypatch):
    plans = dict(generated_problems._PLANS)
    monkeypatch.setitem(generated_problems._PLANS, 6, lambda rng: plans[6](random.Random(1)))
    levels = [problem.level for problem in generate(0, 20, [1, 6], "coophe")]
    assert len(levels) == 20 and levels.count(6) <= 1
