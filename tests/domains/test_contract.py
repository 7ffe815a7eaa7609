"""What a domain owes: a message that names class and field, in a run and from `collm check-domain`."""

from __future__ import annotations

import dataclasses
import math
import sys

import pytest
from support.toy import Toy, task

from collm.command import check_domain
from collm.common.errors import ConfigError, ContractError, RowError
from collm.config.checks import contract as contract_of_checks
from collm.domains import contract, reward, trial
from collm.domains.base import Exchange, RawRow, printable
from collm.domains.options import Option


class Whole(Toy):
    """Toy with rows, so that it can be played."""

    name = "whole"
    team_sizes = (2,)

    def embedded(self, seed):
        return {"train": [RawRow({}, "row 1"), RawRow({}, "row 2")], "test": [RawRow({}, "row 1")]}

    def observe(self, task, agent, turn, history, feedback):
        told = [Exchange(past.observation, printable(past.response)) for past in history]
        return super().observe(task, agent, turn, told, feedback)

    def step(self, task, turn, joint_action, world):
        return super().step(task, turn, [text and printable(text) for text in joint_action], world)

    def score_case(self, inputs):
        raise RowError("no case")


class Leaky(Whole):
    """Tells every agent what all have written."""

    name = "leaky"

    def step(self, task, turn, joint_action, world):
        step = super().step(task, turn, joint_action, world)
        return dataclasses.replace(step, feedback=(" ".join(map(str, joint_action)),) * 2)


class Fragile(Whole):
    """Cannot read an empty text, and pays too much."""

    name = "fragile"
    max_reward = 0.5

    def step(self, task, turn, joint_action, world):
        assert all(joint_action), "empty"
        return super().step(task, turn, joint_action, world)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feedback": (None,)}, "feedback is a tuple of 1 for 2 agents; return a tuple with one entry per agent"),
        ({"reward": 9.0}, "parts sum to .* and reward is 9; return parts that sum to the reward"),
        ({"metrics": {"score": 1.0, "other": 1.0}}, "metrics holds 'other', which the class does not declare"),
        ({"metrics": {}}, "metrics lacks 'score'"),
        ({"metrics": {"score": math.nan}}, "metrics\\['score'\\] is nan; return a finite number"),
        ({"world": {"cells": {1, 2}}}, "world is no JSON .*set"),
        ({"world": {1: "a"}}, "world is no JSON .it comes back changed"),
        ({"record": {"x": math.inf}}, "record is no JSON"),
        ({"done": None}, "done is None"),
    ],
)
def test_a_step_that_a_run_cannot_use_is_named_by_class_and_field(changes, said):
    domain = Toy({})
    step = domain.step(task(0), 0, ["a", "b"], {"turns": 0})
    contract.check_step(domain, step)
    with pytest.raises(ContractError, match=rf"^support\.toy\.Toy\.step: {said}"):
        contract.check_step(domain, dataclasses.replace(step, **changes))


def test_roles_that_do_not_fit_the_team_are_refused_where_a_job_is_resolved():
    assert contract_of_checks is contract
    with pytest.raises(ContractError, match=r"Toy\.roles is \('first', 'second'\) for 3 agents"):
        contract.check_instance(Toy({}, num_agents=3))


def test_declared_parts_are_checked_in_class_instance_and_step():
    class Parts(Toy):
        parts = {"0": (0.0, 1.0), "1": (0.0, 1.0)}

    domain = Parts({})
    contract.check_instance(domain)
    step = domain.step(task(0), 0, ["a", "b"], {"turns": 0})
    contract.check_step(domain, step)
    domain.parts = {"0": (0.0, 1.0)}
    with pytest.raises(
        ContractError, match="parts sum to 0 at least and 1 at most; min_reward and max_reward are 0 and 2"
    ):
        contract.check_instance(domain)
    with pytest.raises(ContractError, match="parts and those that the class declares differ in '1'; declared are 0"):
        contract.check_step(domain, step)
    domain.parts = {"0": (0.0, 1.0), "1": (2.0, 3.0)}
    with pytest.raises(ContractError, match=r"parts\['1'\] is 0.*; declared is 2 to 3"):
        contract.check_step(domain, step)
    for pair in ((1.0, 0.0), [0.0, 1.0], (0.0,), (0.0, math.inf)):
        domain.parts = {"0": pair}
        with pytest.raises(ContractError, match=r"Parts.parts\['0'\] is .*; write the least and the greatest value"):
            contract.check_instance(domain)
    domain.parts = ["0"]
    with pytest.raises(ContractError, match=r"Parts.parts is \['0'\]; write a dict"):
        contract.check_instance(domain)


def test_options_that_every_domain_has_cannot_be_declared_again():
    class Own(Whole):
        declared_options = (Option("weights", 1.0, "Own."),)

    with pytest.raises(ContractError, match="declared_options has 'weights', an option of every domain"):
        contract.check_class(Own)


def test_weights_need_declared_parts_and_a_function_does_not(monkeypatch):
    with pytest.raises(ConfigError, match=r"options.weights: .*Whole declares no reward parts; write parts = "):
        reward.build(Whole, {"weights": {"0": 1}})

    @reward.reward_parts(long=(-1.0, 0.0))
    def long(turn):
        return {"long": -float(len(turn.answers[0]) > 9)}

    monkeypatch.setattr(sys.modules[__name__], "long", long, raising=False)
    place = f"{__name__}:long"
    domain = reward.build(Whole, {"reward": place})
    assert (domain.min_reward, domain.max_reward, domain.parts) == (-1.0, 2.0, {})
    plain = Whole({}).step(task(0), 0, ["a" * 10, "b"], {"turns": 0})
    step = domain.step(task(0), 0, ["a" * 10, "b"], {"turns": 0})
    assert step.parts == {**plain.parts, "long": -1.0} and step.feedback == plain.feedback
    assert contract.title(type(domain)) == contract.title(Whole) and isinstance(domain, Whole)
    contract.check_instance(domain)
    contract.check_step(domain, step)
    alone = reward.build(Whole, {"reward": place, "reward_mode": "replace", "weights": {"long": -2}})
    assert alone.step(task(0), 0, ["a" * 10, "b"], {"turns": 0}).parts == {"long": 2.0} and alone.max_reward == 2.0
    long.reward_parts = {"0": (-1.0, 0.0)}
    with pytest.raises(ContractError, match="returned the parts long; it declares 0"):
        domain.step(task(0), 0, ["a", "b"], {"turns": 0})


def test_a_whole_domain_has_no_problem(monkeypatch):
    monkeypatch.setattr(trial, "HOSTILE", {label: text and text[:500] for label, text in trial.HOSTILE.items()})
    assert trial.problems(Whole, {}) == []


def test_what_others_wrote_must_not_be_shown():
    found = trial.problems(Leaky, {})
    assert any("is shown what another agent wrote; agents are decentralised" in line for line in found)


def test_what_raises_and_what_is_out_of_bounds_is_listed():
    found = "\n".join(trial.problems(Fragile, {}))
    assert "step at turn 0 with empty: it raises AssertionError: empty" in found
    assert "is outside of min_reward 0 and max_reward 0.5" in found


def test_the_command_says_that_nothing_is_wrong_or_what(capsys):
    place = f"{Whole.__module__}:"
    assert check_domain.main([f"{place}Whole"]) == 0
    assert capsys.readouterr().out == f"{place}Whole: nothing is wrong (teams of 2 agents)\n"
    assert check_domain.main([f"{place}Leaky"]) == 2
    assert "decentralised" in capsys.readouterr().out
