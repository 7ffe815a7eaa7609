"""Options of the policy loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from collm.methods import policy_gradient


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


# geometric ratio


def test_the_geometric_ratio_is_the_mean_over_tokens():
    """Four tokens, each 0.5 nats likelier: e^2 as a product, e^0.5 per token."""
    now, old, length = vector(-3.0, -3.0), vector(-5.0, -3.0), vector(4.0, 7.0)
    assert policy_gradient.rho(now, old).tolist() == pytest.approx([7.38905609893, 1.0])
    assert policy_gradient.rho(now, old, length).tolist() == pytest.approx([1.6487212707, 1.0])


def test_the_geometric_ratio_is_bounded_per_token():
    ratio = policy_gradient.rho(vector(0.0, 0.0), vector(-100.0, -900.0), vector(10.0, 10.0))
    assert ratio.tolist() == pytest.approx([math.exp(10.0), math.exp(20.0)])


def gradient(now, advantage, old, length=None, ratio_clip=None):
    log_pi = vector(*now).requires_grad_()
    loss = policy_gradient.policy_loss(log_pi, vector(*advantage), vector(*old), ratio_clip, length)
    loss.sum().backward()
    return loss.tolist(), log_pi.grad.tolist()


def test_the_first_step_is_the_same_with_either_ratio():
    """At ratio 1 the gradient is -A, whatever the length."""
    now, advantage, length = (-3.0, -40.0), (0.7, -1.3), vector(2.0, 30.0)
    assert gradient(now, advantage, now)[1] == pytest.approx([-0.7, 1.3])
    loss, slope = gradient(now, advantage, now, length)
    assert slope == pytest.approx([-0.7, 1.3])
    assert loss == pytest.approx([-1.4, 39.0])  # length times -A


def test_later_steps_weigh_by_the_geometric_ratio():
    """d/dx of -L A exp((x - old) / L) is -A exp((x - old) / L)."""
    loss, slope = gradient((-3.0,), (2.0,), (-5.0,), vector(4.0))
    assert loss == pytest.approx([-4.0 * 2.0 * 1.6487212707])
    assert slope == pytest.approx([-2.0 * 1.6487212707])


def test_the_clip_is_one_of_the_geometric_ratio():
    """A product of 4 is a ratio of 1.41 over four tokens, inside 1 plus or minus 0.5 but outside 0.2."""
    now, old, length = (math.log(4.0),) * 2, (0.0, 0.0), vector(4.0, 4.0)
    ratio = math.sqrt(math.sqrt(4.0))
    assert gradient(now, (1.0, -1.0), old, length, 0.5)[1] == pytest.approx([-ratio, ratio])
    loss, slope = gradient(now, (1.0, -1.0), old, length, 0.2)
    assert loss == pytest.approx([-4.0 * 1.2, 4.0 * ratio])
    assert slope == pytest.approx([0.0, ratio])


# what counts the same


def test_weights_of_losses():
    """Lengths 1, 3 and 8: mean 4."""
    length = vector(1.0, 3.0, 8.0)
    assert policy_gradient.loss_weight("sequence", length).tolist() == [1.0, 1.0, 1.0]
    assert policy_gradient.loss_weight("response", length).tolist() == pytest.approx([1.0, 1 / 3, 0.125])
    assert policy_gradient.loss_weight("token", length).tolist() == pytest.approx([0.25, 0.25, 0.25])


def test_per_token_the_mean_of_a_step_is_a_sum_over_tokens_by_their_number():
    """Losses of -1 per token: mean over responses of (length / mean length) is 1, as the mean over all tokens."""
    length = vector(1.0, 3.0, 8.0)
    by_token = policy_gradient.loss_weight("token", length) * -length
    assert by_token.mean().item() == pytest.approx(-1.0)
    by_response = policy_gradient.loss_weight("response", length) * -length
    assert by_response.tolist() == pytest.approx([-1.0, -1.0, -1.0])


# advantages below 0


def test_negative_advantages_count_less():
    advantage = vector(-2.0, -0.5, 0.0, 3.0)
    assert policy_gradient.weigh_negative(advantage, 0.25).tolist() == [-0.5, -0.125, 0.0, 3.0]
    assert torch.equal(policy_gradient.weigh_negative(advantage, 1.0), advantage)


def test_smaller_negative_advantages_favour_what_varies():
    """Pairs of responses, compared with each other: one earns 0 or 2, the other 1, so that neither is better.

    Against 0, 1, 1 or 2 the first has advantages of 0, -1, -1, -2 or 2, 1, 1, 0: a mean of (1 - w) / 2; the second has
    1, 0, 0, -1: (1 - w) / 4.
    """
    varying, steady = vector(0.0, 2.0), vector(1.0, 1.0)
    other = torch.cat([varying, steady])
    for weight in (1.0, 0.5, 0.25):
        means = [
            policy_gradient.weigh_negative(own[:, None] - other[None], weight).mean().item()
            for own in (varying, steady)
        ]
        assert means == pytest.approx([(1.0 - weight) / 2, (1.0 - weight) / 4])


# bounds of entropy


@pytest.mark.parametrize(
    ("floor", "ceiling", "expected", "slope"),
    [
        (0.5, 2.0, [0.3, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, 1.0]),
        (0.5, None, [0.3, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]),
        (None, 0.4, [0.0, 0.2, 0.6, 2.6], [0.0, 1.0, 1.0, 1.0]),
        (None, None, [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_entropy_outside_of_its_bounds(floor, ceiling, expected, slope):
    entropy = vector(0.2, 0.6, 1.0, 3.0).requires_grad_()
    outside = policy_gradient.entropy_loss(entropy, floor, ceiling)
    assert outside.tolist() == pytest.approx(expected)
    if floor is not None or ceiling is not None:
        outside.sum().backward()
        assert entropy.grad.tolist() == slope


# how far a policy has moved


def test_distance_from_the_policy_that_played():
    """r - 1 - log r of the ratio per token: r = e^0.5 over four tokens, r = e^-0.5, r = 1."""
    now, old, length = vector(-3.0, -5.0, -7.0), vector(-5.0, -3.0, -7.0), vector(4.0, 4.0, 1.0)
    distance = policy_gradient.moved(now, old, length)
    assert distance.tolist() == pytest.approx([0.1487212707, 0.1065306597, 0.0])


def test_the_mean_distance_of_single_tokens_is_the_divergence():
    """Sum over a of pi_old (r - 1 - log r) is KL(pi_old || pi), as pi sums to 1."""
    old = torch.log_softmax(vector(1.0, 0.0, -0.5, 0.2), 0)
    now = torch.log_softmax(vector(0.3, -0.8, 1.1, 0.0), 0)
    mean = (old.exp() * policy_gradient.moved(now, old, torch.ones(4, dtype=torch.float64))).sum()
    assert mean.item() == pytest.approx((old.exp() * (old - now)).sum().item())
