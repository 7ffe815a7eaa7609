"""What a person may ask of a trained team: a task of its domain in words, or a row of its data."""

from __future__ import annotations

import json

import pytest

from collm import domains
from collm.common.errors import RowError

CHOICE = ("arc_challenge", "algebra", "physics", "medicine")
CODING = ("coophe", "humaneval", "mbpp")
DOUBLE = 'def double(x):\n    """Twice x."""\n'


def question(name, text):
    return domains.get(name)({}).question(text)


@pytest.mark.parametrize("name", domains.NAMES)
def test_a_row_of_the_data_is_a_question(name):
    domain = domains.get(name)({})
    row = next(row for rows in domain.embedded(0).values() for row in rows)
    asked = domain.question(json.dumps(row.fields))
    assert asked.unscored is None and not asked.silent
    assert domain.key(asked.task) == domain.key(domain.task(row, 0))
    with pytest.raises(RowError, match="the question"):
        domain.question("{}")
    with pytest.raises(RowError, match="begins like a JSON object and is none"):
        domain.question("{'a': 1}")


@pytest.mark.parametrize(("name", "field"), [("tldr", "prompt"), ("arxiv", "abstract_text")])
def test_writers_are_asked_by_a_text(name, field):
    asked = question(name, "  My dog ate my shoe.\n\nWhat now?\n")
    assert asked.task.fields[field] == "My dog ate my shoe.\n\nWhat now?" and asked.unscored is None
    with pytest.raises(RowError, match=field):
        question(name, "  ")


def test_builders_are_asked_by_a_word_or_a_drawing():
    assert question("str_build", "cat").task.fields["string"] == "CAT"
    drawing = question("str_build", "#.#\n.#.\n").task
    assert drawing.fields["string"] == "#.#/.#."
    with pytest.raises(RowError, match="1 to 16 letters"):
        question("str_build", "c4t")


def test_builders_of_houses_are_asked_by_layers():
    domain = domains.get("house_build")({})
    task = domain.question("BBB/BPB/BBB // BBB/B.B/BBB").task
    assert task.fields["layers"] == [["BBB", "BPB", "BBB"], ["BBB", "B.B", "BBB"]]
    assert [block for _, block in domain.house(task).solid].count("planks") == 1
    for wrong in ("a hut", "", "...", "BB/B"):
        with pytest.raises(RowError):
            domain.question(wrong)


@pytest.mark.parametrize("name", CHOICE)
@pytest.mark.parametrize("text", ["Which is a fruit? A) stone B) apple", "Which is a fruit?\n(A) stone\n(B) apple\n"])
def test_solvers_are_asked_by_a_question_with_options(name, text):
    asked = question(name, text)
    assert asked.task.fields["question"] == "Which is a fruit?" and asked.task.fields["options"] == ["stone", "apple"]
    assert "Answer: B" in asked.unscored and not asked.silent
    told = question(name, f"{text}\nAnswer: B")
    assert told.unscored is None and told.task.fields["answer"] == 1


@pytest.mark.parametrize(
    "text", ["Which is a fruit?", "Which? B) stone C) apple", "Which? A) x", "Which? A) x B) y Answer: E"]
)
def test_questions_without_fitting_options_are_refused(text):
    with pytest.raises(RowError):
        question("medicine", text)


def test_a_vitamin_is_no_option():
    assert question("medicine", "Is vitamin C: good? A) yes B) no").task.fields["options"] == ["yes", "no"]


@pytest.mark.parametrize(("walk", "back"), [("Take 3 steps left. Take 3 steps right.", 0), ("Take 2 steps.", 1)])
def test_walks_are_worked_out(walk, back):
    asked = question("navigate", f"Always face forward. {walk}" if "left" in walk else walk)
    assert asked.unscored is None and asked.task.fields["answer"] == back
    with pytest.raises(RowError, match="is no walk"):
        question("navigate", "Go home.")


@pytest.mark.parametrize("name", CODING)
def test_programmers_are_asked_by_a_function(name):
    tested = question(name, f"{DOUBLE}assert double(2) == 4\nassert double(0) == 0\n")
    assert tested.unscored is None and tested.task.fields["entry_point"] == "double"
    assert tested.task.fields["prompt"] == DOUBLE and "assert candidate(2) == 4" in tested.task.fields["test"]
    untested = question(name, "def double(x):")
    assert "assert" in untested.unscored and untested.silent
    for wrong, why in (
        ("write a function", "no Python"),
        ("x = 1", "no function"),
        (f"{DOUBLE}assert ((", "no Python"),
    ):
        with pytest.raises(RowError, match=why):
            question(name, wrong)
