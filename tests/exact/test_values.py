"""Critics' fixed points against exact values, and the optimum of the small world."""

from __future__ import annotations

import pytest
import torch
from cases import Case
from exact_values import Exact
from expectation import fill, make_learner, path_of, probabilities
from small_world import SmallWorld, make_team


@pytest.fixture
def case(letters, tmp_path):
    def make(method, **changes):
        return Case(letters, tmp_path, method, **changes)

    return make


def slope(made):
    """Expected gradient of the critics' losses with respect to every entry of their tables."""
    made.table.numbers.grad = None
    made.learner.gradients(made.nodes, made.weights)
    return made.table.numbers.grad


@pytest.mark.parametrize(
    ("method", "agents", "turns", "critic_type", "trace"),
    [
        ("collm_cc", 2, 3, "v", 0.0),
        ("collm_cc", 2, 2, "v", 0.4),
        ("collm_cc", 2, 2, "v", 1.0),
        ("collm_cc", 2, 2, "q", 0.0),
        ("collm_cc", 2, 2, "q", 0.4),
        ("collm_cc", 2, 2, "q", 1.0),
        ("collm_dc", 2, 3, "v", 0.0),
        ("collm_dc", 2, 2, "v", 0.4),
        ("collm_dc", 2, 2, "v", 1.0),
        ("ac", 1, 3, "v", 0.0),
        ("ac", 1, 3, "v", 0.4),
        ("ac", 1, 3, "v", 1.0),
        ("collm_cc", 3, 1, "v", 0.0),
    ],
)
def test_exact_values_are_a_fixed_point(case, method, agents, turns, critic_type, trace):
    made = case(method, agents=agents, turns=turns, critic_type=critic_type, td_lambda=trace).filled()
    assert slope(made).abs().max() < 1e-12
    with torch.no_grad():
        made.table.numbers += 0.1
    assert slope(made).abs().max() > 1e-4


@pytest.mark.parametrize(("method", "turns"), [("collm_cc", 3), ("collm_dc", 2)])
def test_expected_updates_reach_the_exact_values(case, method, turns):
    """Repeated temporal difference updates from zero: exact after as many sweeps as there are turns."""
    made = case(method, turns=turns, dense=False).arbitrary()
    exact = case(method, turns=turns, dense=False).filled()
    slope(made)
    with torch.no_grad():
        made.table.numbers *= 0.0
    mass = torch.zeros_like(made.table.numbers)
    for node in made.nodes:
        for critic in range(len(made.learner.critics)):
            text = made.learner.critics.text(critic, (node, None))
            mass[made.table.index[critic, text]] += made.weights[node, 0]
    distances = []
    for _ in range(turns):
        gradient = slope(made)
        with torch.no_grad():
            made.table.numbers -= gradient / mass
        known = [exact.table.numbers[exact.table.index[place]].item() for place in made.table.index]
        distances.append((made.table.numbers.detach() - torch.tensor(known)).abs().max().item())
    assert distances[0] > 1e-3 and distances[-1] < 1e-12


def test_a_transformer_critic_comes_near(letters, tmp_path):
    """The team's own critic, trained by the learner's own loss on all episodes."""
    team, domain = make_team(letters, "joint", judge="letters_1"), SmallWorld(2)
    made = Case(letters, tmp_path, "collm_cc", turns=2)
    learner = make_learner(team, "collm_cc", tmp_path, 2, td_lambda=1.0)
    exact = Exact(team, domain)
    weights, paths = probabilities(exact, made.nodes), path_of(exact, made.nodes)
    texts = [learner.critics.text(0, (node, None)) for node in made.nodes]
    truth = torch.tensor([exact.value(node.task, paths[node]).item() for node in made.nodes])
    parts = [part for _, part in team.critics[0].parameters()]
    optimiser = torch.optim.Adam(parts, lr=2e-2)
    for _ in range(100):
        flat, place = learner.gradients(made.nodes, weights)["critic"], 0
        for part in parts:
            part.grad = -flat[place : place + part.numel()].view_as(part)
            place += part.numel()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        values = team.values(0, texts)
    mass = torch.tensor([weights[node, 0] for node in made.nodes])
    mass /= mass.sum()
    mean = (mass * truth).sum()
    assert (mass * (values - truth) ** 2).sum() < 0.05 * (mass * (truth - mean) ** 2).sum()


# optimum


def test_no_policy_beats_the_optimum(letters):
    domain = SmallWorld(2)
    reached = []
    for seed in range(4):
        exact = Exact(make_team(letters, seed=seed), domain)
        reached.append(exact.objective().item())
        best = exact.optimum()
    assert max(reached) < best
    assert best == pytest.approx(Exact(make_team(letters, seed=9), domain).optimum())


def test_exact_gradients_climb_to_the_optimum(letters):
    """Gradient ascent on J, which finds the optimum of this world from this start."""
    domain, team = SmallWorld(1), make_team(letters)
    best = Exact(team, domain).optimum()
    optimisers = [torch.optim.Adam([part for _, part in member.parameters()], lr=0.05) for member in team.agents]
    for _ in range(50):
        exact = Exact(team, domain)
        objective = exact.objective()
        for agent, member in enumerate(team.agents):
            flat, place = exact.gradient(agent, -objective), 0
            for _, part in member.parameters():
                part.grad = flat[place : place + part.numel()].view_as(part)
                place += part.numel()
        for optimiser in optimisers:
            optimiser.step()
    assert objective.item() == pytest.approx(best, abs=0.02)


def test_seeing_the_partners_bit_helps(letters):
    """The optimum of local policies lies below that of one mind that sees both bits."""
    exact = Exact(make_team(letters), SmallWorld(1))
    together = sum(exact.q(task).max().item() for task in exact.domain.tasks()) / 4
    assert exact.optimum() < together - 0.02


def test_tables_refuse_two_values_for_one_text(case):
    made = case("collm_cc", turns=1).filled()
    fill(made.table, made.learner, made.exact, made.nodes)
    with torch.no_grad():
        made.table.numbers += 1.0
    with pytest.raises(ValueError, match="two values for one text"):
        fill(made.table, made.learner, made.exact, made.nodes)
