"""Teams of several helpers and one main function: what is paid, shown and demonstrated."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from collm import domains
from collm.common.errors import RowError
from collm.domains.base import Exchange, Task
from collm.domains.coding.demonstrations import shared_out
from collm.domains.coding.reading import Helper, Outcome, Reading, parts
from collm.stages import score

PROMPT = 'def f(x: int) -> int:\n    """Double x, then add one."""\n'
TEST = "def check(candidate):\n    assert candidate(1) == 3\n    assert candidate(4) == 9\n"
TASK = Task("t", "coophe", {"prompt": PROMPT, "test": TEST, "entry_point": "f", "solution": "", "reference": None})
AUX, AUX_2 = "def aux(x):\n    return x * 2", "def aux_2(x):\n    return x + 1"
MAIN = "def f(x):\n    v = aux(x)\n    return aux_2(v)"
TEAM = (AUX, AUX_2, MAIN)


def make(profile="paper", agents=3, **options):
    return domains.get("coophe")({"check_seconds": 2.0, "feedback": "plain", **options}, profile, agents)


def main(*lines):
    return "\n    ".join(["def f(x):", *lines])


WHOLE = {"aux_defined": 0.4, "main_defined": 0.6, "syntax": 0.5, "tests": 1.0, "aux_used": 0.5, "not_wrapper": 1.0}


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (TEAM, WHOLE),
        ((AUX, AUX_2, main("return aux_2(aux(x))")), WHOLE),  # to join two helpers is work
        ((AUX, AUX_2, main("v = aux(x)", "return v + 1")), WHOLE | {"aux_used": 0.25, "not_wrapper": 0.5}),
        (
            (AUX, "", main("v = aux(x)", "return v + 1")),
            WHOLE | {"aux_defined": 0.2, "aux_used": 0.25, "not_wrapper": 0.5},
        ),
        ((AUX, AUX_2, main("return 2 * x + 1")), WHOLE | {"aux_used": 0.0, "not_wrapper": 0.0}),
        (
            ("def aux(x):\n    return 2 * x + 1", AUX_2, main("return aux(x)")),
            WHOLE | {"aux_used": 0.25, "not_wrapper": 0},
        ),
        ((AUX, AUX_2, ""), {"aux_defined": 0.4}),
        (("", "", ""), {}),
    ],
)
def test_what_concerns_a_helper_is_a_mean_over_helpers(profile, texts, expected):
    step = make(profile).step(TASK, 0, texts, None)
    assert {name: value for name, value in step.parts.items() if value} == pytest.approx(
        {name: value for name, value in expected.items() if value}
    )
    assert step.reward == pytest.approx(sum(expected.values())) and step.reward <= make(profile).max_reward == 4.0


def test_a_lost_value_is_charged_for_its_own_helper():
    lost = main("aux(x)", "v = aux_2(x)", "return v + x")
    assert make().step(TASK, 0, (AUX, AUX_2, lost), None).parts["ignored_call"] == -0.25
    lost = main("aux (x)", "v = aux_2(x)", "return v + x")
    assert make("released").step(TASK, 0, (AUX, AUX_2, lost), None).parts["ignored_call"] == -0.25


def test_one_helper_is_paid_as_the_paper_pays_it():
    """The cascade of two agents, written down once more."""
    for defined, used, ignored, hands_on, passed in itertools.product([False, True], repeat=5):
        reading = Reading((Helper(defined, used, ignored),), True, None, "", hands_on)
        rewards = parts(reading, Outcome(int(passed), 2))
        used = used and passed
        expected = [0.4 * defined, 0.6, 0.5, 0.5 * passed, 0.5 * used, 1.0 * (used and not hands_on)]
        assert list(rewards.values()) == [*expected, -0.5 if used and ignored else 0.0]
        assert str(rewards["ignored_call"]) != "-0.0"


def test_nobody_defines_what_another_one_was_asked_for():
    wrong = "def aux_2(x):\n    return 'mine'"
    texts = (f"{AUX}\n\n{wrong}\n\ndef f(x):\n    return 0", AUX_2, f"{wrong}\n\n{MAIN}\n\ndef aux(x):\n    return 0")
    assert make().step(TASK, 0, texts, None).reward == 4.0
    own = main("aux_2 = 1", "return aux(x) + aux_2")
    assert make().step(TASK, 0, (AUX, AUX_2, own), None).parts["aux_used"] == 0.25  # a name of its own is no use


@pytest.mark.parametrize("wording", ["full", "brief"])
def test_every_agent_is_told_its_own_part(wording):
    domain = make(agents=4, wording=wording)
    assert domain.roles == ("aux", "aux_2", "aux_3", "main")
    seen = [domain.observe(TASK, agent, 0, (), None)[-1]["content"] for agent in range(4)]
    for agent, name in enumerate(domain.helpers):
        assert ("def " if wording == "full" else "the helper ") + name in seen[agent]
    whole = str(domain.observe(TASK, 3, 0, (), None))
    assert all(name in whole for name in ("aux", "aux_2", "aux_3")) and ("do not define them" in whole) == (
        wording == "full"
    )


def test_feedback_names_all_functions_and_shows_nobodys_code():
    domain = make(feedback="level_feedback")
    texts = (AUX.replace("x * 2", "x * 2  # secret"), "def aux_2(x):\n    pass", main("v = aux(x)", "return v + 1"))
    step = domain.step(TASK, 0, texts, None)
    assert len(step.feedback) == 3 and json.loads(json.dumps(step.feedback)) == list(step.feedback)
    told = []
    for agent, text in enumerate(texts):
        past = Exchange(tuple(domain.observe(TASK, agent, 0, (), None)), text)
        told.append(domain.observe(TASK, agent, 1, (past,), step.feedback[agent])[-1]["content"])
    for text in told:
        assert "aux: defined\naux_2: missing, or it returns nothing\nf: defined" in text and "secret" not in text
    assert "you do not call aux_2" in told[2] and not any("you do not call" in text for text in told[:2])
    assert [domain.understands(TASK, agent, text) for agent, text in enumerate(TEAM)] == [True] * 3
    assert not domain.understands(TASK, 1, AUX)


def test_a_pair_is_shared_out_without_a_change_of_what_it_computes():
    pair = "def aux(x):\n    return x - 1", "def f(x):\n    return 0 if x < 1 else aux(x) * aux(x + 2) + x"
    for agents in (3, 4, 5):
        *helpers, last = texts = shared_out(pair, "f", agents)
        assert len(texts) == agents and helpers[0] == pair[0]
        values = {}
        exec("\n\n".join(texts), values)  # of this test alone
        assert [values["f"](x) for x in range(-2, 5)] == [0, 0, 0, 0 * 2 + 1, 1 * 3 + 2, 2 * 4 + 3, 3 * 5 + 4]
        assert all(f"{name}(" in last for name in ("aux_2", "aux_3", "aux_4")[: agents - 2])
    assert shared_out(("def aux(x):\n    return x", "def f(x):\n    yield aux(x)"), "f", 3) is None


def test_spoiled_demonstrations_of_helpers_stay_theirs():
    fields = {**TASK.fields, "reference": {"aux": AUX, "main": main("v = aux(x)", "return v + 1")}}
    shown = make(demonstrated_turns=1).demonstrations(Task("t", "coophe", fields), random.Random(1), 1.0)
    assert [item.agent for item in shown] == [0, 1, 2] and all(item.response for item in shown)
    clean = make(demonstrated_turns=1).demonstrations(Task("t", "coophe", fields), random.Random(1), 0.0)
    assert all(one.response != other.response for one, other in zip(shown, clean, strict=True))


def test_records_of_three_are_scored(tmp_path, capsys):
    inputs = {"prompt": PROMPT, "test": TEST, "entry_point": "f"}
    inputs |= dict(zip(("aux_completion", "aux_2_completion", "main_completion"), TEAM, strict=True))
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps({"id": 1, "inputs": inputs}) + "\n")
    assert score.main(["--domain", "coophe", "--agents", "3", str(cases)]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == 4.0
    del inputs["aux_2_completion"]
    with pytest.raises(RowError, match="'aux_2_completion' is missing"):
        make().score_case(inputs)
