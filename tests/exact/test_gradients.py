"""Expected gradients of every estimator against the exact policy gradient, all episodes enumerated, in float64.

What theory calls unbiased must agree to 1e-5 (rounding leaves about 1e-14); what it does not is measured, and the
numbers are written down here and in docs/exactness.md.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import Case, Groups
from exact_values import Exact
from expectation import fill, make_learner, probabilities, relative
from small_world import ScriptedRollout, SmallWorld, crossed, make_team

from collm.llm.sampling import Sampling, as_sampled

CLOSE = 1e-5


@pytest.fixture
def case(letters, tmp_path):
    def make(method, **changes):
        return Case(letters, tmp_path, method, **changes)

    return make


@pytest.fixture
def groups(letters, tmp_path):
    def make(method, turns=1, copies=2, **changes):
        return Groups(letters, tmp_path, method, turns, copies, **changes)

    return make


# the exact side itself


@pytest.mark.parametrize(("turns", "longest"), [(2, 1), (3, 1), (1, 2)])
def test_policies_are_distributions_far_from_uniform(case, turns, longest):
    made = case("magrpo", turns=turns, longest=longest)
    assert sum(made.weights.values()) == pytest.approx(turns)  # an episode has so many samples
    shares = [policy.detach().exp() for policy in made.exact._policies.values()]
    assert all(share.sum().item() == pytest.approx(1.0) for share in shares)
    assert max((share.max() - share.min()).item() for share in shares) > 0.3


def test_policy_gradient_theorem_and_finite_differences(case):
    made = case("magrpo", turns=2, gamma=0.9)
    for agent in (0, 1):
        by_turn = sum(made.exact.turn_gradient(agent, turn, discounted=True) for turn in (0, 1))
        assert relative(by_turn, made.gradient[f"agent_{agent}"]) < 1e-12
    parts = [part for _, part in made.team.agents[1].parameters()]
    direction = [torch.ones_like(part) for part in parts]
    slope = torch.cat([d.flatten() for d in direction]) @ made.gradient["agent_1"]

    def moved(step):
        with torch.no_grad():
            for part, along in zip(parts, direction, strict=True):
                part += step * along
            value = Exact(made.team, made.domain, 1, 0.9).objective().item()
            for part, along in zip(parts, direction, strict=True):
                part -= step * along
        return value

    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(slope.item(), rel=1e-6)


# actor-critic with exact values: unbiased


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize(("turns", "longest"), [(2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_temporal_difference_errors_of_exact_critics(case, method, turns, longest, dense):
    made = case(method, turns=turns, longest=longest, dense=dense, forest=True).filled()
    assert max(made.errors()) < CLOSE


def test_two_turns_of_responses_of_two_tokens(case):
    assert max(case("ac", agents=1, turns=2, longest=2).filled().errors()) < CLOSE


@pytest.mark.parametrize("trace", [0.0, 0.5, 1.0])
def test_one_agent_alone(case, trace):
    assert max(case("ac", agents=1, turns=3, td_lambda=trace).filled().errors()) < CLOSE


@pytest.mark.parametrize("trace", [0.3, 1.0])
@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_any_lambda_with_exact_critics(case, method, trace):
    assert max(case(method, turns=3, td_lambda=trace).filled().errors()) < CLOSE


def test_exact_action_values(case):
    assert max(case("collm_cc", critic_type="q").filled().errors()) < CLOSE


# actor-critic with wrong values


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_monte_carlo_targets_need_no_right_critic(case, method):
    """A baseline of histories adds no bias, whatever it says."""
    assert max(case(method, turns=3, td_lambda=1.0).arbitrary().errors()) < CLOSE


def test_a_wrong_critic_biases_what_bootstraps(case):
    """Less the more of the return is sampled; not at all in the last turn, where nothing is bootstrapped."""
    errors = [max(case("collm_cc", turns=2, td_lambda=trace).arbitrary().errors()) for trace in (0.0, 0.5, 0.9, 1.0)]
    assert errors[0] > errors[1] > errors[2] > 100 * errors[3]
    assert errors[0] > 0.5
    made = case("collm_cc", turns=1).arbitrary()
    assert max(made.errors()) < CLOSE


def test_a_wrong_action_value_biases(case):
    assert max(case("collm_cc", critic_type="q", turns=1).arbitrary().errors()) > 0.5


def test_local_critics_lag_behind_a_changing_partner(case):
    """Exact local values of agent 0 against the partner as it was; the partner has moved since."""
    made = case("collm_dc", turns=2).filled()
    assert max(made.errors()) < CLOSE
    with torch.no_grad():
        for _, part in made.team.agents[1].parameters():
            part *= 1.5
    moved = Exact(made.team, made.domain)
    weights, objective = probabilities(moved, made.nodes), moved.objective()
    gradients = made.learner.gradients(made.nodes, weights)
    stale = relative(gradients["agent_0"], moved.gradient(0, objective))
    assert 0.01 < stale < 1.0
    whole = make_joint(case, made)
    assert relative(whole["agent_0"], moved.gradient(0, objective)) == pytest.approx(0.0, abs=CLOSE)


def make_joint(case, made):
    """The same moved team under a joint critic that is exact for the team as it is now."""
    other = case("collm_cc", turns=2)
    with torch.no_grad():
        for one, two in zip(made.team.agents, other.team.agents, strict=True):
            for (_, source), (_, target) in zip(one.parameters(), two.parameters(), strict=True):
                target.copy_(source)
    exact = Exact(other.team, other.domain)
    fill(other.table, other.learner, exact, other.nodes)
    return other.learner.gradients(other.nodes, probabilities(exact, other.nodes))


def test_discounted_objective(case):
    """Each turn's share is exact; summed without gamma^t, as the paper's equations do, they are off by a little."""
    made = case("collm_cc", turns=2, gamma=0.9).filled()
    gradients = made.learner.gradients(made.nodes, made.weights)
    for agent in (0, 1):
        undiscounted = sum(made.exact.turn_gradient(agent, turn) for turn in (0, 1))
        assert relative(gradients[f"agent_{agent}"], undiscounted) < CLOSE
        assert 0.001 < relative(gradients[f"agent_{agent}"], made.gradient[f"agent_{agent}"]) < 0.2


# importance ratio


def test_ratio_of_one_agent_and_one_turn_is_exact_off_policy(case):
    """Episodes of an older policy, gradient at the present one: rho corrects it if nothing else has changed."""
    made = case("ac", agents=1, turns=1)
    made.arbitrary()
    assert move_and_measure(made, ("agent_0",)) < CLOSE


@pytest.mark.parametrize(("agents", "turns"), [(1, 2), (2, 1)])
def test_ratio_leaves_out_other_turns_and_other_agents(case, agents, turns):
    """rho of this response alone: neither the histories nor the partner's responses are those of the present policy."""
    made = case("ac" if agents == 1 else "collm_cc", agents=agents, turns=turns, td_lambda=1.0)
    names = tuple(made.gradient)
    error = move_and_measure(made, names)
    assert 0.005 < error < 1.0


