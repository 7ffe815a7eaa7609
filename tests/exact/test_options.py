"""What every option of the learner changes in expectation, all episodes enumerated, in float64.

Each is compared with a formula that is summed over histories beside the learner; how far the result is from the policy
gradient is measured, and the numbers are written down here and in docs/exactness.md.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from cases import Case, Groups
from exact_values import Exact
from expectation import relative
from small_world import ACTIONS

from collm.training.step_metrics import explained_variance

CLOSE = 1e-10  # relative; formulas and learner differ by rounding alone


@pytest.fixture
def case(letters, tmp_path):
    def make(method, **changes):
        return Case(letters, tmp_path, method, **changes)

    return make


def cosine(estimate, exact):
    return torch.nn.functional.cosine_similarity(estimate, exact, dim=0).item()


def weighted_scores(exact, agent, factor):
    """Gradient of the sum of p(task) pi(a | h) factor log pi_i(a_i | h_i), factors held fixed; one turn.

    `factor` gets a task, the number of a joint action and the tokens of the agent's response in it.
    """
    total = torch.tensor(0.0)
    for task, path in exact.histories(0):
        own = exact.log_policy(agent, exact.prompts(task, path)[agent])
        chances = exact.log_joint(task, path).detach().exp() * exact.reach(task, path)
        for j, action in enumerate(exact.joint):
            length = len(ACTIONS[exact.longest][action[agent]])
            total = total + chances[j] * factor(task, j, length) * own[action[agent]]
    return exact.gradient(agent, total)


def expected(made):
    return made.learner.gradients(made.nodes, made.weights)


def agents(made):
    return [(agent, f"agent_{agent}") for agent in made.exact.agents]


# loss_per


def test_per_response_every_token_of_a_long_response_counts_less(case):
    """E[A grad log pi / length], which is no multiple of the policy gradient."""
    made = case("mareinforce", turns=1, longest=2, loss_per="response")
    found = expected(made)
    for agent, name in agents(made):
        formula = weighted_scores(made.exact, agent, lambda task, j, length: made.exact.reward(task, (j,)) / length)
        assert relative(found[name], formula) < CLOSE
    cosines = [cosine(found[name], made.gradient[name]) for _, name in agents(made)]
    assert cosines == pytest.approx([0.993, 0.997], abs=0.001)


def test_per_token_a_step_is_the_policy_gradient_by_its_mean_length(case):
    """E[A grad log pi] / mean length of the step's responses: nothing but the scale of a step changes."""
    made = case("mareinforce", turns=1, longest=2, loss_per="token")
    found = expected(made)
    for agent, name in agents(made):
        lengths = [len(node.responses[agent][0].tokens) for node in made.nodes]
        mean = sum(lengths) / len(lengths)
        assert mean == pytest.approx(
            13 / 7
        )  # every episode stands in the step once: one action of seven is a token long
        assert relative(mean * found[name], made.gradient[name]) < CLOSE


def pairs_of(made):
    """All steps of two episodes that can be drawn: (number of one, of the other, probability)."""
    chances = [made.weights[node, 0] for node in made.nodes]
    for one, two in itertools.combinations_with_replacement(range(len(chances)), 2):
        yield one, two, chances[one] * chances[two] * (1 if one == two else 2)


def test_per_token_small_steps_are_biased_by_their_own_length(case):
    """Steps of one or two responses: a long response enlarges what it is divided by itself."""
    made = case("mareinforce", agents=1, turns=1, longest=2, loss_per="token")
    lengths = [len(node.responses[0][0].tokens) for node in made.nodes]
    found, factors = 0.0, [0.0] * len(lengths)
    for one, two, chance in pairs_of(made):
        nodes = [made.nodes[one], copy.copy(made.nodes[two])]
        found = found + made.learner.gradients(nodes, {(node, 0): chance / 2 for node in nodes})["agent_0"]
        for place in (one, two):
            factors[place] += chance / (lengths[one] + lengths[two])
    total = torch.tensor(0.0)
    for node, factor in zip(made.nodes, factors, strict=True):
        own = made.exact.log_policy(0, made.exact.prompts(node.task, ())[0])
        total = total + factor * node.rewards[0] * own[made.exact.domain.texts.index(node.responses[0][0].text)]
    assert relative(found, made.exact.gradient(0, total)) < CLOSE
    mean = sum(made.weights[node, 0] * length for node, length in zip(made.nodes, lengths, strict=True))
    whole = made.gradient["agent_0"] / mean
    alone = weighted_scores(made.exact, 0, lambda task, j, length: made.exact.reward(task, (j,)) / length)
    assert relative(alone, whole) == pytest.approx(0.157, abs=0.001)  # steps of one response: loss_per response
    assert relative(found, whole) == pytest.approx(0.059, abs=0.001)


