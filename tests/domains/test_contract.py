"""What a domain owes: a message that names class and field, in a run and from `collm check-domain`."""

from __future__ import annotations

import dataclasses
import math

import pytest
from support.toy import Toy, task

from collm.command import check_domain
from collm.common.errors import ContractError, RowError
from collm.config.checks import contract as contract_of_checks
from collm.domains import contract, trial
from collm.domains.base import Exchange, RawRow, printable


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
