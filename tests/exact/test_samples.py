"""K samples per prompt: how many calls they cost (Proposition 4.3) and what variance they leave (our reading: 1/K)."""

from __future__ import annotations

import pytest
import torch
from cases import Groups, orders
from exact_values import Exact
from small_world import SmallWorld, make_team, rollout_settings

from collm.llm.team import Team
from collm.methods import monte_carlo
from collm.training.rollout import Rollout

# calls


@pytest.mark.parametrize(
    ("agents", "copies", "turns"), [(1, 1, 3), (1, 3, 3), (2, 1, 2), (2, 2, 3), (2, 4, 2), (3, 2, 3), (4, 2, 2)]
)
def test_calls_of_aligned_trees(letters, monkeypatch, agents, copies, turns):
    """n K (K^H - 1) / (K - 1) responses and K (K^H - 1) / (K - 1) joint actions per task; n H and H for K = 1."""
    domain, asked, real = SmallWorld(turns, num_agents=agents), [], Team.respond
    monkeypatch.setattr(
        Team, "respond", lambda self, requests, *rest: asked.extend(requests) or real(self, requests, *rest)
    )
    rollout = Rollout(make_team(letters, agents=agents), domain, rollout_settings(turns, 1, generations=copies))
    nodes = rollout.play(domain.tasks()[:1], [7]).nodes()
    joint = turns if copies == 1 else copies * (copies**turns - 1) // (copies - 1)
    assert sum(len(node.actions) for node in nodes) == joint
    assert sum(len(keys) for _, _, keys in asked) == agents * joint
    assert sum(len(group) for node in nodes for group in node.responses) == agents * joint


@pytest.mark.parametrize(("agents", "copies", "turns"), [(2, 2, 2), (3, 2, 2)])
def test_calls_of_crossed_trees(letters, agents, copies, turns):
    """Every node branches K^n times, and asks n K responses."""
    domain = SmallWorld(turns, num_agents=agents)
    settings = rollout_settings(turns, 1, generations=copies, joint_mode="cross")
    nodes = Rollout(make_team(letters, agents=agents), domain, settings).play(domain.tasks()[:1], [7]).nodes()
    branches = copies**agents
    assert len(nodes) == sum(branches**turn for turn in range(turns))
    assert sum(len(node.actions) for node in nodes) == branches * len(nodes)
    assert sum(len(group) for node in nodes for group in node.responses) == agents * copies * len(nodes)


# variance of the sampled value of a history


def variance(made):
    """{task: variance of the mean return over a root's K samples}, over all trees that can be drawn."""
    moments = {}
    for root, chance in zip(made.roots, made.chances, strict=True):
        mean = sum(monte_carlo.G(root, 1.0)) / len(root.actions)
        total = moments.setdefault(root.task.id, [0.0, 0.0, 0.0])
        for power in range(3):
            total[power] += chance * mean**power
    return {task: second / mass - (first / mass) ** 2 for task, (mass, first, second) in moments.items()}


def shares(exact, task):
    """(variance of Q over first joint actions, expected variance of the rest) of one sampled return, two turns."""
    chances = exact.log_joint(task).exp().detach()
    q = exact.q(task).detach()
    first = (chances * q**2).sum() - (chances * q).sum() ** 2
    rest = 0.0
    for j, chance in enumerate(chances.tolist()):
        later, value = exact.log_joint(task, (j,)).exp().detach(), exact.q(task, (j,)).detach()
        rest += chance * ((later * value**2).sum() - (later * value).sum() ** 2).item()
    return first.item(), rest


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_independent_samples_divide_the_variance_by_k(letters, tmp_path, copies):
    single = variance(Groups(letters, tmp_path, "mareinforce", 1, 1))
    several = variance(Groups(letters, tmp_path, "mareinforce", 1, copies))
    assert several == pytest.approx({task: number / copies for task, number in single.items()}, rel=1e-9)


def test_trees_divide_later_turns_more(letters, tmp_path):
    """Turn t's share of the variance is divided by K^(t + 1): the total lies between Var / K^H and Var / K."""
    made = Groups(letters, tmp_path, "mareinforce", 2, 2)
    exact, variances = Exact(made.team, made.domain), variance(made)
    for task in made.domain.tasks():
        first, rest = shares(exact, task)
        assert variances[task.id] == pytest.approx(first / 2 + rest / 4, rel=1e-9)
        assert (first + rest) / 4 < variances[task.id] < (first + rest) / 2


def test_crossed_samples_are_not_independent(letters, tmp_path):
    """K^n joint actions of n K responses: less variance than K aligned ones, more than K^n independent ones."""
    made = Groups(letters, tmp_path, "mareinforce", 1, 1)
    single = variance(made)
    for task in made.domain.tasks():
        own = [made.exact.log_policy(a, made.exact.prompts(task, ())[a]).exp().tolist() for a in (0, 1)]
        returns = {action: made.exact.reward(task, (j,)) for j, action in enumerate(made.exact.joint)}
        moments = [0.0, 0.0]
        for first in ((0, 0), (0, 1), (1, 1)):
            for second in ((0, 0), (0, 1), (1, 1)):
                chance = orders(first) * orders(second)
                for agent, responses in enumerate((first, second)):
                    chance *= own[agent][responses[0]] * own[agent][responses[1]]
                mean = sum(returns[a, b] for a in first for b in second) / 4
                moments = [moments[0] + chance * mean, moments[1] + chance * mean**2]
        crossed = moments[1] - moments[0] ** 2
        assert single[task.id] / 4 - 1e-12 < crossed < single[task.id] / 2
    assert crossed > 1.05 * single[task.id] / 4


def test_gradients_of_independent_samples(letters, tmp_path):
    """Trace of the covariance of the gradient estimate without baseline: 1 / K of that of one sample."""

    def spread(copies):
        made = Groups(letters, tmp_path, "mareinforce", 1, copies)
        task = made.domain.tasks()[1].id
        mean, square, mass = 0.0, 0.0, 0.0
        for root, chance in zip(made.roots, made.chances, strict=True):
            if root.task.id != task:
                continue
            gradient = made.learner.gradients([root], {(root, j): 1 / copies for j in range(copies)})["agent_0"]
            mean, square, mass = mean + chance * gradient, square + chance * gradient @ gradient, mass + chance
        return (square / mass - torch.sum((mean / mass) ** 2)).item()

    assert spread(3) == pytest.approx(spread(1) / 3, rel=1e-9)
