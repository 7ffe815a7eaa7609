"""The protocol of the multiple-choice domains: parser, joint answer, reward, feedback, prompts, demonstrations."""

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collm.common.errors import ConfigError, RowError
from collm.domains.base import Exchange, RawRow, Task
from collm.domains.choice.algebra import Algebra
from collm.domains.choice.arc_challenge import ArcChallenge
from collm.domains.choice.navigate import Navigate
from collm.domains.choice.physics import Physics
from collm.domains.choice.protocol import Reply, agree, brier, joint, parse, probability

TEAM, ALONE = ArcChallenge({}), ArcChallenge({}, num_agents=1)
ROW = {"question": "Which is a metal?", "choices": ["sulfur", "iron", "helium", "water"], "answerKey": "B"}
HOSTILE = [
    None,
    "",
    "\x00",
    "\ud800 Answer: \udfff",
    "مرحبا \u202eAnswer: B 4",
    "answer " * 150_000,
    "Answer:" + " " * 1_000_000,
    "x" * 1_000_000 + "\nAnswer: B 4",
    "\n" * 1_000_000,
    "Answer: B 4" + "\n" * 1_000_000,
]


def make_task(domain=TEAM, **changes):
    return domain.task(RawRow(ROW | changes, "here:1"), 0)


def step(first, second, domain=TEAM, turn=0):
    return domain.step(make_task(), turn, [first, second], None)


# --- parser ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Iron conducts.\nAnswer: B 4", Reply(1, 4, True)),
        ("  answer : b 5 \n\n", Reply(1, 5, True)),
        ("Answer:D1", Reply(3, 1, True)),
        ("Answer: A 2\r\nAnswer: C 3\r\n", Reply(2, 3, True)),
        ("Answer: B", Reply(1, 1, False)),
        ("Answer: B 4\nDone.", Reply(1, 1, False)),
        ("Answer: B 6", Reply(1, 1, False)),
        ("Answer: B 45", Reply(1, 1, False)),
        ("Answer: B 4.", Reply(1, 1, False)),
        ("The answer is (C).", Reply(2, 1, False)),
        ("The answer is A, no: the answer is C", Reply(2, 1, False)),
        ("Answer: A 2\nAnswer: E 5", Reply(0, 1, False)),
        ("Answer: E 5", Reply(None, 0, False)),
        ("the answer is a metal", Reply(None, 0, False)),
        ("The answer is Because", Reply(None, 0, False)),
        ("B 4", Reply(None, 0, False)),
        ("", Reply(None, 0, False)),
    ],
)
def test_answers_are_read(text, expected):
    assert parse(text, 4) == expected


def test_the_letters_offered_count():
    assert parse("Answer: E 5", 5) == Reply(4, 5, True)
    assert parse("Answer: C 5", 2) == Reply(None, 0, False)


@given(st.text(st.characters(), max_size=100), st.sampled_from("ABCD"), st.integers(1, 5))
def test_a_last_line_in_form_is_read_whatever_stands_before(text, letter, confidence):
    assert parse(f"{text}\nAnswer: {letter} {confidence}", 4) == Reply("ABCD".index(letter), confidence, True)


MUTATED = st.lists(
    st.sampled_from(["Answer", "answer is", ":", " ", "\n", "A", "B", "E", "(", ")", "5", "3", "9", "\x00", "é", "."]),
    max_size=30,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.one_of(MUTATED, st.text(st.characters())), st.one_of(MUTATED, st.none()), st.integers(2, 5))
def test_any_text_has_a_reward_within_bounds(first, second, options):
    fields = {"question": "?", "options": [f"option {n}" for n in range(options)], "answer": 1, "why": ""}
    early, result = (TEAM.step(Task("t", TEAM.name, fields), turn, [first, second], None) for turn in (0, 1))
    assert early.reward == (result.reward if early.done else 0.0)
    assert TEAM.min_reward <= result.reward <= TEAM.max_reward + 1e-12
    assert result.reward == pytest.approx(sum(result.parts.values()))
    assert 0 <= result.metrics["brier"] <= 1
    for text in (first, second):
        reply = parse(text or "", options)
        assert (reply.option is None) == (reply.confidence == 0)
        assert reply.option is None or 0 <= reply.option < options
        assert not reply.formed or reply.option is not None
    json.dumps([result.feedback, result.world, result.record])


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_scored(text):
    assert 0 <= step(text, text, turn=1).reward <= TEAM.max_reward
    result = step(text, text)
    assert 0 <= result.reward <= TEAM.max_reward
    TEAM.observe(make_task(), 0, 1, [Exchange((), text or "")], result.feedback[0])[1]["content"].encode()