def move_and_measure(made, names):
    learner = made.learner
    learner.policies.remember([(n, j) for n in made.nodes for j in range(len(n.actions))])
    old = dict(learner.policies.old)
    with torch.no_grad():
        for member in made.team.agents:
            for _, part in member.parameters():
                part *= 1.05
    exact = Exact(made.team, made.domain)
    objective = exact.objective()
    learner.policies.begin = lambda old: None
    learner.policies.old = old
    gradients = learner.gradients(made.nodes, made.weights)  # weights of the policy that played
    return max(relative(gradients[name], exact.gradient(agent, objective)) for agent, name in enumerate(names))


# Monte Carlo: every group (and tree) that can be drawn


SCALE = {"mareinforce": 1.0, "marloo": 1.0, "magrpo": 0.5}  # K = 2: (K - 1) / K for the mean that contains the sample


@pytest.mark.parametrize("method", SCALE)
def test_groups_of_one_turn(groups, method):
    made = groups(method)
    gradients, objective = made.expected(), made.exact.objective()
    for agent in (0, 1):
        exact = made.exact.gradient(agent, objective)
        assert relative(gradients[f"agent_{agent}"], SCALE[method] * exact) < CLOSE


@pytest.mark.parametrize(("method", "scale"), [("magrpo", 2 / 3), ("marloo", 1.0)])
def test_groups_of_three(groups, method, scale):
    made = groups(method, copies=3)
    gradients, objective = made.expected(), made.exact.objective()
    for agent in (0, 1):
        assert relative(gradients[f"agent_{agent}"], scale * made.exact.gradient(agent, objective)) < CLOSE


