"""The arithmetic of the benchmarks: rewards, tokens, straight lines, and operations against torch's own count."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from toy import make_team

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import agents  # noqa: E402
import protocol  # noqa: E402
import reward_share  # noqa: E402
import workmeter  # noqa: E402

from collm.critics import Critics  # noqa: E402
from collm.earlier_policy import EarlierPolicy  # noqa: E402
from collm.generation import Sampling  # noqa: E402
from collm.learner import Learner  # noqa: E402
from collm.rollout import Rollout  # noqa: E402

PROMPTS = [tuple(range(3, 90)), tuple(range(60, 130))]
RESPONSES = [tuple(range(20, 40)), tuple(range(40, 70))]


def test_rewards_of_one_two_and_more_texts():
    assert protocol.joint_reward("a b") == 1.0 + 2 / 30
    assert protocol.joint_reward("a b", "b c") == 0.5 + 2 / 30
    assert protocol.joint_reward("a", "b", "a b c d") == 0.5 + (1 + 1 + 4) / 90
    assert protocol.joint_reward("", "") == 0.0


def test_tokens_are_counted_up_to_the_first_end():
    assert protocol.count_tokens([[7, 7, 1, 2, 9, 9], [7, 7, 1, 2, 3, 4]], 2, [9]) == (2, 3 + 4)


def test_a_straight_line_has_its_slope_and_no_distance():
    assert agents.slope([(1, 5.0), (2, 7.0), (4, 11.0)]) == pytest.approx((2.0, 0.0))
    assert agents.slope([(1, 1.0), (2, 2.0), (3, 6.0)])[1] > 0.1


def test_share_of_rewards():
    events = [
        {"event": "rollout", "samples": 4, "seconds": 3.0, "reward_seconds": 0.5},
        {"event": "update", "seconds": 1.0},
        {"event": "rollout", "samples": 8, "seconds": 5.0, "reward_seconds": 0.5},
        {"event": "update", "seconds": 1.0},
    ]
    row = reward_share.row_of("tldr", "magrpo", events)
    assert (row["joint_samples"], row["share"]) == (8, 0.1)


def counted(models_folder, call):
    """(our count by part, torch's count) of what `call` does with a team."""
    team = make_team(models_folder, "local")
    call(team)  # weights are stacked and packed once
    work = workmeter.Work(SimpleNamespace(team=team))
    with FlopCounterMode(display=False) as counter:
        call(team)
    return work.operations, counter.get_total_flops()


def check(needed, found):
    """Torch also counts upper triangles of attention, padding and what is computed again: a third in models so tiny."""
    assert 0.6 * found < needed < 1.02 * found


@pytest.mark.parametrize("training", [False, True])
def test_operations_of_scoring_are_those_that_torch_counts(models_folder, training):
    pairs = [(prompt, response) for prompt in PROMPTS for response in RESPONSES]

    def call(team):
        with torch.set_grad_enabled(training):
            scores, _ = team.logprobs(0, pairs)
            if training:
                scores.sum().backward()

    operations, found = counted(models_folder, call)
    check(operations["policy"], found)


def test_operations_of_values_are_those_that_torch_counts(models_folder):
    operations, found = counted(models_folder, lambda team: team.values(0, PROMPTS).sum().backward())
    check(operations["values"], found)


def test_operations_of_playing_are_those_that_torch_counts(models_folder):
    def call(team):
        for agent in team.agents:
            agent.base.ends = frozenset()
        wanted = [(agent, prompt, (1, 2)) for agent in range(2) for prompt in PROMPTS]
        team.respond(wanted, Sampling(6, 1.0, 1.0, None), "mixed", 64)

    operations, found = counted(models_folder, call)
    check(operations["play"], found)


def test_the_parts_of_a_run_are_there():
    owners = {"rollout": Rollout, "learner": Learner, "learner.earlier": EarlierPolicy, "learner.critics": Critics}
    for path in (path for paths in workmeter.PARTS.values() for path in paths):
        owner, name = path.rsplit(".", 1)
        assert callable(getattr(owners[owner], name)), path