# --- joint answer and calibration ---


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 2), (2, 5), 2),
        ((1, 5), (2, 2), 1),
        ((3, 4), (2, 4), 3),
        ((None, 0), (2, 1), 2),
        ((0, 1), (None, 0), 0),
        ((None, 0), (None, 0), None),
    ],
)
def test_joint_answer(first, second, expected):
    replies = [Reply(*first, True), Reply(*second, True)]
    assert joint(replies) == expected
    assert agree(replies) is (first[0] == second[0] and first[0] is not None)


def test_confidence_runs_from_a_guess_to_certainty():
    assert [probability(confidence, 4) for confidence in (1, 3, 5)] == [0.25, 0.625, 1.0]
    assert probability(1, 2) == 0.5


def test_brier_score_by_hand():
    right, wrong, silent = Reply(1, 3, True), Reply(0, 5, True), Reply(None, 0, False)
    assert brier([right], 1, 4) == pytest.approx(0.375**2)
    assert brier([right, wrong], 1, 4) == pytest.approx((0.375**2 + 1) / 2)
    assert brier([silent, Reply(1, 5, True)], 1, 4) == pytest.approx(0.5)


# --- reward ---


@pytest.mark.parametrize(
    ("first", "second", "reward", "agreed"),
    [
        ("Answer: B 4", "Answer: B 1", 1.3, True),
        ("Answer: A 4", "Answer: A 4", 0.1, True),
        ("Answer: B 5", "Answer: A 4", 1.2, False),  # right 1, own 0.1, form 2 x 0.05
        ("Answer: B 3", "Answer: A 4", 0.2, False),
        ("Answer: B 4", "Answer: A 4", 1.2, False),
        ("Answer: A 4", "Answer: B 4", 0.2, False),
        ("Answer: B", "Answer: A 1", 1.15, False),
        ("no idea", "Answer: B 2", 1.15, False),
        ("Answer: B", "the answer is B", 1.2, True),
        ("no idea", None, 0.0, False),
    ],
)
def test_reward_by_hand(first, second, reward, agreed):
    """Agreement is paid at once, disagreement at the last turn only."""
    early, late = step(first, second), step(first, second, turn=1)
    assert late.reward == pytest.approx(reward) and late.done
    assert early.reward == pytest.approx(reward if agreed else 0.0) and early.done is agreed
    assert early.metrics == late.metrics and early.record == late.record
    for result in (early, late):
        assert set(result.parts) == {"joint", "own_solver", "own_checker", "form_solver", "form_checker"}
        assert result.reward == pytest.approx(sum(result.parts.values()))


ANSWERS = [f"Answer: {letter} {confidence}" for letter in "AB" for confidence in (1, 5)]
ANSWERS += ["Answer: A", "Answer: B", "no idea", ""]  # B is right; out of form; no answer


PAIRS = list(itertools.product(ANSWERS, repeat=2))


def outcomes(domain=TEAM):
    """The step of every pair of answers at either turn."""
    return {(turn, pair): domain.step(make_task(), turn, pair, None) for turn in (0, 1) for pair in PAIRS}


def returned(steps, pairs, discount, shift=0.0):
    """Return of the episode of these joint actions, which ends where the domain says so."""
    total = 0.0
    for turn, pair in enumerate(pairs):
        total += discount**turn * (steps[turn, pair].reward + shift)
        if steps[turn, pair].done:
            break
    return total