def test_one_agent_in_groups(groups):
    made = groups("grpo", agents=1, copies=3, longest=2)
    gradients, objective = made.expected(), made.exact.objective()
    assert relative(gradients["agent_0"], 2 / 3 * made.exact.gradient(0, objective)) < CLOSE


@pytest.mark.parametrize(("method", "agents"), [("marloo", 2), ("magrpo", 1)])
def test_trees_of_two_turns(groups, method, agents):
    """Every turn's share is exact; one mean over a tree weighs a turn by its number of samples, K^t."""
    made = groups(method, turns=2, agents=agents)
    shares = [made.expected(turn) for turn in (0, 1)]
    for agent in range(agents):
        name = f"agent_{agent}"
        exact = [made.exact.turn_gradient(agent, turn) for turn in (0, 1)]
        for turn in (0, 1):
            assert relative(shares[turn][name], SCALE[method] * exact[turn]) < CLOSE
    whole = made.expected() if agents == 1 else {}
    for estimate in whole.values():
        exact = [made.exact.turn_gradient(0, turn) for turn in (0, 1)]
        assert relative(estimate, SCALE[method] * (exact[0] + 2 * exact[1]) / 3) < CLOSE


@pytest.mark.parametrize(("method", "normalised"), [("maremax", False), ("grpo", True)])
def test_what_maximum_and_normalisation_do(groups, method, normalised):
    """Biased: not a multiple of the exact gradient, though it points into its half-space."""
    made = groups(method, copies=3, agents=1, longest=2, normalize_advantage=normalised)
    estimate, exact = made.expected()["agent_0"], made.exact.gradient(0, made.exact.objective())
    cosine = torch.nn.functional.cosine_similarity(estimate, exact, dim=0).item()
    assert 0.5 < cosine < 0.9999


# paid at the last turn alone


@pytest.mark.parametrize(
    ("method", "settings"),
    [("collm_cc", {}), ("collm_dc", {}), ("collm_cc", {"td_lambda": 1.0}), ("collm_dc", {"td_lambda": 0.5})],
)
def test_critics_where_the_last_turn_alone_is_paid(case, method, settings):
    """The gradient of the expected reward of the last turn, which is another one than that of all turns."""
    made = case(method, turns=3, paid="last_turn", **settings).filled()
    assert max(made.errors()) < CLOSE
    every = case(method, turns=3, **settings)
    assert all(relative(gradient, every.gradient[name]) > 0.1 for name, gradient in made.gradient.items())


@pytest.mark.parametrize(("method", "agents"), [("marloo", 2), ("magrpo", 1)])
def test_trees_where_the_last_turn_alone_is_paid(groups, method, agents):
    made = groups(method, turns=2, agents=agents, paid="last_turn")
    for turn in (0, 1):
        share = made.expected(turn)
        for agent in range(agents):
            exact = SCALE[method] * made.exact.turn_gradient(agent, turn)
            assert relative(share[f"agent_{agent}"], exact) < CLOSE


# sampled and scored policy

