"""Padded batches of several agents' adapters against single sequences, in float64; nothing else changes an update."""

from __future__ import annotations

import random

import pytest
import torch
from exact_values import Exact
from expectation import make_learner, relative
from small_world import SmallWorld, make_team, rollout_settings

from collm.training.rollout import Rollout

PLACES = random.Random(4)
PROMPTS = [tuple(PLACES.randrange(3) for _ in range(length)) for length in (1, 2, 5, 9, 17, 30)]
RESPONSES = [tuple(PLACES.randrange(3) for _ in range(length)) for length in (1, 4, 2, 12, 7, 1)]
PAIRS = list(zip(PROMPTS, RESPONSES, strict=True))
SHARED = [(prompt, response) for prompt in PROMPTS[:3] for response in RESPONSES[:4]]  # several responses to a prompt


@pytest.fixture
def team(letters):
    return make_team(letters, "local", longest=2)


def single(team, agent, prompt, response):
    """(log-probability, mean entropy) by one unpadded pass over one sequence."""
    member = team.agents[agent]
    logits = member.activate()(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    logs = torch.log_softmax(logits, -1)
    total = sum(logs[place, token] for place, token in enumerate(response))
    return total, -(logs.exp() * logs).sum(-1).mean()


def gradient(member, scalar):
    member.activate()
    parts = [part for _, part in member.parameters()]
    gradients = torch.autograd.grad(scalar, parts, allow_unused=True)
    pairs = zip(gradients, parts, strict=True)
    return torch.cat([(torch.zeros_like(part) if g is None else g).flatten() for g, part in pairs])


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("pairs", [PAIRS, SHARED], ids=["prompts apart", "prompts shared"])
def test_log_probabilities_and_gradients(team, agent, pairs):
    together, entropy = team.logprobs(agent, pairs, entropy_gradient=True)
    weights = torch.randn(len(pairs), generator=torch.Generator().manual_seed(1))
    estimate = gradient(team.agents[agent], (weights * (together + 0.3 * entropy)).sum())
    alone = [single(team, agent, *pair) for pair in pairs]
    totals, entropies = (torch.stack(list(part)) for part in zip(*alone, strict=True))
    torch.testing.assert_close(together, totals, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(entropy, entropies, rtol=1e-12, atol=1e-12)
    expected = gradient(team.agents[agent], (weights * (totals + 0.3 * entropies)).sum())
    assert relative(estimate, expected) < 1e-10


@pytest.mark.parametrize("critic", [0, 1])
def test_values_and_gradients(team, critic):
    member = team.critics[critic]
    texts = [team.text_ids(critic, "x" * length + " and more") for length in (1, 3, 11, 40, 2)]
    together = team.values(critic, texts)
    weights = torch.arange(1.0, 6.0)
    estimate = gradient(member, (weights * together).sum())
    causal = member.activate()
    last = [causal.get_decoder()(input_ids=torch.tensor([text])).last_hidden_state[:, -1] for text in texts]
    alone = torch.cat([member.head(state)[:, 0] for state in last])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert relative(estimate, gradient(member, (weights * alone).sum())) < 1e-10


def test_a_longer_neighbour_changes_nothing(team):
    """Nor does the order: every row keeps its number whatever stands beside it."""
    with torch.no_grad():
        few = team.logprobs(0, PAIRS[:2])[0]
        many = team.logprobs(0, PAIRS)[0]
        mixed = team.logprobs(0, PAIRS[::-1])[0]
    torch.testing.assert_close(many[:2], few, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mixed.flip(0), many, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("decode", ["mixed", "sequential"])
def test_what_is_sampled_in_a_mixed_batch_is_scored_alike(letters, decode):
    """Decoding with all agents' adapters in one batch: the log-probability of every response is that of one pass."""
    team, domain = make_team(letters, agents=3, longest=2), SmallWorld(2, longest=2, num_agents=3)
    settings = rollout_settings(2, 2, generations=3, decode=decode)
    nodes = Rollout(team, domain, settings).play(domain.tasks()[:4], [1, 2, 3, 4]).nodes()
    for node in nodes[:20]:
        for agent, responses in enumerate(node.responses):
            for response in responses:
                expected, _ = single(team, agent, response.prompt, response.tokens)
                assert response.logprob == pytest.approx(expected.item(), abs=2e-6)  # sampling itself is in float32


def test_sampling_frequencies_are_the_exact_policy(letters):
    team, domain = make_team(letters, longest=2), SmallWorld(1, longest=2)
    exact, task, draws = Exact(team, domain, 2), domain.tasks()[2], 4000
    played = Rollout(team, domain, rollout_settings(1, 2, generations=draws, max_rows=4000)).play([task], [5])
    for agent, responses in enumerate(played.roots[0].responses):
        chances = exact.log_policy(agent, exact.prompts(task, ())[agent]).exp().tolist()
        for text, chance in zip(domain.texts, chances, strict=True):
            share = sum(response.text == text for response in responses) / draws
            assert share == pytest.approx(chance, abs=4.5 * (chance * (1 - chance) / draws) ** 0.5 + 1e-3)


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc", "magrpo"])
def test_micro_batches_and_order_do_not_change_the_update(letters, tmp_path, method):
    critics = {"collm_cc": "joint", "collm_dc": "local"}.get(method)
    team, domain = make_team(letters, critics, longest=2), SmallWorld(2, longest=2)
    rollout = Rollout(team, domain, rollout_settings(2, 2, generations=3))
    nodes = rollout.play(domain.tasks(), [1, 2, 3, 4]).nodes()
    weights = {(node, j): 0.01 for node in nodes for j in range(len(node.actions))}
    gradients = []
    for tokens, order in ((16, nodes), (97, nodes[::-1]), (10**6, nodes)):
        learner = make_learner(
            team, method, tmp_path, 2, micro_batch_tokens=tokens, normalize_advantage=True, entropy_coefficient=0.1
        )
        gradients.append(learner.gradients(order, weights))
    for other in gradients[1:]:
        assert set(other) == {member.name for member in team.members}
        for name, part in other.items():
            assert relative(part, gradients[0][name]) < 1e-10
