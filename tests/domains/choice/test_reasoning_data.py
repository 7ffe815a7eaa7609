"""Rows of the multiple-choice domains: checks, layouts, slices, the real sets."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.collection import COLLECTION, needs_collection
from support.reasoning_oracles import walked

from collm.common.errors import DataError, RowError, UnusableRow
from collm.data import prepare
from collm.domains.base import Exchange, RawRow
from collm.domains.choice.algebra import Algebra
from collm.domains.choice.arc_challenge import ArcChallenge
from collm.domains.choice.medicine import Medicine
from collm.domains.choice.navigate import Navigate
from collm.domains.choice.physics import Physics
from collm.domains.choice.questions import question_fields

CLASSES = (ArcChallenge, Algebra, Physics, Medicine, Navigate)
GOOD = {"question": "Which?", "choices": {"label": ["A", "B", "C"], "text": ["x", "y", "z"]}, "answerKey": "C"}


# --- checks of rows ---


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, 2),
        ({"choices": {"label": ["1", "2", "3"], "text": ["x", "y", "z"]}, "answerKey": "3"}, 2),
        ({"choices": {"label": ["1", "2", "3"], "text": ["x", "y", "z"]}, "answerKey": "B"}, 1),
        ({"choices": {"label": ["C", "A", "B"], "text": ["x", "y", "z"]}}, 0),
        ({"choices": ["x", "y", "z"], "answerKey": "a"}, 0),
        ({"choices": [" x ", "y\n y"], "answerKey": "2", "why": None}, 1),
    ],
)
def test_public_layouts_become_one_form(changes, answer):
    fields = question_fields(GOOD | changes, "here:1")
    assert fields["answer"] == answer
    assert set(fields) == {"question", "options", "answer", "why"}
    assert all(text == " ".join(text.split()) for text in fields["options"])


def test_positions_as_answers():
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 1}
    assert question_fields(row, "here:1")["answer"] == 1
    assert question_fields(row | {"answer": "A"}, "here:1")["answer"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ...}, "here:7: field 'question' is missing"),
        ({"question": " "}, "'question' is empty"),
        ({"question": 3}, "'question' is of type int"),
        ({"choices": ...}, "'choices' is missing"),
        ({"choices": "abc"}, "'choices' is of type str"),
        ({"choices": ["x"]}, "holds 1 choices; expected 2 to 5"),
        ({"choices": list("uvwxyz")}, "holds 6 choices"),
        ({"choices": ["x", None]}, "choice B is None"),
        ({"choices": ["x", " "]}, "choice B is ' '"),
        ({"choices": {"label": ["A"], "text": ["x", "y"]}}, "1 labels for 2 texts"),
        ({"choices": {"label": ["A", "A"], "text": ["x", "y"]}}, "distinct ones of A-E or 1-5"),
        ({"choices": {"label": ["A", "F"], "text": ["x", "y"]}}, "distinct ones of A-E or 1-5"),
        ({"choices": {"label": ["A", 2], "text": ["x", "y"]}}, "distinct ones of A-E or 1-5"),
        ({"choices": {"text": ["x", "y"]}}, "'label' is missing"),
        ({"answerKey": ...}, "'answerKey' is missing"),
        ({"answerKey": "D"}, "'answerKey' is 'D'; expected one of the labels A, B, C"),
        ({"answerKey": 1}, "'answerKey' is of type int"),
        ({"answerKey": ..., "answer": 3}, "'answer' is 3"),
        ({"answerKey": ..., "answer": -1}, "'answer' is -1"),
        ({"answerKey": ..., "answer": True}, "'answer' is of type bool"),
        ({"why": 3}, "'why' is of type int"),
    ],
)
def test_bad_rows_are_named(changes, message):
    fields = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    with pytest.raises(RowError) as raised:
        ArcChallenge({}).task(RawRow(fields, "here:7"), 0)
    assert "here:7" in str(raised.value) and message in str(raised.value)
    assert not isinstance(raised.value, UnusableRow)


def test_equal_choices_make_a_row_unusable():
    with pytest.raises(UnusableRow, match="here:7.*same text twice"):
        ArcChallenge({}).task(RawRow(GOOD | {"choices": ["x", "x ", "z"]}, "here:7"), 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["A", "B", "1"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["label", "text"]), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("question", "choices", "answerKey", "answer", "why"), JSON)))
def test_any_row_gives_a_question_or_a_row_error(fields):
    try:
        checked = question_fields(fields, "here:1")
    except RowError:
        return
    assert 2 <= len(checked["options"]) <= 5 and 0 <= checked["answer"] < len(checked["options"])


WALK = {"input": "If you follow these instructions, do you return to the starting point? Take 2 steps.", "target": "No"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": ...}, "'input' is missing"),
        ({"input": "Options:\n- Yes\n- No"}, "no question"),
        ({"target": "Maybe"}, "'target' is 'Maybe'; expected one of Yes, No"),
        ({"target": None}, "'target' is of type NoneType"),
        ({"input": "x?\nOptions:\n- No"}, "holds 1 choices"),
        ({"canary": 3}, "'canary' is of type int"),
    ],
)
def test_bad_walks_are_named(changes, message):
    fields = {name: value for name, value in (WALK | changes).items() if value is not ...}
    with pytest.raises(RowError) as raised:
        Navigate({}).task(RawRow(fields, "here:7"), 0)
    assert "here:7" in str(raised.value) and message in str(raised.value)


def test_a_walk_of_another_form_has_no_explanation():
    task = Navigate({}).task(RawRow(WALK | {"input": "Hop twice, are you back?"}, "here:1"), 0)
    assert task.fields["why"] == "" and task.fields["options"] == ["Yes", "No"]


# --- layouts and slices ---


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("kind", CLASSES)
def test_a_folder_without_the_files_says_what_was_looked_for(kind, tmp_path):
    with pytest.raises(DataError, match="looked for .*Set data.path"):
        kind({}).read(tmp_path)


def test_the_canary_stays_with_the_rows_and_out_of_every_text(tmp_path):
    canary = "secret canary string"
    path = tmp_path / "bbh_navigate" / "navigate.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"canary": canary, "examples": [WALK, WALK]}))
    domain = Navigate({})
    rows = domain.read(tmp_path)["test"]
    assert [row.origin for row in rows] == [f"bbh_navigate/navigate.json:example {number}" for number in (1, 2)]
    task = domain.task(rows[0], 0)
    assert task.fields["canary"] == canary
    examples = domain.demonstrations(task, random.Random(0), 0.9)
    texts = [part["content"] for item in examples for part in item.messages] + [item.response for item in examples]
    assert not any(canary in text for text in texts + domain.corpus(task, random.Random(0)))
    for wrong in ([WALK], {"examples": {}}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="examples"):
            domain.read(tmp_path)
    path.write_text(json.dumps({"examples": [WALK, 3]}))
    with pytest.raises(RowError, match="example 2"):
        domain.read(tmp_path)


def test_hub_rows_keep_the_fields_that_count():
    arc = ArcChallenge({}).hub_rows("test", [GOOD | {"id": "x", "more": 1}])[0]
    assert set(arc.fields) == {"id", "question", "choices", "answerKey"}
    assert arc.origin == "allenai/ai2_arc/ARC-Challenge:test:1"
    row = {"question": "Which?", "subject": "s", "choices": ["x", "y"], "answer": 1}
    first, again = Physics({}).hub_rows("test", [row, row | {"question": "which? ", "choices": ["y", "z"]}])
    assert set(first.fields) == {"question", "choices", "answer"}
    assert Physics({}).task(first, 0).fields["answer"] == 1
    with pytest.raises(UnusableRow, match="repeats the question of cais/mmlu/college_physics:test:1"):
        Physics({}).task(again, 1)
    walk = Navigate({}).hub_rows("test", [WALK | {"more": 1}])[0]
    assert set(walk.fields) == {"input", "target"}


def test_a_row_cannot_claim_to_be_a_repetition(tmp_path):
    write(
        tmp_path / "mmlu" / "college_physics_test.jsonl",
        [
            {"question": "Which?", "choices": ["x", "y"], "answer": 1, "repeats": "nothing"},
        ],
    )
    rows = Physics({}).read(tmp_path)
    assert list(rows) == ["test"]
    assert Physics({}).task(rows["test"][0], 0).fields["answer"] == 1


@pytest.mark.parametrize("kind", CLASSES)
def test_embedded_slices_split_three_to_one(kind):
    domain = kind({})
    rows = domain.embedded(0)
    train, test = (prepare.select(part, rows, "x") for part in domain.slices["embedded"])
    assert len(train) + len(test) == len(rows["train"])
    assert abs(len(train) - 3 * len(test)) < 4
    keys = [domain.key(domain.task(row, number)) for number, row in train + test]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kind", (ArcChallenge, Medicine))
def test_written_questions_are_sound(kind):
    domain = kind({})
    rows = domain.embedded(0)["train"]
    assert len(rows) >= 60
    assert len({row.fields["id"] for row in rows}) == len(rows)
    answers = [domain.task(row, 0).fields["answer"] for row in rows]
    assert all(answers.count(position) >= len(rows) // 8 for position in range(4))
    assert all(domain.task(row, 0).fields["why"] for row in rows)


# --- the real sets ---

ROWS = {
    "arc_challenge": ({"train": 1119, "validation": 294, "test": 1172}, (999, 200), 1),
    "algebra": ({"dev": 5, "test": 100}, (65, 40), 0),
    "physics": ({"dev": 5, "test": 102}, (59, 29), 19),
    "medicine": ({"dev": 5, "test": 272}, (168, 109), 0),
    "navigate": ({"test": 250}, (150, 100), 0),
}


@needs_collection
@pytest.mark.parametrize("kind", CLASSES)
def test_every_row_of_the_real_sets(kind):
    domain = kind({})
    counts, _, repeated = ROWS[domain.name]
    splits = domain.read(COLLECTION)
    assert {split: len(rows) for split, rows in splits.items()} == counts
    dropped = 0
    for split, rows in splits.items():
        keys = set()
        for number, row in enumerate(rows):
            try:
                task = domain.task(row, number)
            except UnusableRow as error:
                assert row.origin in str(error)
                dropped += 1
                continue
            dropped += domain.key(task) in keys
            keys.add(domain.key(task))
            check_everything(domain, task)
            if domain.name == "navigate":
                assert walked(task.fields["question"]) == (row.fields["target"] == "Yes"), split
                assert "canary" not in json.dumps(domain.observe(task, 0, 0, (), None)).lower()
    assert dropped == repeated


def check_everything(domain, task):
    """Render the prompts of both turns and score the scripted answer."""
    examples = domain.demonstrations(task, random.Random(0), 0.0)
    result = domain.step(task, 0, [item.response for item in examples], None)
    assert result.reward == pytest.approx(domain.max_reward) and result.metrics["accuracy"] == 100.0
    for item in examples:
        past = [Exchange(item.messages, item.response)]
        later = domain.observe(task, item.agent, 1, past, {"agree": False, "formed": True})
        for messages in (item.messages, later):
            assert all(option in messages[1]["content"] for option in task.fields["options"])


@needs_collection
@pytest.mark.parametrize("kind", CLASSES)
def test_default_slices_of_the_real_sets_are_disjoint(kind, tmp_path):
    domain = kind({})
    settings = {"source": "path", "path": str(COLLECTION), "train": None, "test": None, "revision": None}
    manifest = prepare.prepare(domain, settings, tmp_path / domain.name, 0, tmp_path / "lock.json")
    assert tuple(entry["rows"] for entry in manifest["splits"].values()) == ROWS[domain.name][1]