DRAWN = {"0.7, 0.9": Sampling(2, 0.7, 0.9), "0.6, 0.6": Sampling(2, 0.6, 0.6), "0.7, 1": Sampling(2, 0.7, 1.0)}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(("method", "scale"), [("mareinforce", 1.0), ("magrpo", 0.5)])
def test_scoring_what_was_sampled_is_exact(groups, name, method, scale):
    """The gradient of the expected return of the policy that is played: tempered and cut."""
    made = groups(method, agents=1, longest=2, drawn=DRAWN[name], scored=DRAWN[name])
    expected = scale * made.exact.gradient(0, made.exact.objective())
    assert relative(made.expected()["agent_0"], expected) < CLOSE


@pytest.mark.parametrize(("name", "error"), [("0.7, 0.9", 0.302), ("0.6, 0.6", 0.391)])
def test_scoring_the_plain_softmax_is_biased(groups, name, error):
    """The default (paper §5.2): not the gradient of what is played, and a drift where nothing is to be learnt."""
    made = groups("mareinforce", agents=1, longest=2, drawn=DRAWN[name])
    exact = made.exact.gradient(0, made.exact.objective())
    assert relative(made.expected()["agent_0"], exact) == pytest.approx(error, rel=0.01)
    for root in made.roots:
        root.rewards = [1.0] * len(root.rewards)
    drift = made.expected()["agent_0"].norm()
    fair = groups("mareinforce", agents=1, longest=2, drawn=DRAWN[name], scored=DRAWN[name])
    for root in fair.roots:
        root.rewards = [1.0] * len(root.rewards)
    assert drift > 0.1 * exact.norm()
    assert fair.expected()["agent_0"].norm() < 1e-9


@pytest.mark.parametrize(("sampling", "drift"), [(Sampling(1, 0.7, 0.9), 0.168), (Sampling(1, 0.6, 0.6), 0.429)])
def test_drift_of_a_constant_reward_on_eight_actions(sampling, drift):
    """sum of q(a) grad log p(a) = q - p by the logits: mean norm over 1000 policies with standard normal logits."""
    logits = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    top = logits.argmax(-1)  # is kept in any case
    q, p = torch.softmax(as_sampled(logits, top, sampling), -1), torch.softmax(logits, -1)
    assert (q - p).norm(dim=-1).mean().item() == pytest.approx(drift, abs=0.005)
    one = logits[0].clone().requires_grad_()
    share = torch.softmax(as_sampled(logits[:1], top[:1], sampling), -1)[0]
    (share * torch.log_softmax(one, -1)).sum().backward()
    torch.testing.assert_close(one.grad, (q - p)[0])


# crossed joint actions


@pytest.mark.parametrize("method", ["mareinforce", "marloo"])
def test_crossed_groups(letters, tmp_path, method):
    """K responses per agent, all K^n joint actions: the same expectation from fewer responses."""
    team, domain = make_team(letters), SmallWorld(1)
    exact, learner = Exact(team, domain), make_learner(team, method, tmp_path, 1)
    drawn = []
    for task in domain.tasks():
        own = [exact.log_policy(agent, exact.prompts(task, ())[agent]).exp().tolist() for agent in (0, 1)]
        for responses in itertools.product(range(2), repeat=4):
            chance = own[0][responses[0]] * own[0][responses[1]] * own[1][responses[2]] * own[1][responses[3]] / 4
            drawn.append((task, responses, chance))
    script = lambda node: crossed((drawn[node.seed][1][:2], drawn[node.seed][1][2:]))  # noqa: E731
    rollout = ScriptedRollout(team, domain, 1, script)
    roots = rollout.play([task for task, _, _ in drawn], list(range(len(drawn)))).roots
    weights = {(root, j): drawn[root.seed][2] / 4 for root in roots for j in range(4)}
    gradients, objective = learner.gradients(roots, weights), exact.objective()
    for agent in (0, 1):
        assert relative(gradients[f"agent_{agent}"], exact.gradient(agent, objective)) < CLOSE