@pytest.mark.parametrize("discount", [0.01, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shares", [{}, {"right": 0.0, "own": 1.0, "form": 5.0}, {"own": 0.0, "form": 0.0}])
def test_a_second_turn_never_pays_in_itself(discount, shares):
    """Every pair of first answers x every pair of second ones, without shift and with shifts below 0."""
    domain = ArcChallenge(shares)
    steps = outcomes(domain)
    differing = [pair for pair in PAIRS if not steps[0, pair].done]
    assert len(differing) == len(PAIRS) - 18  # 3 ways to say A and 3 to say B, for either agent
    for shift in (0.0, -0.65, -5.0):
        best = returned(steps, [("Answer: B 1", "Answer: B 1")], discount, shift)
        assert best == pytest.approx(domain.max_reward + shift)
        for first, second in itertools.product(differing, PAIRS):
            late = returned(steps, [first, second], discount, shift)
            assert late <= best + 1e-12
            if second not in differing:  # the same answers given at once
                assert late <= returned(steps, [second], discount, shift) + 1e-12


@pytest.mark.parametrize("discount", [0.0, 0.3, 1.0])
def test_returns_stay_within_the_bounds_of_the_reward(discount):
    steps = outcomes()
    returns = [returned(steps, pairs, discount) for pairs in itertools.product(PAIRS, PAIRS)]
    assert min(returns) == 0.0 and max(returns) == pytest.approx(TEAM.max_reward)


def test_metrics_by_hand():
    metrics = step("Answer: B 5", "Answer: A 1").metrics
    assert metrics == {
        "accuracy": 100.0,
        "agreement": 0.0,
        "solver_accuracy": 100.0,
        "checker_accuracy": 0.0,
        "brier": pytest.approx(0.25**2 / 2),
    }
    assert set(metrics) == {metric.name for metric in TEAM.metrics}


def test_shares_are_options_and_give_the_maximum():
    domain = ArcChallenge({"right": 2.0, "own": 0.0, "form": 1.0})
    assert domain.max_reward == 3.0
    assert step("Answer: B 4", "Answer: B", domain).reward == pytest.approx(2.5)
    assert ArcChallenge({"right": 2}).max_reward == pytest.approx(2.3)
    for value in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="options.own"):
            ArcChallenge({"own": value})


@pytest.mark.parametrize("name", ["paper", "released"])
def test_both_profiles_are_the_same(name):
    inputs = ROW | {"completion1": "Answer: B 5", "completion2": "Answer: B 5"}
    assert ArcChallenge({}, name).score_case(inputs)[0] == pytest.approx(1.3)


def test_one_agent_alone_answers_once():
    result = ALONE.step(make_task(), 0, ["Answer: B 3"], None)
    assert ALONE.roles == ("solver",)
    assert result.done and result.reward == pytest.approx(1.3) == ALONE.max_reward
    assert ALONE.step(make_task(), 0, [""], None).done
    assert result.metrics["accuracy"] == result.metrics["agreement"] == 100.0
    assert len(ALONE.demonstrations(make_task(), random.Random(0), 0.0)) == 1


def test_score_case():
    inputs = ROW | {"completion1": "Answer: C 2", "completion2": "Answer: B 3"}
    reward, components = TEAM.score_case(inputs)
    assert reward == pytest.approx(1.2)
    assert (
        components["letters"] == ["C", "B"]
        and components["confidences"] == [2, 3]
        and components["joint_answer"] == "B"
    )
    assert ALONE.score_case(ROW | {"completion1": "Answer: B 1"})[0] == pytest.approx(1.3)
    for change in ({"completion2": 3}, {"answerKey": "F"}, {"choices": 1}):
        with pytest.raises(RowError, match=next(iter(change))):
            TEAM.score_case(inputs | change)
    with pytest.raises(RowError, match="completion1"):
        TEAM.score_case(ROW)


# --- prompts ---


def content(messages):
    return "\n".join(message["content"] for message in messages)


def test_first_prompts_say_what_each_role_does():
    task = make_task()
    solver, checker = (content(TEAM.observe(task, agent, 0, (), None)) for agent in (0, 1))
    alone = content(ALONE.observe(task, 0, 0, (), None))
    for text in (solver, checker, alone):
        assert text.endswith("Which is a metal?\nA) sulfur\nB) iron\nC) helium\nD) water")
        assert "Answer: LETTER CONFIDENCE" in text and "1 (guess) to 5 (sure)" in text
        assert len(text.split()) < 75
    assert "Reason forward" in solver and "Rule out" in checker
    assert "artner" not in alone


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters()), st.sampled_from(["Answer: A 1", "Answer: C 5", "", "I pass", "Answer: D"]))
def test_the_second_prompt_does_not_depend_on_what_the_other_wrote(tail, ending):
    task, mine = make_task(), "My line.\nAnswer: B 3"
    seen = []
    for other in (f"{tail}\n{ending}", "Answer: D 2"):
        for agent in (0, 1):
            texts = [mine, other] if agent == 0 else [other, mine]
            result = TEAM.step(task, 0, texts, None)
            if not result.done:
                seen.append((agent, TEAM.observe(task, agent, 1, [Exchange((), mine)], result.feedback[agent])))
    for agent in (0, 1):
        prompts = [messages for number, messages in seen if number == agent]
        assert all(prompt == prompts[0] for prompt in prompts)
    assert mine in content(seen[0][1]) and "do not agree" in content(seen[0][1])