# negative_weight


def test_negative_weight_is_the_gradient_of_a_bent_reward(case):
    """MAREINFORCE: E[w(R) grad log pi] is the policy gradient of the reward w(R), R below 0 shrunk: no other bias."""
    made = case("mareinforce", turns=1, longest=2, negative_weight=0.25)
    found = expected(made)

    def bent(task, j):
        reward = made.exact.reward(task, (j,))
        return 0.25 * reward if reward < 0 else reward

    exact = made.exact
    objective = sum(
        exact.reach(task, path) * exact.log_joint(task, path)[j].exp() * bent(task, j)
        for task, path in exact.histories(0)
        for j in range(len(exact.joint))
    )
    for agent, name in agents(made):
        formula = weighted_scores(exact, agent, lambda task, j, length: bent(task, j))
        assert relative(found[name], formula) < CLOSE
        assert relative(found[name], exact.gradient(agent, objective)) < CLOSE
    cosines = [cosine(found[name], made.gradient[name]) for _, name in agents(made)]
    assert cosines == pytest.approx([0.682, 0.994], abs=0.001)


def test_negative_weight_with_a_baseline(letters, tmp_path):
    """MARLOO, K = 2: E[w(R1 - R2) grad log pi_1], a biased estimate; what is not compared is not moved."""
    made = Groups(letters, tmp_path, "marloo", 1, 2, agents=1, longest=2, negative_weight=0.25)
    found, exact = made.expected()["agent_0"], made.exact

    def factor(task, j, length):
        rewards = torch.tensor([exact.reward(task, (other,)) for other in range(len(exact.joint))])
        contrast = exact.reward(task, (j,)) - rewards
        bent = torch.where(contrast < 0, 0.25 * contrast, contrast)
        return (exact.log_joint(task, ()).detach().exp() * bent).sum()

    assert relative(found, weighted_scores(exact, 0, factor)) < CLOSE
    assert cosine(found, exact.gradient(0, exact.objective())) == pytest.approx(0.9995, abs=1e-4)


# geometric ratio


@pytest.mark.parametrize("loss_per", ["sequence", "response", "token"])
@pytest.mark.parametrize("ratio_clip", [None, 0.2])
def test_the_first_step_with_either_ratio(case, loss_per, ratio_clip):
    first, second = (
        expected(
            case(
                "mareinforce",
                turns=1,
                longest=2,
                importance_ratio=ratio,
                loss_per=loss_per,
                ratio_clip=ratio_clip,
            )
        )
        for ratio in ("product", "geometric")
    )
    for name, gradient in first.items():
        assert relative(second[name], gradient) < CLOSE


def moved_on(made, factor=1.05):
    """The team after a move by `factor`, its learner knowing the policy that played: exact values of then and now."""
    before = made.exact
    for agent in before.agents:
        for task in made.domain.tasks():
            before.log_policy(agent, before.prompts(task, ())[agent])
        before.log_joint(task, ())
    learner = made.learner
    learner.policies.remember([(node, j) for node in made.nodes for j in range(len(node.actions))])
    old = dict(learner.policies.old)
    learner.policies.begin = lambda old: None
    learner.policies.old = old
    with torch.no_grad():
        for member in made.team.agents:
            for _, part in member.parameters():
                part *= factor
    return Exact(made.team, made.domain, made.exact.longest)


