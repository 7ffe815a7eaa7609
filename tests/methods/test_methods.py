"""Methods against numbers worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.places import ROOT

from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods import actor_critic, collm_cc, collm_dc, monte_carlo, policy_gradient
from collm.methods.registry import METHODS

R = torch.tensor([0.3, 1.7, -0.4, 2.2], dtype=torch.float64)
NORMALISED = [-0.6219, 0.7175, -1.2916, 1.1959]


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


ADVANTAGES = {
    "magrpo": [-0.65, 0.75, -1.35, 1.25],
    "mareinforce": [0.3, 1.7, -0.4, 2.2],
    "maremax": [-1.9, -0.5, -2.6, 0.0],
    "marloo": [-2.6 / 3, 1.0, -1.8, 5 / 3],
    "grpo": [-0.65, 0.75, -1.35, 1.25],
}


def test_every_method_without_critics_has_an_advantage_that_is_worked_out_here():
    assert set(ADVANTAGES) == set(monte_carlo.ADVANTAGES)
    assert set(ADVANTAGES) == {name for name, row in METHODS.items() if row.critics is None}


@pytest.mark.parametrize("method", ADVANTAGES)
def test_group_advantages(method):
    assert monte_carlo.ADVANTAGES[method](R).tolist() == pytest.approx(ADVANTAGES[method], abs=1e-12)


def test_one_baseline_for_the_whole_group_is_lost_in_the_normalisation():
    for method in ("magrpo", "mareinforce", "marloo", "maremax", "grpo"):
        plain = monte_carlo.ADVANTAGES[method](R)
        assert policy_gradient.normalise(plain).tolist() == pytest.approx(NORMALISED, abs=5e-5)


@pytest.mark.parametrize("method", ADVANTAGES)
def test_methods_that_become_magrpo_when_normalised_are_not_normalised(method):
    """MAGRPO under another name would be a row of its own that says nothing (docs/paper_index.md)."""
    advantage = monte_carlo.ADVANTAGES[method]
    by_default = resolve_job(load_config([ROOT / "config" / "config.yaml"]), "tldr", method).training
    if advantage is monte_carlo.magrpo:
        assert by_default.normalize_advantage
    elif policy_gradient.normalise(advantage(R)).tolist() == pytest.approx(NORMALISED, abs=5e-5):
        assert not by_default.normalize_advantage


def test_raw_advantage_is_a_copy():
    returns = R.clone()
    monte_carlo.mareinforce(returns)[0] = 9.0
    assert returns[0].item() == pytest.approx(0.3)


def node(rewards, *children):
    """A node of joint actions with `rewards`; without children it is a leaf."""
    return SimpleNamespace(rewards=rewards, children=list(children) or [None] * len(rewards))


@pytest.mark.parametrize(("gamma", "expected"), [(0.9, [1.45, 5.6]), (1.0, [1.5, 6.0]), (0.0, [1.0, 2.0])])
def test_tree_returns(gamma, expected):
    assert monte_carlo.G(node([1, 2], node([0, 1]), node([3, 5])), gamma) == pytest.approx(expected)


def test_a_stopped_branch_is_a_leaf():
    assert monte_carlo.G(node([1, 2], None, node([3, 5])), 0.9) == pytest.approx([1.0, 5.6])


def test_crossed_returns():
    actions = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert monte_carlo.R([1, 2, 3, 4], actions, 0, 2).tolist() == [1.5, 3.5]
    assert monte_carlo.R([1, 2, 3, 4], actions, 1, 2).tolist() == [2.0, 3.0]
    assert monte_carlo.R([1, 2, 3, 4], actions, 0, 2, total=True).tolist() == [3.0, 7.0]
    assert monte_carlo.R([1, 2, 3, 4], actions, 1, 2, total=True).tolist() == [4.0, 6.0]


def test_aligned_returns_are_the_returns():
    for total in (False, True):
        assert monte_carlo.R([1, 2], [(0, 0), (1, 1)], 1, 2, total).tolist() == [1.0, 2.0]


REWARDS, VALUES = (-1, -0.5, 0.2), (0.3, 0.1, -0.2)


def targets(trace):
    """Targets of one trajectory, last turn first reckoned."""
    found: list[float] = []
    for turn in reversed(range(3)):
        following = VALUES[turn + 1] if turn < 2 else None
        found.insert(0, actor_critic.y(REWARDS[turn], following, found[:1], 0.9, trace))
    return found


def test_temporal_difference():
    assert targets(0.0) == pytest.approx([-0.91, -0.68, 0.2])
    assert [y - v for y, v in zip(targets(0.0), VALUES, strict=True)] == pytest.approx([-1.21, -0.78, 0.4])


def test_lambda_one_is_the_monte_carlo_return():
    assert targets(1.0) == pytest.approx([-1.288, -0.32, 0.2])


def test_lambda_between_is_the_generalised_advantage_estimate():
    # y_1 = -0.5 + 0.9 (0.5 * -0.2 + 0.5 * 0.2) = -0.5; y_0 = -1 + 0.9 (0.5 * 0.1 + 0.5 * -0.5) = -1.18
    assert targets(0.5) == pytest.approx([-1.18, -0.5, 0.2])
    delta = [-1.21, -0.78, 0.4]
    gae = [sum(0.45 ** (later - turn) * delta[later] for later in range(turn, 3)) for turn in range(3)]
    assert [y - v for y, v in zip(targets(0.5), VALUES, strict=True)] == pytest.approx(gae)


def test_targets_of_a_branching_turn_are_averaged():
    assert actor_critic.y(1.0, 10.0, [2.0, 4.0], 0.5, 0.25) == pytest.approx(1 + 0.5 * (0.75 * 10 + 0.25 * 3))
    assert actor_critic.y(1.0, None, [], 0.5, 0.25) == 1.0


def test_action_advantages_compare_with_other_responses_only():
    crossed = [(0, 0), (0, 1), (1, 0), (1, 1)]
    q = [1.0, 2.0, 3.0, 5.0]
    assert actor_critic.action_advantage(q, crossed, 0) == pytest.approx([-3.0, -2.0, 1.5, 3.5])
    assert actor_critic.action_advantage(q, crossed, 1) == pytest.approx([-2.5, 0.0, -0.5, 3.0])
    assert actor_critic.action_advantage([1.0, 2.0, 6.0], [(k, k) for k in range(3)], 1) == [-3.0, -1.5, 4.5]
    assert actor_critic.action_advantage([4.0], [(0, 0)], 0) == [4.0]


def test_value_losses():
    one, zero, half = vector(1.0), vector(0.0), vector(0.5)
    assert actor_critic.value_loss(one, half).item() == pytest.approx(0.25)
    assert actor_critic.clipped_value_loss(one, half, zero, 0.2).item() == pytest.approx(0.64)
    assert actor_critic.clipped_value_loss(one, half, zero, 0.6).item() == pytest.approx(0.25)


def test_the_target_gets_no_gradient():
    target, value = vector(1.0).requires_grad_(), vector(0.5).requires_grad_()
    actor_critic.value_loss(target, value).sum().backward()
    assert target.grad is None
    assert value.grad.item() == pytest.approx(-1.0)


def test_critic_text():
    expected = "[Agent 0] P0\n\n[Agent 1] P1"
    assert collm_cc.joint_history(["P0", "P1"]) == expected
    q = expected + "\n\n[Joint Action]\n\n[Agent 0 action]\nA0\n\n[Agent 1 action]\nA1"
    assert collm_cc.joint_history(["P0", "P1"], ["A0", "A1"]) == q
    assert collm_cc.joint_history(["P0", "P1"], None, "M") == expected + "\n\nM"
    assert collm_dc.local_history("P1") == "P1"
    assert collm_dc.local_history("P1", information="M") == "P1\n\nM"
    assert collm_dc.local_history("P1", "A1", "M") == "P1\n\nA1\n\nM"


def test_global_information_is_two_sentences():
    first = actor_critic.m(0, 4, None, 2.0)
    later = actor_critic.m(2, 4, 0.456, 2.0)
    assert first == "Turn 1 of 4. The team has no reward so far; the best possible is 2.00."
    assert later == "Turn 3 of 4. The team has a last reward of 0.46; the best possible is 2.00."


def test_gradient_at_ratio_one_is_the_policy_gradient():
    log_pi, advantage = vector(-3.0, -40.0).requires_grad_(), vector(0.7, -1.3)
    policy_gradient.policy_loss(log_pi, advantage, log_pi.detach().clone()).sum().backward()
    assert log_pi.grad.tolist() == pytest.approx([-0.7, 1.3])
    plain = vector(-3.0, -40.0).requires_grad_()
    loss = policy_gradient.policy_loss(plain, advantage)
    assert loss.tolist() == pytest.approx([2.1, -52.0])
    loss.sum().backward()
    assert plain.grad.tolist() == pytest.approx(log_pi.grad.tolist())


def test_gradient_elsewhere_is_weighted_by_the_ratio():
    log_pi, old = vector(-3.0).requires_grad_(), vector(-3.5).requires_grad_()
    loss = policy_gradient.policy_loss(log_pi, vector(2.0), old)
    assert loss.item() == pytest.approx(-2.0 * 1.6487212707)
    loss.sum().backward()
    assert log_pi.grad.item() == pytest.approx(-2.0 * 1.6487212707)
    assert old.grad is None


def test_ratio_is_bounded_both_ways():
    ratio = policy_gradient.rho(vector(0.0, -900.0), vector(-900.0, 0.0))
    assert ratio.tolist() == pytest.approx([485165195.40979, 2.0611536224e-9])


def test_advantages_carry_no_gradient():
    advantage, log_pi = vector(1.0, 2.0).requires_grad_(), vector(-1.0, -1.0).requires_grad_()
    policy_gradient.policy_loss(log_pi, advantage).sum().backward()
    assert advantage.grad is None


def test_normalise_edges():
    normalise = policy_gradient.normalise
    assert normalise(vector(5.0)).tolist() == [5.0]
    assert normalise(vector(2.0, 2.0, 2.0)).tolist() == [0.0, 0.0, 0.0]
    assert normalise(vector(0.1, 7.0)).tolist() == pytest.approx([-1.0, 1.0])
    assert normalise(vector(1.0, 1.0 + 1e-8)).tolist() == pytest.approx([-0.005, 0.005], rel=1e-6)


def test_what_differs_by_less_than_the_floor_teaches_nothing():
    """Seven equal rewards and one 1e-5 higher were a full step: advantages of -0.38 and 2.65."""
    returns = torch.tensor([1.0] * 7 + [1.0 + 1e-5], dtype=torch.float64)
    advantage = monte_carlo.magrpo(returns)
    assert policy_gradient.normalise(advantage).tolist() == pytest.approx([-0.378] * 7 + [2.646], abs=1e-3)
    assert policy_gradient.normalise(advantage, 2e-3, returns).tolist() == [0.0] * 8
    wide = vector(1.0, 1.0, 1.5)
    plain = policy_gradient.normalise(monte_carlo.magrpo(wide))
    assert policy_gradient.normalise(monte_carlo.magrpo(wide), 2e-3, wide).tolist() == plain.tolist()


def test_noise_of_a_critic_is_no_contrast():
    errors, equal, different = vector(0.3, -0.2, 0.1), vector(1.0, 1.0, 1.0), vector(0.0, 1.0, 0.0)
    assert policy_gradient.normalise(errors, 1e-3, equal).tolist() == [0.0, 0.0, 0.0]
    assert policy_gradient.normalise(errors, 1e-3, different).tolist() == policy_gradient.normalise(errors).tolist()
    # an exact critic leaves nothing but rounding: it is divided by the floor, not by its own deviation
    assert policy_gradient.normalise(vector(1e-7, -1e-7), 1e-3, different[:2]).tolist() == pytest.approx([1e-4, -1e-4])


def test_contrast_is_judged_turn_by_turn():
    errors, turn = vector(0.3, -0.2, 0.1, 0.9, 2.0), torch.tensor([0, 0, 1, 1, 2])
    returns = vector(1.0, 2.0, 1.0, 1.0, 1.0)
    result = policy_gradient.normalise_by(errors, turn, 1e-3, returns)
    overall = policy_gradient.normalise(errors)
    assert result.tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0, overall[4].item()])


def test_groups_without_contrast():
    tree = SimpleNamespace(
        rewards=[1.0, 1.0 + 1e-5], children=[None, None], actions=[(0,), (1,)], responses=[["a", "b"]]
    )
    scaling = policy_gradient.Scaling(True, None, 2e-3)
    assert monte_carlo.group_advantages("magrpo", tree, 0, 0.9, scaling).tolist() == [0.0, 0.0]
    released = policy_gradient.Scaling(True)
    assert monte_carlo.group_advantages("magrpo", tree, 0, 0.9, released).tolist() == pytest.approx(
        [-1.0, 1.0], abs=1e-6
    )


def test_normalise_within_turns():
    advantage, turn = vector(1.0, 10.0, 3.0, 30.0), torch.tensor([0, 1, 0, 1])
    assert policy_gradient.normalise_by(advantage, turn).tolist() == pytest.approx([-1.0, -1.0, 1.0, 1.0])
    assert advantage.tolist() == [1.0, 10.0, 3.0, 30.0]
    one_turn = policy_gradient.normalise_by(R, torch.zeros(4)).tolist()
    assert one_turn == pytest.approx(policy_gradient.normalise(R).tolist())


def test_a_lone_sample_of_a_turn_is_normalised_with_all():
    advantage, turn = vector(1.0, 3.0, 2.0, 2.0, 12.0), torch.tensor([0, 0, 1, 1, 2])
    # mean 4, deviation sqrt((9 + 1 + 4 + 4 + 64) / 5) = sqrt(16.4)
    expected = [-1.0, 1.0, 0.0, 0.0, 8 / 16.4**0.5]
    assert policy_gradient.normalise_by(advantage, turn).tolist() == pytest.approx(expected)


def test_nothing_to_compare_stays_raw():
    assert policy_gradient.normalise_by(vector(1.0, -2.0), torch.tensor([0, 1])).tolist() == [1.0, -2.0]
    assert policy_gradient.normalise_by(vector(7.0), torch.tensor([3])).tolist() == [7.0]


def test_clip():
    assert policy_gradient.clip(vector(-3.0, 0.1, 0.7), 0.2).tolist() == pytest.approx([-0.2, 0.1, 0.2])
    assert policy_gradient.clip(vector(-3.0, 0.1), None).tolist() == [-3.0, 0.1]


def test_ratio_clip_is_the_smaller_of_both_terms():
    log_pi, old = torch.log(vector(1.5, 1.5, 0.5, 0.5, 1.1)).requires_grad_(), vector(0.0, 0.0, 0.0, 0.0, 0.0)
    advantage = vector(1.0, -1.0, 1.0, -1.0, 1.0)
    loss = policy_gradient.policy_loss(log_pi, advantage, old, ratio_clip=0.2)
    assert loss.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8, -1.1])
    loss.sum().backward()
    assert log_pi.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0, -1.1])


def test_divergence_from_the_reference():
    log_pi, reference = vector(-1.0, -3.0).requires_grad_(), vector(-1.5, -2.0)
    loss = policy_gradient.kl_loss(log_pi, reference)
    assert loss.tolist() == pytest.approx([0.125, 0.5])
    loss.sum().backward()
    assert log_pi.grad.tolist() == pytest.approx([0.5, -1.0])  # (log pi - log reference) grad log pi
    weighted = policy_gradient.kl_loss(log_pi, reference, vector(-1.0, -3.5))
    assert weighted.tolist() == pytest.approx([0.125, 0.5 * 1.6487212707])


def test_gradient_of_the_divergence_is_exact_in_expectation():
    """All actions enumerated: sum of pi(a) times the gradient of the loss is the gradient of KL(pi || reference)."""
    parameters = vector(0.3, -0.8, 1.1, 0.0).requires_grad_()
    reference = torch.log_softmax(vector(1.0, 0.0, -0.5, 0.2), 0)
    log_pi = torch.log_softmax(parameters, 0)
    exact = torch.autograd.grad((log_pi.exp() * (log_pi - reference)).sum(), parameters, retain_graph=True)[0]
    found = torch.autograd.grad((log_pi.detach().exp() * policy_gradient.kl_loss(log_pi, reference)).sum(), parameters)
    torch.testing.assert_close(found[0], exact)
