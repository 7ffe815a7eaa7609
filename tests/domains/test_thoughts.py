"""Thoughts are no answers: never read, never paid, never quoted."""

from __future__ import annotations

import random

import pytest
from support.places import ROOT

from collm import domains
from collm.domains.base import PROFILES, Exchange, Task
from collm.domains.thoughts import without_thoughts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: C 4", "Answer: C 4"),
        ("<think>\nA?\n</think>\nAnswer: C 4", "\nAnswer: C 4"),
        ("so <think>a</think>it <think></think>is", "so it is"),
        ("<think>\nLet me see. Answer: C would be my guess but", ""),
        ("Answer: C 4 <think>or", ""),
        ("the prompt opened it. Answer: A 5</think>Answer: B 2", "Answer: B 2"),
        ("<think>a <think> b</think> c</think>D", "D"),
        ("</think>", ""),
        ("< think>", "< think>"),
    ],
)
def test_without_thoughts(text, answer):
    assert without_thoughts(text) == answer


def test_many_marks_take_linear_time():
    for mark in ("<think>", "</think>", "<think></think>"):
        without_thoughts(mark * 200_000)


@pytest.mark.parametrize("profile", PROFILES)
def test_an_unfinished_thought_is_no_answer(profile):
    """The fault: this text earned all that a right answer can but for its form."""
    domain = domains.get("arc_challenge")({}, profile)
    fields = {"question": "q", "options": ["a", "b", "c", "d"], "answer": 2, "why": ""}
    thought = "<think>\nLet me see. Answer: C would be my guess but"
    step = domain.step(Task("t", domain.name, fields), 1, [thought, thought], None)
    assert step.reward == 0.0 and step.record["letters"] == [None, None]


def test_golden_rows_hold_no_thoughts():
    """So that reading answers without thoughts changes nothing of what the released code is known to pay."""
    for path in sorted((ROOT / "tests" / "golden").glob("*.jsonl")):
        text = path.read_text(encoding="utf-8")
        assert "<think>" not in text and "</think>" not in text, path


def play(domain, task, texts):
    return domain.step(task, 0, texts, domain.start(task, 0))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", [name for name in domains.NAMES])
def test_no_domain_reads_thoughts(name, profile):
    """An answer in a thought earns what an empty text earns; after a finished thought it earns what it always does."""
    domain = domains.get(name)({}, profile)
    domain.ready("allow_weak")
    row = next(iter(next(iter(domain.embedded(0).values()))))
    task = domain.task(row, 0)
    demonstrated = {}
    for example in domain.demonstrations(task, random.Random(0), 0.0):
        demonstrated.setdefault(example.agent, example.response)
    texts = [demonstrated[agent] for agent in range(2)]
    plain = play(domain, task, texts)
    nothing = play(domain, task, ["", ""])
    assert plain.reward > nothing.reward
    assert play(domain, task, [f"<think>{text}" for text in texts]).reward == nothing.reward
    assert play(domain, task, [f"<think>{text}</think>" for text in texts]).reward == nothing.reward
    assert play(domain, task, [f"<think>no</think>{text}" for text in texts]).reward == plain.reward


@pytest.mark.parametrize("name", [name for name in domains.NAMES if domains.get(name).max_turns != 1])
def test_an_agents_next_prompt_quotes_no_thought(name):
    domain = domains.get(name)({})
    row = next(iter(next(iter(domain.embedded(0).values()))))
    task = domain.task(row, 0)
    world = domain.start(task, 0)
    seen = tuple(domain.observe(task, 0, 0, (), domain.briefing(task, world)[0]))
    history = [Exchange(seen, "<think>secret</think>the answer")]
    messages = domain.observe(task, 0, 1, history, None)
    text = "\n".join(message["content"] for message in messages)
    assert "secret" not in text and "the answer" in text
