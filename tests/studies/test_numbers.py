"""The arithmetic of the studies: intervals, headroom, signal and noise of gradients, groups of an update."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace

import gradient_noise
import headroom
import intervals
import pytest
import torch
import update_shares
from score_gradients import ScoredEpisodes, scored
from support.toy import numbers, play, setting, with_plain_descent

from collm.methods import monte_carlo


def test_interval_of_two_and_of_five_numbers():
    assert intervals.half_width([0.0, 2.0]) == pytest.approx(12.706 * math.sqrt(2.0) / math.sqrt(2.0))
    assert intervals.half_width([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2.776 * math.sqrt(2.5 / 5))
    assert math.isnan(intervals.half_width([1.0]))
    assert intervals.in_words([0.25]) == "+0.250"
    assert intervals.in_words([0.0, 2.0]) == "+1.000 ± 12.706"


def test_expected_best_is_the_mean_over_all_draws():
    rewards = [0.3, 0.1, 0.9, 0.4, 0.4]
    draws = list(itertools.combinations(rewards, 3))
    assert headroom.expected_best(rewards, 3) == pytest.approx(sum(map(max, draws)) / len(draws))
    assert headroom.expected_best(rewards, 16) == 0.9


def test_headroom_of_tasks_worked_out_by_hand():
    found = headroom.statistics_of([[0.0, 2.0], [4.0, 4.0]])
    assert (found["mean"], found["best"], found["tied"]) == (2.5, 3.0, 0.5)
    assert found["within"] == pytest.approx(1.0)  # variances 2 and 0
    assert found["between"] == pytest.approx(math.sqrt(4.5 - 1.0 / 2))  # of the means 1 and 4, less the samples' own


# gradients


@pytest.fixture(scope="module")
def played(models_folder, tmp_path_factory):
    """A team with a learner that takes plain steps of the gradient, trees of its episodes, and their scores."""
    folder = tmp_path_factory.mktemp("evidence")
    team, learner = setting(models_folder, folder, "magrpo", minibatch_size=16, normalize_advantage=False)
    nodes = play(team, 4, generations=4)
    started = SimpleNamespace(team=team, context=SimpleNamespace(sampling=None))
    return team, with_plain_descent(learner), nodes, scored(started, nodes)


def test_products_give_the_gradient_of_the_learner(played):
    team, learner, nodes, episodes = played
    advantages = monte_carlo.signal("magrpo", nodes, 2, 0.9, learner.critics.scaling).advantages
    before = numbers(team)
    learner.policies.begin()
    metrics = list(learner.update(nodes, random.Random(0)))
    after = numbers(team)
    assert len(metrics) == 1
    for agent in range(2):
        step = after[f"agent_{agent}"] - before[f"agent_{agent}"]
        weights = episodes.row(advantages[agent])
        assert step.double().square().sum().item() == pytest.approx(
            (weights @ episodes.products[agent] @ weights).item(), rel=1e-3
        )


def test_lengths_and_scores_are_those_of_the_responses(played):
    team, _, nodes, episodes = played
    node, j = nodes[2], 3
    index = episodes.place[node, j]
    for agent in range(2):
        response = node.responses[agent][j]
        assert episodes.lengths[agent][index] == len(response.tokens)
        assert episodes.logprobs[agent][index].item() == pytest.approx(response.logprob, abs=0.2)


def made_up(count: int, width: int, deviation: float) -> tuple[ScoredEpisodes, gradient_noise.Estimator]:
    """Episodes of one joint sample whose gradients are (1, 0, 0, ...) plus noise, all of advantage 1."""
    draw = torch.Generator().manual_seed(0)
    gradients = deviation * torch.randn(count, width, generator=draw, dtype=torch.float64)
    gradients[:, 0] += 1.0
    nodes = [SimpleNamespace(actions=[(0,)]) for _ in range(count)]
    nodes = [_Hashed(node) for node in nodes]
    place = {(node, 0): index for index, node in enumerate(nodes)}
    ones = torch.ones(count)
    episodes = ScoredEpisodes([[node] for node in nodes], place, [gradients @ gradients.T], [ones], [ones], [ones])
    return episodes, gradient_noise.Estimator({}, lambda batch: [{(node, 0): 1.0 for node in batch}])


class _Hashed:
    """A node that can be a key."""

    def __init__(self, node):
        self.actions = node.actions


@pytest.mark.parametrize("size", [8, 32])
def test_signal_and_noise_of_known_gradients(size):
    width, deviation = 40, 0.5
    episodes, estimator = made_up(1024, width, deviation)
    line = gradient_noise.noise(episodes, estimator, size, seed=1)
    rest = width * deviation**2 / size
    assert line["batch"] == size and line["batches"] == 1024 // size
    assert line["signal"] == pytest.approx(1.0, abs=0.05)
    assert line["power"] == pytest.approx(1.0 + rest, rel=0.05)
    assert line["snr"] == pytest.approx(1.0 / rest, rel=0.1)
    assert line["noise_scale"] == pytest.approx(width * deviation**2, rel=0.1)


def test_error_is_the_deviation_of_alignment_without_signal():
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        gradients = torch.randn(12, 5, generator=draw, dtype=torch.float64)
        found.append(gradient_noise.signal_and_power(gradients @ gradients.T))
    signals = torch.tensor([one["signal"] for one in found])
    error = torch.tensor([one["deviation"] for one in found]).mean().item()
    assert abs(signals.mean().item()) < 4 * error / 20
    assert error == pytest.approx(signals.std().item(), rel=0.1)


def test_too_few_batches_give_no_line():
    episodes, estimator = made_up(24, 4, 1.0)
    assert gradient_noise.noise(episodes, estimator, 8, seed=0) is None


def test_trees_are_counted():
    assert [gradient_noise.tree_size(2, turns) for turns in (1, 2, 4)] == [2, 6, 30]


def test_groups_hold_every_response_that_is_pushed(played):
    _, learner, nodes, episodes = played
    advantages = monte_carlo.signal("magrpo", nodes, 2, 0.9, learner.critics.scaling).advantages
    groups = update_shares.groups_of(episodes, [advantages[0], advantages[1]])
    members = [response for own in groups.values() for response in own]
    pushed = {(a, episodes.place[s]) for a in range(2) for s, value in advantages[a].items() if value}
    assert len(members) == len(pushed) and set(members) == pushed
    negative = [index for (sign, _), own in groups.items() for agent, index in own if sign == "negative" and not agent]
    assert len(negative) == sum(value < 0 for value in advantages[0].values())


def test_pull_adds_up_to_the_squared_norm(played):
    _, learner, nodes, episodes = played
    advantages = monte_carlo.signal("magrpo", nodes, 2, 0.9, learner.critics.scaling).advantages[1]
    weights = episodes.row(advantages)
    parts = update_shares._parts(episodes, 1, weights)
    assert parts["pull"].sum().item() == pytest.approx((weights @ episodes.products[1] @ weights).item())
    assert (parts["power"] >= 0).all()
