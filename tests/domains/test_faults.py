"""Which responses are no answers: none of the scripted ones, every empty one, and what a domain cannot read."""

from __future__ import annotations

import random

import pytest

from collm import domains

READ_ANYTHING = ("tldr", "arxiv")  # any text that is not empty is an answer to them
CASES = [(name, agents) for name in domains.NAMES for agents in domains.get(name).team_sizes or (1, 2, 3)]
HOSTILE = (
    "\x00",
    "(" * 100_000,
    "def f(:\n" * 1000,
    "`" * 10_000,
    "\ud800",
    "<think>" * 1000,
    "/fill 0 0 0 1 1 1",
    "-" * 300_000,
)


@pytest.fixture(scope="module")
def played():
    """A domain and its first task, by name and number of agents."""

    def of(name, agents, profile="paper"):
        domain = domains.get(name)({}, profile, agents)
        return domain, domain.task(next(iter(domain.embedded(0).values()))[0], 0)

    return of


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("name, agents", CASES)
def test_scripted_answers_are_answers(played, name, agents, profile):
    domain, task = played(name, agents, profile)
    shown = domain.demonstrations(task, random.Random(0), 0.0)
    assert {one.agent for one in shown} == set(range(agents))
    assert [domain.fault(task, one.agent, one.response) for one in shown] == [None] * len(shown)
    assert domain.fault(task, 0, f"<think>so and so</think>\n{shown[0].response}") is None


@pytest.mark.parametrize("name, agents", CASES)
def test_nothing_is_no_answer(played, name, agents):
    domain, task = played(name, agents)
    for text in (None, "", " \n\t", "<think>never ends, and holds\nAnswer: A 5", "<think>all of it</think>\n"):
        assert {domain.fault(task, agent, text) for agent in range(agents)} == {"empty"}


@pytest.mark.parametrize("name, agents", CASES)
def test_what_cannot_be_read_is_no_answer(played, name, agents):
    domain, task = played(name, agents)
    expected = None if name in READ_ANYTHING else "unparsed"
    assert {domain.fault(task, agent, "I do not know.") for agent in range(agents)} == {expected}


@pytest.mark.parametrize("name, agents", CASES)
def test_no_text_raises(played, name, agents):
    domain, task = played(name, agents)
    for text in HOSTILE:
        assert {domain.fault(task, agent, text) for agent in range(agents)} <= {None, "empty", "unparsed"}


def test_a_letter_out_of_form_is_an_answer(played):
    domain, task = played("algebra", 2)
    assert domain.fault(task, 0, "I think the answer is B") is None
    assert domain.fault(task, 1, "Answer: Z 5") == "unparsed"


def test_an_agent_is_asked_for_its_own_function(played):
    domain, task = played("mbpp", 2)
    name = task.fields["entry_point"]
    helper, main = "def aux(x):\n    return x", f"def {name}(x):\n    return x"
    assert [domain.fault(task, agent, text) for agent in (0, 1) for text in (helper, main)] == [
        None,
        "unparsed",
        "unparsed",
        None,
    ]
    assert domain.fault(task, 1, f"def {name}(x:\n    return x") == "unparsed"


def test_a_command_that_the_world_refuses_is_no_answer(played):
    domain, task = played("str_build", 2)
    assert domain.fault(task, 0, "/setblock 0 0 0 air") is None
    assert domain.fault(task, 0, "/setblock 0 0 0 no_such_block\n/setblock 900 0 0 air") == "unparsed"
