"""Another reward than a domain's own: weights of parts, and a function's parts, in steps, cases and bounds."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from support.golden_rows import golden

from collm import domains
from collm.command import check_domain
from collm.common.errors import ConfigError, ContractError, RowError
from collm.domains import NAMES, contract, reward, trial
from collm.domains.base import PROFILES, Move
from collm.stages import score

FUNCTIONS = """
from collm.domains.reward import reward_parts

@reward_parts(brief=(0.0, 0.5), polite=(0, 1))
def manners(turn):
    words = sum(len(answer.split()) for answer in turn.answers)
    return {"brief": 0.5 if words < 30 else 0.0, "polite": int(any("please" in text for text in turn.answers))}

@reward_parts(style=(-1.0, 0.0))
def plain(turn):
    assert set(turn.parts) == {"structure", "length", "vocabulary", "style"}
    return {"style": -1.0 if "however" in " ".join(turn.answers) else 0.0}

@reward_parts(first=(0.0, 1.0))
def early(turn):
    return {"first": 1.0 / (1 + turn.turn) if turn.done else 0.0}

@reward_parts(x=(0.0, 1.0))
def broken(turn):
    return {"nan": {"x": float("nan")}, "text": {"x": "1"}, "far": {"x": 2.0}, "none": None, "other": {"y": 0.0}}[
        turn.row["prompt"] if turn.answers[0] != "raise" else "raise"
    ]

def undeclared(turn):
    return {}
"""
GENERATED = {"algebra", "physics", "navigate"}
KEY = "domain.tldr.options"


@pytest.fixture(autouse=True)
def functions(tmp_path, monkeypatch):
    """A working directory with a module of reward functions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_rewards.py").write_text(FUNCTIONS)
    (tmp_path / "my_fault.py").write_text("1 / 0")
    yield
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def built(name, profile="paper", agents=None, **options):
    """A domain with few rows."""
    few = {"generated": 12} if name in GENERATED else {}
    return domains.build(name, {**few, **options}, profile, agents)


def move(domain):
    """A demonstrated joint action, one of each agent's first answers."""
    row = next(iter(domain.embedded(0).values()))[0]
    task = domain.task(row, 0)
    shown = domain.demonstrations(task, random.Random(0), 0.3)
    texts = [next(one.response for one in shown if one.agent == agent) for agent in range(domain.num_agents)]
    last = 0 if domain.max_turns is None else domain.max_turns - 1
    return Move(task, last, texts, domain.start(task, 0))


def played(domain, one):
    domain.ready("allow_weak")
    return domain.step(one.task, one.turn, one.joint_action, one.world)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_without_weights_nothing_changes_and_with_0_a_part_is_gone(name, profile):
    plain = built(name, profile)
    one = move(plain)
    step = played(plain, one)
    same = built(name, profile, weights={}, reward=None, reward_mode="add")
    assert type(same) is type(plain) is domains.get(name) and played(same, one) == step
    contract.check_instance(plain)
    contract.check_step(plain, step)
    assert set(step.parts) == set(plain.parts) and step.reward != 0.0
    for part in step.parts:
        domain = built(name, profile, weights={part: 0})
        without = played(domain, one)
        assert without.parts == {**step.parts, part: 0.0}
        assert without.reward == pytest.approx(step.reward - step.parts[part], abs=1e-12)
        assert (without.metrics, without.world, without.done) == (step.metrics, step.world, step.done)
        assert without.record == {**step.record, "domain_parts": step.parts}
        assert domain.max_reward == pytest.approx(plain.max_reward - plain.parts[part][1])
        contract.check_instance(domain)
        contract.check_step(domain, without)
        if name in ("coophe", "humaneval", "mbpp"):  # each step runs programs: the last part is enough
            assert domain.steps([one]) == [without]


