"""The arithmetic of the benchmarks: rewards, tokens, straight lines, and operations against torch's own count."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from support.places import ROOT
from support.toy import make_team
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(ROOT / "benchmarks"))

import agents  # noqa: E402
import protocol  # noqa: E402
import reward_share  # noqa: E402
import workmeter  # noqa: E402

from collm.llm import sources  # noqa: E402
from collm.llm.sampling import Sampling  # noqa: E402
from collm.training.critics import Critics  # noqa: E402
from collm.training.learner import Learner  # noqa: E402
from collm.training.policies import EarlierPolicies  # noqa: E402
from collm.training.rollout import Rollout  # noqa: E402

PROMPTS = [tuple(range(3, 90)), tuple(range(60, 130))]
SAME_LENGTH = [tuple(range(3, 90)), tuple(range(60, 147))]  # nothing is padded
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


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A model in which products outweigh the rest: torch also counts upper triangles of attention, and playing runs
    the last layer for whole prompts."""
    root = tmp_path_factory.mktemp("deep")
    none = {"steps": 0, "batch_size": 1, "window": 16, "rows": "joined", "learning_rate": 1e-3}
    spec = {"source": "scratch", "layers": 8, "hidden": 256, "heads": 4, "vocabulary": 320, "context": 256}
    sources.make("tiny", {**spec, "pretrain": none}, root / "tiny", ["a text with some words"], 0, root / "lock.json")
    return root


def counted(folder, call):
    """(our count by part, torch's count) of what `call` does with a team."""
    team = make_team(folder, "local")
    call(team)  # weights are stacked and packed once
    work = workmeter.Work(SimpleNamespace(team=team))
    with FlopCounterMode(display=False) as counter:
        call(team)
    return work.operations, counter.get_total_flops()


def check(needed, found):
    assert needed == pytest.approx(found, rel=0.12) and needed <= found


@pytest.mark.parametrize("training", [False, True])
def test_operations_of_scoring_are_those_that_torch_counts(deep, training):
    pairs = [(prompt, response) for prompt in PROMPTS for response in RESPONSES]

    def call(team):
        with torch.set_grad_enabled(training):
            scores, _ = team.logprobs(0, pairs)
            if training:
                scores.sum().backward()

    operations, found = counted(deep, call)
    check(operations["policy"], found)


def test_operations_of_values_are_those_that_torch_counts(deep):
    operations, found = counted(deep, lambda team: team.values(0, PROMPTS).sum().backward())
    check(operations["values"], found)


def test_operations_of_playing_are_those_that_torch_counts(deep):
    def call(team):
        for agent in team.agents:
            agent.base.ends = frozenset()
        wanted = [(agent, prompt, (1, 2)) for agent in range(2) for prompt in SAME_LENGTH]
        team.respond(wanted, Sampling(6, 1.0, 1.0, None), "mixed", 64)

    operations, found = counted(deep, call)
    check(operations["play"], found)


def test_the_parts_of_a_run_are_there():
    owners = {"rollout": Rollout, "learner": Learner, "learner.policies": EarlierPolicies, "learner.critics": Critics}
    for path in (path for paths in workmeter.PARTS.values() for path in paths):
        owner, name = path.rsplit(".", 1)
        assert callable(getattr(owners[owner], name)), path