@pytest.mark.parametrize("loss_per", ["sequence", "response"])
def test_later_steps_with_the_geometric_ratio(case, loss_per):
    """E under the policy that played of A (pi / pi_old)^(1 / length) grad log pi; per response, by its length: GSPO."""
    made = case("mareinforce", agents=1, turns=1, longest=2, importance_ratio="geometric", loss_per=loss_per)
    product = case("mareinforce", agents=1, turns=1, longest=2, loss_per=loss_per)
    now = moved_on(made)
    exact_now = moved_on(product)
    total = torch.tensor(0.0)
    for node in made.nodes:
        then, own = (exact.log_policy(0, exact.prompts(node.task, ())[0]) for exact in (made.exact, now))
        action, length = made.domain.texts.index(node.responses[0][0].text), len(node.responses[0][0].tokens)
        ratio = ((own - then)[action].detach() / length).exp()
        weight = made.weights[node, 0] * (1.0 / length if loss_per == "response" else 1.0)
        total = total + weight * node.rewards[0] * ratio * own[action]
    found = expected(made)["agent_0"]
    assert relative(found, now.gradient(0, total)) < CLOSE
    if loss_per == "sequence":
        assert relative(expected(product)["agent_0"], exact_now.gradient(0, exact_now.objective())) < CLOSE
        assert relative(found, now.gradient(0, now.objective())) == pytest.approx(0.0046, abs=1e-4)


# lambda_follows_critic


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_while_critics_explain_nothing_returns_are_what_teaches(case, method):
    """Exactly Monte Carlo: unbiased whatever the critics say, in the first rollout and as long as they are wrong."""
    made = case(method, turns=2, td_lambda=0.0, lambda_follows_critic=True).arbitrary()
    monte_carlo = expected(case(method, turns=2, td_lambda=1.0).arbitrary())
    for _ in range(3):
        found = expected(made)
        for name, gradient in made.gradient.items():
            assert relative(found[name], monte_carlo[name]) < CLOSE
            assert relative(found[name], gradient) < CLOSE
        assert made.learner.critics.explained < 0


@pytest.mark.parametrize(("explained", "trace"), [(1.0, 0.3), (0.5, 0.65), (0.0, 1.0), (-0.7, 1.0)])
def test_lambda_falls_to_its_value_as_critics_explain_more(case, explained, trace):
    """Random critics, so that every lambda has a gradient of its own."""
    made = case("collm_cc", turns=2, td_lambda=0.3, lambda_follows_critic=True).arbitrary()
    made.learner.critics.explained = explained
    found = expected(made)
    assert made.learner.critics.trace == pytest.approx(trace)
    fixed = expected(case("collm_cc", turns=2, td_lambda=trace).arbitrary())
    other = expected(case("collm_cc", turns=2, td_lambda=0.0).arbitrary())
    for _, name in agents(made):
        assert relative(found[name], fixed[name]) < CLOSE
        assert relative(found[name], other[name]) > 0.01


def test_what_exact_critics_explain(case):
    """The running mean of 1 - Var(G - V) / Var(G), a fifth of it from the newest rollout; lambda lags one behind."""
    made = case("collm_cc", turns=2, td_lambda=0.2, lambda_follows_critic=True).filled()
    returns = torch.tensor(
        [node.rewards[0] + (node.children[0].rewards[0] if node.children[0] else 0.0) for node in made.nodes]
    )
    values = torch.tensor(list(made.learner.critics.values(0, [(node, None) for node in made.nodes]).values()))
    share = explained_variance(values, returns)
    assert 0.05 < share < 0.95
    explained = 0.0
    for _ in range(4):
        expected(made)
        assert made.learner.critics.trace == pytest.approx(1.0 - 0.8 * explained)
        explained = 0.8 * explained + 0.2 * share
        assert made.learner.critics.explained == pytest.approx(explained)


def test_one_wild_rollout_of_a_critic_is_soon_forgotten(case):
    """A share has no lower bound; it counts as -1, so that seven good rollouts bring lambda down again."""
    made = case("collm_cc", turns=2, td_lambda=0.0, lambda_follows_critic=True)
    draw = torch.Generator().manual_seed(0)
    made.table.start = lambda: 100.0 * torch.randn((), generator=draw).item()
    expected(made)
    assert made.learner.critics.explained == pytest.approx(-0.2)
    with torch.no_grad():
        made.table.numbers.zero_()
    made.table.index.clear()
    made.filled()
    for _ in range(7):
        expected(made)
    assert made.learner.critics.explained > 0


# steps of critics


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
@pytest.mark.parametrize("minibatch", [10**9, 32])
def test_more_steps_of_critics_leave_the_agents_gradient_alone(case, method, minibatch):
    """Advantages are those of the critic from before the first step, however many steps it takes."""
    once, thrice = (
        expected(case(method, turns=2, critic_steps=steps, minibatch_size=minibatch).arbitrary()) for steps in (1, 3)
    )
    for name, gradient in once.items():
        if name.startswith("agent"):
            assert torch.equal(thrice[name], gradient)


