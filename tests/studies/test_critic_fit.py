"""Critics that are trained alone: they learn what they see, and what there is to explain is measured right."""

from __future__ import annotations

from types import SimpleNamespace

import critic_fit
import pytest
import torch
from support.toy import numbers, play, setting


@pytest.fixture
def started(models_folder, tmp_path):
    """A team with a joint critic, as the studies see it."""
    team, learner = setting(models_folder, tmp_path, "collm_cc", minibatch_size=4, critic_learning_rate=1e-2)
    job = SimpleNamespace(rollout=SimpleNamespace(discount=0.9))
    return SimpleNamespace(team=team, job=job, setup=SimpleNamespace(seed=0)), learner.critics


def test_a_critic_learns_what_it_sees_and_agents_rest(started):
    start, critics = started
    roots = play(start.team, 8)
    seen, before = critic_fit.Explained(start, roots), numbers(start.team)
    shares = [
        seen.shares(critics)["explained"] for step in critic_fit.fit(start, critics, roots, 60, "x") if step in (0, 60)
    ]
    after = numbers(start.team)
    assert shares[0] < 0.1 and shares[1] > 0.3
    assert torch.equal(before["agent_0"], after["agent_0"]) and not torch.equal(before["critic"], after["critic"])


def test_ceiling_is_the_share_between_tasks(started):
    start, _ = started
    roots = [root for seed in range(3) for root in play(start.team, 4, seed=seed)]
    explained = critic_fit.Explained(start, roots)
    explained.returns = torch.tensor([1.0, 2.0, 3.0, 4.0] * 3)
    assert explained.ceiling() == pytest.approx(1.0)
    explained.returns = torch.tensor([1.0] * 4 + [2.0] * 4 + [3.0] * 4)
    assert explained.ceiling() == 0.0


def test_means_of_turns_are_taken_out(started):
    start, _ = started
    roots = [node for node in play(start.team, 3, turns=2) if node.turn == 0]
    explained = critic_fit.Explained(start, roots)
    assert explained.turns.tolist() == [0, 1, 0, 1, 0, 1]
    less = explained._less_turns(torch.tensor([1.0, 10.0, 2.0, 20.0, 3.0, 30.0]))
    assert less.tolist() == [-1.0, -10.0, 0.0, 0.0, 1.0, 10.0]
