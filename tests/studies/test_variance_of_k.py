"""The variance of a tree's gradient: weights by hand, the gradient of MAREINFORCE, and how it falls with K."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import reduce
import torch
import variance_of_k
from score_gradients import scored
from support.toy import Toy, make_team, numbers, play, rollout_settings, setting, tasks, with_plain_descent

from collm.common.seeds import derive
from collm.methods import monte_carlo
from collm.report.claims.study import RUN, Study
from collm.training.rollout import Rollout


def a_started(team, **changes):
    """A team as the studies see it; toy episodes of its own tasks."""
    rollout = Rollout(team, Toy({}), rollout_settings(**changes))

    def play_rounds(chosen, name, rounds, generations):
        seeds = [[derive(name, number, task.id) for task in chosen] for number in range(rounds)]
        return [root for own in seeds for root in rollout.play(chosen, own, generations).roots]

    job = SimpleNamespace(rollout=rollout.settings)
    facts = {"team": team, "job": job, "setup": SimpleNamespace(test=tasks(2)), "play": play_rounds}
    return SimpleNamespace(**facts, context=SimpleNamespace(sampling=None))


def test_weights_are_means_over_a_turn(models_folder):
    team = make_team(models_folder)
    root = play(team, count=1, turns=2, generations=2)[0]
    episodes = scored(a_started(team), [root])
    found = variance_of_k.weights(episodes, [root], 2, 0.9)[0]
    returns = monte_carlo.G(root, 0.9)
    assert found[episodes.place[root, 1]].item() == pytest.approx(returns[1] / 2)
    child = root.children[0]
    assert found[episodes.place[child, 1]].item() == pytest.approx(child.rewards[1] / 4)
    assert int((found != 0).sum()) <= 6


def test_one_turn_is_the_gradient_that_the_learner_steps_along(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "mareinforce", minibatch_size=4, normalize_advantage=False)
    nodes = play(team, count=1, generations=4)
    started = a_started(team)
    episodes = scored(started, nodes)
    row = variance_of_k.weights(episodes, nodes, 4, 0.9)
    with_plain_descent(learner)
    before = numbers(team)
    learner.policies.begin()
    list(learner.update(nodes, random.Random(0)))
    after = numbers(team)
    for agent in range(2):
        step = after[f"agent_{agent}"] - before[f"agent_{agent}"]
        expected = (row[0] @ episodes.products[agent] @ row[0]).item()
        assert step.double().square().sum().item() == pytest.approx(expected, rel=1e-3)


def test_variance_without_bias():
    """Of gradients (1, 0) and (0, 1) the mean square is 1 and the product 0; equal ones do not vary."""
    assert variance_of_k.variance(torch.eye(2, dtype=torch.float64)) == pytest.approx(1.0)
    assert variance_of_k.variance(torch.ones(3, 3, dtype=torch.float64)) == pytest.approx(0.0)


def test_it_falls_with_k(models_folder):
    """As 1 / K for one turn, up to what 40 trees leave uncertain; trees that are too large are left out."""
    started = a_started(make_team(models_folder), max_new_tokens=2)
    lines = variance_of_k.measured(started, (1, 4), tasks=2, draws=20)
    ratio = lines[0]["variance"] / lines[1]["variance"]
    assert 2.5 < ratio < 6.0 and [line["draws"] for line in lines] == [40, 40]
    assert variance_of_k.measured(started, (31,), 1, 2) == []


def test_lines_of_one_run_are_replaced(tmp_path):
    file = tmp_path / "variance.csv"
    line = dict(zip(RUN, ("stable", "tldr", "magrpo", 0), strict=True))
    for seed in (0, 1):
        rows = [line | {"seed": seed, "generations": k, "variance": 0.3 / k, "draws": 8} for k in (1, 2)]
        reduce.replace(file, "variance", rows, RUN)
    reduce.replace(file, "variance", [line | {"generations": 4, "variance": 0.1, "draws": 8}], RUN)
    frame = Study.read(tmp_path).of("variance", "stable", "tldr", "magrpo")
    assert frame[["seed", "generations"]].to_numpy().tolist() == [[0, 4], [1, 1], [1, 2]]
    assert np.isclose(frame["variance"], [0.1, 0.3, 0.15]).all()