@pytest.mark.parametrize("name", [*NAMES[:7], "physics"])
def test_cases_are_weighted_as_steps_are(name):
    if name in NAMES[:7]:
        case, profile = golden(name)[0]["inputs"], "released"
    else:
        case = {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1, "completion1": "Answer: B", "completion2": ""}
        profile = "paper"
    plain = built(name, profile)
    plain.ready("allow_weak")
    earned, components = plain.score_case(case)
    part = max(plain.parts, key=lambda one: plain.parts[one][1])
    weighted, more = built(name, profile, weights={part: 3}).score_case(case)
    assert {key: value for key, value in more.items() if key != "parts"} == components
    assert weighted == pytest.approx(math.fsum(more["parts"].values()))
    assert weighted == pytest.approx(earned + 2 * plain.case_parts(components, plain.parts)[part])


def test_weights_and_functions_in_score(tmp_path, capsys):
    (tmp_path / "cases.jsonl").write_text(json.dumps(golden("tldr")[0]) + "\n")

    def scored(**options):
        assert score.main(["--domain", "tldr", "--options", json.dumps(options), "cases.jsonl"]) == 0
        return json.loads(capsys.readouterr().out)

    plain, half = scored(), scored(weights={"structure": 0.5})
    assert half["reward"] == pytest.approx(plain["reward"] - 0.5 * plain["components"]["structure"])
    mine = scored(reward="my_rewards:manners", reward_mode="replace")
    assert set(mine["components"]["parts"]) == {"brief", "polite"}
    with pytest.raises(ConfigError, match=r"--options '\[1\]' is no JSON object"):
        score.main(["--domain", "tldr", "--options", "[1]", "cases.jsonl"])


def test_a_functions_parts_join_replace_a_part_or_are_all():
    plain = built("tldr")
    one = move(plain)
    step = played(plain, one)
    joined = built("tldr", reward="my_rewards:manners", weights={"polite": -2.0, "style": 0})
    found = played(joined, one)
    assert found.parts == {**step.parts, "style": 0.0, "brief": 0.0, "polite": 0.0}
    assert found.record["function_parts"] == {"brief": 0.0, "polite": 0.0}
    assert (joined.min_reward, joined.max_reward) == (-2.0, 2.5)
    polite = Move(one.task, 0, ["please", ""], None)
    assert joined.steps([polite])[0].parts == {**dict.fromkeys(step.parts, 0.0), "brief": 0.5, "polite": -2.0}
    added = built("tldr", reward="my_rewards:manners")
    assert (added.min_reward, added.max_reward) == (0.0, 4.5)
    placed = built("tldr", reward="my_rewards:plain")
    assert set(placed.parts) == set(step.parts) and placed.parts["style"] == (-1.0, 0.0)
    assert (placed.min_reward, placed.max_reward) == (-1.0, 2.0)
    assert played(placed, one).parts == {**step.parts, "style": -1.0 if "however" in str(one.joint_action) else 0.0}
    alone = built("tldr", reward="my_rewards:manners", reward_mode="replace")
    assert played(alone, one).parts == {"brief": 0.0, "polite": 0.0} and alone.max_reward == 1.5
    assert played(alone, one).record["domain_parts"] == step.parts


def test_a_function_sees_where_an_episode_ends():
    domain = built("physics", reward="my_rewards:early", reward_mode="replace")
    task = move(domain).task
    ends = domain.step(task, 0, ["Answer: A", "Answer: A"], None)
    goes_on = domain.step(task, 0, ["Answer: A", "Answer: B"], None)
    assert (ends.done, ends.reward, goes_on.done, goes_on.reward) == (True, 1.0, False, 0.0)


@pytest.mark.parametrize("name", ["str_build", "house_build"])
def test_feedback_tells_the_reward_that_is_paid(name):
    domain = built(name, feedback="score", weights={"coverage": 0.5})
    step = played(domain, move(domain))
    assert [told["reward"] for told in step.feedback] == [step.reward] * 2
    assert name == "str_build" or step.feedback[0]["best"] == domain.max_reward == 1.0