def test_a_warm_up_teaches_critics_alone(case):
    made = case("collm_dc", turns=2, critic_warm_up=2).filled()
    plain = expected(case("collm_dc", turns=2).filled())
    for _ in range(2):
        assert set(expected(made)) == {"critic_0", "critic_1"}
    found = expected(made)
    assert set(found) == set(plain)
    assert all(relative(found[name], plain[name]) < CLOSE for name in found if name.startswith("agent"))


# bounds of entropy


def entropies(made, agent, prompt):
    """[actions] mean entropy per token of the distributions that a response was drawn from, with graph."""
    member = made.team.agents[agent]
    causal, tokenizer = member.activate(), member.base.tokenizer
    start, found = tokenizer.convert_tokens_to_ids(list(prompt)), []
    for action in ACTIONS[made.exact.longest]:
        tokens, total = tokenizer.convert_tokens_to_ids(list(action)), 0.0
        for place in range(len(tokens)):
            logits = causal(input_ids=torch.tensor([[*start, *tokens[:place]]])).logits[0, -1]
            logs = torch.log_softmax(logits, -1)
            total = total - (logs.exp() * logs).sum()
        found.append(total / len(tokens))
    return torch.stack(found)


def entropy_pull(made):
    """Expected gradient where nothing else is to be learnt: one sample at a time, weighted by its probability."""
    total = None
    for node in made.nodes:
        node.rewards = [0.0]
        found = made.learner.gradients([node], {}).get("agent_0")
        if found is not None:
            total = made.weights[node, 0] * found + (0.0 if total is None else total)
    return total


def mean_entropy(made, chosen=lambda entropy: True):
    """Mean over responses of the entropies that are `chosen`, with the chances of responses as they are: with graph."""
    total = torch.tensor(0.0)
    for task in made.domain.tasks():
        prompt = made.exact.prompts(task, ())[0]
        chances = made.exact.log_policy(0, prompt).exp().detach() * made.exact.reach(task, ())
        for chance, entropy in zip(chances, entropies(made, 0, prompt), strict=True):
            total = total + chance * entropy * chosen(entropy.item())
    return total


@pytest.mark.parametrize("longest", [1, 2])
def test_outside_of_its_bounds_entropy_is_pushed_back_and_inside_left_alone(case, longest):
    def pull(**bounds):
        made = case("mareinforce", agents=1, turns=1, longest=longest, entropy_bound_coefficient=0.3, **bounds)
        return made, entropy_pull(made)

    made, below = pull(entropy_floor=5.0)
    slope = made.exact.gradient(0, mean_entropy(made))
    assert slope.norm() > 1e-3
    assert relative(below, 0.3 * slope) < CLOSE
    assert relative(pull(entropy_ceiling=1e-6)[1], -0.3 * slope) < CLOSE
    assert pull(entropy_floor=1e-6, entropy_ceiling=5.0)[1] is None  # no step at all


def test_bounds_count_response_by_response(case):
    made = case("mareinforce", agents=1, turns=1, longest=2)
    known = [e for task in made.domain.tasks() for e in entropies(made, 0, made.exact.prompts(task, ())[0]).tolist()]
    floor = sorted(known)[len(known) // 2] + 1e-6
    bounded = case("mareinforce", agents=1, turns=1, longest=2, entropy_floor=floor, entropy_bound_coefficient=1.0)
    slope = made.exact.gradient(0, mean_entropy(made, lambda entropy: entropy < floor))
    assert relative(entropy_pull(bounded), slope) < CLOSE


@pytest.mark.parametrize(("longest", "error"), [(1, 0.0), (2, 0.032)])
def test_the_pull_is_not_the_gradient_of_the_mean_entropy(case, longest, error):
    """Exact for one token; of longer responses it leaves out that other prefixes become likelier."""
    made = case("mareinforce", agents=1, turns=1, longest=longest, entropy_floor=5.0, entropy_bound_coefficient=1.0)
    whole = torch.tensor(0.0)
    for task in made.domain.tasks():
        prompt = made.exact.prompts(task, ())[0]
        whole = whole + made.exact.reach(task, ()) * (
            (made.exact.log_policy(0, prompt).exp() * entropies(made, 0, prompt)).sum()
        )
    found = entropy_pull(made)
    assert relative(found, made.exact.gradient(0, whole)) == pytest.approx(error, abs=0.001)