def test_feedback_and_options_shape_the_second_prompt():
    task = make_task()
    result = step("Answer: B", "Answer: A 2")
    assert result.feedback == ({"agree": False, "formed": False}, {"agree": False, "formed": True})
    first, second = (content(TEAM.observe(task, n, 1, [Exchange((), "own")], result.feedback[n])) for n in (0, 1))
    assert "not of the form" in first and "not of the form" not in second
    quiet = ArcChallenge({"repeat_response": False})
    assert "own words" not in content(quiet.observe(task, 0, 1, [Exchange((), "own words")], None))
    with pytest.raises(ValueError, match="own history"):
        TEAM.observe(task, 0, 1, (), None)
    assert TEAM.max_turns == 2


# --- demonstrations and corpus ---


def test_demonstrations_without_noise_earn_the_maximum_at_once():
    for draw in range(20):
        examples = TEAM.demonstrations(make_task(), random.Random(draw), 0.0)
        assert [(item.agent, item.turn) for item in examples] == [(0, 0), (1, 0)]
        assert TEAM.step(make_task(), 0, [item.response for item in examples], None).reward == TEAM.max_reward


def test_noise_is_the_chance_of_each_fault():
    answers = [parse(TEAM.demonstrations(make_task(), random.Random(draw), 0.4)[0].response, 4) for draw in range(2000)]
    assert sum(reply.option != 1 for reply in answers) / 2000 == pytest.approx(0.4 + 0.6 * 0.4 * 0.4, abs=0.04)
    assert sum(not reply.formed for reply in answers) / 2000 == pytest.approx(0.4, abs=0.04)
    formed = [reply for reply in answers if reply.formed]
    misled = sum((reply.option == 1) != (reply.confidence >= 4) for reply in formed)
    assert misled / len(formed) == pytest.approx(0.4, abs=0.04)


def test_second_turns_are_shown_where_the_first_answers_differ():
    turns = [item for draw in range(50) for item in TEAM.demonstrations(make_task(), random.Random(draw), 0.5)]
    later = [item for item in turns if item.turn == 1]
    assert later and all("do not agree" in item.messages[1]["content"] for item in later)


def test_the_explanation_stands_only_before_the_right_letter():
    task = make_task(why="Iron is the only metal here.")
    assert TEAM.reasoning(task, 0, 1) == "Iron is the only metal here. So iron."
    assert TEAM.reasoning(task, 1, 1) == "Iron is the only metal here. Not A, C, D."
    assert TEAM.reasoning(task, 0, 0) == "So sulfur."
    long = make_task(why="word " * 100)
    assert len(TEAM.reasoning(long, 0, 1)) < 160


@pytest.mark.parametrize(("kind", "agents"), list(itertools.product((Algebra, Physics, Navigate), (1, 2))))
def test_demonstrations_of_generated_tasks_are_right_and_fit(kind, agents):
    domain = kind({"generated": 40}, num_agents=agents)
    for index, row in enumerate(domain.embedded(3)["train"]):
        task = domain.task(row, index)
        examples = domain.demonstrations(task, random.Random(index), 0.0)
        assert domain.step(task, 0, [item.response for item in examples], None).reward == pytest.approx(
            domain.max_reward
        )
        assert all(len(item.response) <= 200 for item in examples)
        assert all(text.strip() for text in domain.corpus(task, random.Random(index)))
        assert all(examples[0].messages[1]["content"] in text for text in domain.corpus(task, random.Random(0))[2:])