def test_one_agent_alone_takes_the_weights_of_its_team():
    weights = {"own_checker": 0, "form_voter_3": 0, "joint": 2}
    assert built("physics", agents=1, weights=weights).max_reward == pytest.approx(2.3)
    with pytest.raises(ConfigError, match=r"weights\.form_voter_3: unknown part"):
        built("physics", agents=2, weights=weights)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"weights": {"styl": 0}},
            rf"{KEY}.weights.styl: unknown part; did you mean 'style'\? Allowed: length, struct",
        ),
        ({"weights": {"style": math.inf}}, rf"{KEY}.weights.style is inf; write a finite number"),
        ({"weights": {"style": "2"}}, rf"{KEY}.weights.style is '2'; write a finite number"),
        ({"weights": [1]}, rf"{KEY}.weights: \[1\] is no mapping; write factors by part"),
        ({"reward": "my_rewards"}, rf'{KEY}.reward: \'my_rewards\' is no function; write it as "module:function"'),
        ({"reward": "my_reward:x"}, rf"{KEY}.reward: there is no module 'my_reward'; it is looked for among installed"),
        ({"reward": "my_fault:x"}, rf"{KEY}.reward: my_fault fails while it is loaded: ZeroDivisionError"),
        ({"reward": "my_rewards:manner"}, r"has no function 'manner'; did you mean 'manners'\? Allowed: broken, early"),
        ({"reward": "my_rewards:undeclared"}, "does not say which parts it returns; write @reward_parts"),
        (
            {"reward_mode": "replace"},
            rf"{KEY}.reward_mode is replace without a reward .* set {KEY}.reward to a function",
        ),
        ({"reward_mode": "ad", "reward": "my_rewards:early"}, "'ad' is unknown; allowed are add and replace"),
        (
            {"reward": "my_rewards:early", "reward_mode": "replace", "weights": {"style": 1}},
            r"weights.style: unknown part; .*Allowed: first \(reward_mode replace leaves the function's parts alone\)",
        ),
        ({"wieghts": {}}, rf"{KEY}.wieghts: unknown option; did you mean 'weights'\?"),
    ],
)
def test_what_cannot_be_is_said_when_the_domain_is_built(options, said):
    with pytest.raises(ConfigError, match=said):
        built("tldr", **options)


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("nan", "", r"returned nan for part 'x'; return a finite number from 0 to 1, or declare another range"),
        ("text", "", r"returned '1' for part 'x'; return a finite number"),
        ("far", "", r"returned 2.0 for part 'x'"),
        ("none", "", r"returned None; return a dict of numbers by part"),
        ("other", "", r"returned the parts y; it declares x: return each of them"),
        ("nan", "raise", r"raises KeyError: 'raise'; it has to return its parts whatever agents answer"),
    ],
)
def test_what_a_function_must_not_return_is_named(prompt, answer, said):
    domain = built("tldr", reward="my_rewards:broken")
    task = domain.task(next(iter(domain.embedded(0).values()))[0], 0)
    task.fields["prompt"] = prompt
    where = rf"^{KEY}.reward: my_rewards:broken \(task {task.id}, turn 1\) "
    with pytest.raises(ContractError, match=where + said):
        domain.step(task, 0, [answer, ""], None)
    with pytest.raises(RowError, match=r"my_rewards:broken \(the case\) " + said):
        domain.score_case({"prompt": prompt, "completion1": answer, "completion2": ""})


@pytest.mark.parametrize("pair", [(1.0, 0.0), (0.0, math.nan), [0, 1], 1.0, (0.0,)])
def test_a_range_that_is_none_is_refused_where_it_is_written(pair):
    with pytest.raises(ConfigError, match=r"reward_parts\(x=.*: write the least and the greatest value"):
        reward.reward_parts(x=pair)
    with pytest.raises(ConfigError, match="names no part"):
        reward.reward_parts()


def test_the_trial_of_a_domain_takes_another_reward(monkeypatch, capsys):
    monkeypatch.setattr(trial, "HOSTILE", {"None": None})
    place = "collm.domains.writing.tldr:Tldr"
    options = {"weights": {"style": -1}, "reward": "my_rewards:manners"}
    assert check_domain.main([place, "--options", json.dumps(options), "--agents", "2"]) == 0, capsys.readouterr().out
