"""Options of the learner and further methods: advantages over the rollout, targets, critics, regularisers, any n."""

from __future__ import annotations

import math
import random

import pytest
import torch
from support.toy import CRITICS, critic_ids, make_team, normalised, numbers, play, setting, update, with_plain_descent

from collm.common.errors import ModelError
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.methods import actor_critic, monte_carlo
from collm.training.learner import Learner

GAMMA = 0.9


@pytest.fixture
def advantages(monkeypatch):
    """Advantages that the learner uses: {(agent, task, path, joint action): value}, filled by updates."""
    by_sample = {}
    real = Learner._backward_policy

    def backward(self, agent, batch, advantage):
        for (node, j), value in zip(batch.samples, advantage.tolist(), strict=True):
            by_sample[agent, node.task.id, node.path, j] = value
        return real(self, agent, batch, advantage)

    monkeypatch.setattr(Learner, "_backward_policy", backward)
    return by_sample


def samples_of(nodes):
    return [(node, j) for node in nodes for j in range(len(node.actions))]


def values_of(learner, nodes):
    """The first critic's values of all units."""
    of_actions = learner.critics.of_actions
    return learner.critics.values(0, [unit for node in nodes for unit in actor_critic.units(node, of_actions)])


def value(team, node, method, agent, turns):
    critic = 0 if method == "collm_cc" else agent
    with torch.no_grad():
        return team.values(critic, [tuple(critic_ids(team, node, method, agent, turns))]).item()


def temporal_differences(team, nodes, method, agent, turns):
    """delta of every joint sample, by the critic as it is."""
    deltas = {}
    for node, j in samples_of(nodes):
        target, child = node.rewards[j], node.children[j]
        if child is not None:
            target += GAMMA * value(team, child, method, agent, turns)
        deltas[node.task.id, node.path, j] = target - value(team, node, method, agent, turns)
    return deltas


# advantages of the paper's update rule


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
@pytest.mark.parametrize(("copies", "minibatch"), [(1, 3), (2, 1), (2, 100)])
def test_advantages_are_normalised_over_the_rollout(models_folder, tmp_path, advantages, method, copies, minibatch):
    """Per critic and turn over the whole rollout, with the critic from before the first step, however it is cut."""
    team, learner = setting(
        models_folder, tmp_path, method, turns=2, minibatch_size=minibatch, critic_learning_rate=5e-2, update_epochs=2
    )
    nodes = play(team, count=3, turns=2, generations=copies)
    expected = {}
    for agent in (0, 1):
        deltas = temporal_differences(team, nodes, method, agent, 2)
        for turn in (0, 1):
            keys = [(node.task.id, node.path, j) for node, j in samples_of(nodes) if node.turn == turn]
            for key, number in zip(keys, normalised([deltas[key] for key in keys]), strict=True):
                expected[agent, *key] = number
    update(learner, nodes)
    assert advantages == pytest.approx(expected, abs=2e-4)


def test_a_lone_sample_of_a_turn_does_not_stay_raw(models_folder, tmp_path, advantages):
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=2, minibatch_size=2)
    nodes = play(team, count=4, turns=2)
    for node in nodes:
        if node.task.id in ("toy-1", "toy-2", "toy-3"):
            node.children = [None]
    nodes = [node for node in nodes if node.turn == 0 or node.task.id == "toy-0"]
    deltas = temporal_differences(team, nodes, "collm_cc", 0, 2)
    update(learner, nodes)
    lone = ("toy-0", (0,), 0)
    keys = list(deltas)
    overall = dict(zip(keys, normalised(list(deltas.values())), strict=True))
    assert advantages[0, *lone] == pytest.approx(overall[lone], abs=1e-4)
    assert advantages[0, *lone] != pytest.approx(deltas[lone], abs=1e-2)


def test_a_single_episode_has_nothing_to_compare(models_folder, tmp_path, advantages):
    """The paper's game settings: one episode, one sample per turn, raw temporal difference errors."""
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=3, minibatch_size=1)
    nodes = play(team, count=1, turns=3)
    expected = temporal_differences(team, nodes, "collm_cc", 0, 3)
    update(learner, nodes)
    assert {key[1:]: number for key, number in advantages.items() if key[0] == 0} == pytest.approx(expected, abs=1e-5)


# targets


@pytest.mark.parametrize("trace", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("critic_type", ["v", "q"])
def test_targets_of_a_tree(models_folder, tmp_path, trace, critic_type):
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=3, td_lambda=trace, critic_type=critic_type)
    nodes = play(team, count=2, turns=3, generations=2)
    known = learner.critics.values(
        0, [unit for node in nodes for unit in actor_critic.units(node, learner.critics.of_actions)]
    )

    def stand(node):
        values = [known[node, j] for j in (0, 1)] if critic_type == "q" else [known[node, None]]
        return sum(values) / len(values)

    def target(node, j):
        child = node.children[j]
        if child is None:
            return node.rewards[j]
        later = sum(target(child, i) for i in (0, 1)) / 2
        return node.rewards[j] + GAMMA * ((1 - trace) * stand(child) + trace * later)

    samples = samples_of(nodes)
    expected = [target(node, j) for node, j in samples]
    assert learner.critics.targets(0, samples) == pytest.approx(expected, abs=1e-5)
    assert learner.critics.targets(0, samples, known) == pytest.approx(expected, abs=1e-5)
    assert len({round(number, 6) for number in known.values()}) == len(known)


def test_monte_carlo_targets_ask_no_critic(models_folder, tmp_path, monkeypatch):
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=2, td_lambda=1.0)
    nodes = play(team, count=1, turns=2, generations=2)
    monkeypatch.setattr(Team, "values", None)
    returns = [number for node in nodes for number in monte_carlo.G(node, GAMMA)]
    assert learner.critics.targets(0, samples_of(nodes)) == pytest.approx(returns)


# critics of type Q


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_critics_of_actions_read_the_responses(models_folder, tmp_path, method):
    team, learner = setting(models_folder, tmp_path, method, critic_type="q", global_information=False)
    node = play(team, count=1, generations=2)[0]
    prompts = [messages[0]["content"] for messages in node.observations]
    responses = [node.responses[agent][1].text for agent in (0, 1)]
    texts = {
        "collm_cc": f"[Agent 0] {prompts[0]}\n\n[Agent 1] {prompts[1]}\n\n[Joint Action]\n\n"
        f"[Agent 0 action]\n{responses[0]}\n\n[Agent 1 action]\n{responses[1]}",
        "collm_dc": f"{prompts[1]}\n\n{responses[1]}",
    }
    critic = 0 if method == "collm_cc" else 1
    expected = team.agents[0].base.tokenizer(texts[method])["input_ids"]
    assert list(learner.critics.text(critic, (node, 1))) == expected


@pytest.mark.parametrize("minibatch", [2, 100])
def test_advantages_of_action_values_compare_responses(models_folder, tmp_path, advantages, minibatch):
    team, learner = setting(
        models_folder, tmp_path, "collm_cc", critic_type="q", normalize_advantage=False, minibatch_size=minibatch
    )
    nodes = play(team, count=2, generations=3)
    known = learner.critics.values(
        0, [unit for node in nodes for unit in actor_critic.units(node, learner.critics.of_actions)]
    )
    update(learner, nodes)
    for node, j in samples_of(nodes):
        q = [known[node, i] for i in range(3)]
        for agent in (0, 1):
            expected = q[j] - (sum(q) - q[j]) / 2
            assert advantages[agent, node.task.id, node.path, j] == pytest.approx(expected, abs=1e-5)


def test_released_action_values_use_the_error(models_folder, tmp_path, advantages):
    team, learner = setting(
        models_folder, tmp_path, "collm_dc", "released", 2, critic_type="q", normalize_advantage=False
    )
    nodes = play(team, count=1, turns=2)
    known = learner.critics.values(1, [(node, 0) for node in nodes])
    update(learner, nodes, last=True)
    first, second = known[nodes[0], 0], known[nodes[1], 0]
    expected = [nodes[0].rewards[0] + GAMMA * second - first, nodes[1].rewards[0] - second]
    errors = [advantages[1, node.task.id, node.path, 0] for node in nodes]
    assert errors == pytest.approx(expected, abs=1e-5)


# the loss, term by term


def losses(team, nodes, agent, **options):
    """(log-probabilities, entropies) of all joint samples, with gradients, one by one."""
    scores = [
        team.logprobs(agent, [(node.responses[agent][k].prompt, node.responses[agent][k].tokens)], **options)
        for node, j in samples_of(nodes)
        for k in [node.actions[j][agent]]
    ]
    return torch.cat([pair[0] for pair in scores]), torch.cat([pair[1] for pair in scores])


def gradient_of(member, loss):
    parts = [part for _, part in member.parameters()]
    gradients = torch.autograd.grad(loss, parts, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, parts, strict=True)]
    )


def steps(before, after, name):
    return before[name] - after[name]


def close(step, expected):
    assert expected.norm() > 1e-5
    assert (step - expected).norm() < 2e-3 * expected.norm()


@pytest.mark.parametrize("option", ["plain", "entropy_coefficient", "kl_coefficient"])
def test_regularisers(models_folder, tmp_path, advantages, option):
    changes = {} if option == "plain" else {option: 0.7}
    team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=100, **changes)
    with_plain_descent(learner)
    nodes = play(team, count=2, generations=2)
    before = numbers(team)
    expected = {}
    for agent in (0, 1):
        now, entropy = losses(team, nodes, agent, entropy_gradient=True)
        with torch.no_grad():
            reference, _ = losses(team, nodes, agent, reference=True)
        signs = torch.tensor([a for node in nodes for a in normalised(node.rewards)])
        loss = -(signs * now).mean()
        if option == "entropy_coefficient":
            loss = loss - 0.7 * entropy.mean()
        if option == "kl_coefficient":
            assert (now - reference).abs().max() > 1e-2
            loss = loss + 0.7 * ((now - reference) ** 2 / 2).mean()
        expected[agent] = gradient_of(team.agents[agent], loss)
    row = update(learner, nodes)[0]
    after = numbers(team)
    for agent in (0, 1):
        close(steps(before, after, f"agent_{agent}"), expected[agent])
    assert ("divergence/agent_0" in row) == (option == "kl_coefficient")


def test_the_reference_is_the_base_and_costs_no_copy(models_folder, tmp_path):
    team = make_team(models_folder)
    fresh = make_team(models_folder, randomise=False)  # LoRA starts as nothing: the base itself
    nodes = play(team, count=2)
    pairs = [(node.responses[1][0].prompt, node.responses[1][0].tokens) for node in nodes]
    with torch.no_grad():
        reference, _ = team.logprobs(1, pairs, reference=True)
        base, _ = fresh.logprobs(1, pairs)
        own, _ = team.logprobs(1, pairs)
    torch.testing.assert_close(reference, base)
    assert (own - reference).abs().max() > 1e-3
    own_again, _ = team.logprobs(1, pairs)
    assert own_again.requires_grad and torch.equal(own_again.detach(), own)


@pytest.mark.parametrize("padded", [False, True])
def test_the_reference_of_a_warm_started_team_is_where_it_starts(models_folder, tmp_path, monkeypatch, padded):
    """With nothing else to learn, the penalty pulls a moved agent back to its start, not to the base before it."""
    if padded:
        monkeypatch.setattr("collm.llm.base_model.obstacle", lambda model: "a test")
    team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=100, kl_coefficient=1.0)
    team.keep_reference()
    nodes, start = play(team, count=2, generations=2), numbers(team)
    for node in nodes:
        node.rewards = [1.0, 1.0]
    pairs = [(node.responses[1][k].prompt, node.responses[1][k].tokens) for node in nodes for k in (0, 1)]
    with torch.no_grad():
        own, kept = team.logprobs(1, pairs)[0], team.logprobs(1, pairs, reference=True)[0]
    torch.testing.assert_close(own, kept)
    row = update(learner, nodes)[0]
    assert row["gradient_norm"] == pytest.approx(0.0, abs=1e-4)  # at the start there is no penalty
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for member in team.agents:
            for _, part in member.parameters():
                part += 0.02 * torch.randn(part.shape, generator=draw)
    away = {name: (value - start[name]).norm() for name, value in numbers(team).items()}
    rows = [update(learner, nodes)[0] for _ in range(15)]
    assert rows[-1]["gradient_norm"] < 0.5 * rows[0]["gradient_norm"]
    with torch.no_grad():
        torch.testing.assert_close(team.logprobs(1, pairs, reference=True)[0], kept)  # frozen
        assert (team.logprobs(1, pairs)[0] - kept).abs().max() < 0.3
    assert set(away) == {"agent_0", "agent_1"}
    team.save(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir() if path.is_dir()) == ["agent_0", "agent_1"]


def test_whole_copies_keep_no_reference(models_folder):
    team = make_team(models_folder, adapter="full")
    with pytest.raises(ModelError, match="agent_0 is a whole model: no copy of it is kept; use team.adapter lora"):
        team.keep_reference()


# log-probabilities of the policy that samples


def sampled_logprob(team, agent, prompt, response, sampling):
    """Token by token from whole logits, in plain Python, with graph."""
    causal = team.agents[agent].activate()
    logits = causal(input_ids=torch.tensor([prompt + response])).logits[0].double()
    total = 0.0
    for place, token in enumerate(response, start=len(prompt) - 1):
        scaled = logits[place] / sampling.temperature
        order = scaled.detach().argsort(descending=True).tolist()[: sampling.top_k]
        shares = torch.softmax(scaled.detach()[order], -1).tolist()
        kept = [one for number, one in enumerate(order) if sum(shares[:number]) < sampling.top_p]
        kept = sorted({*kept, token})
        total = total + scaled[token] - torch.logsumexp(scaled[kept], -1)
    return total


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "sampling", [Sampling(6, 0.7, 0.9), Sampling(6, 0.6, 0.6), Sampling(6, 0.8, 1.0, 5), Sampling(6, 0.5, 0.7, 9)]
)
def test_scores_of_the_policy_that_samples(models_folder, monkeypatch, sampling, padded):
    if padded:
        monkeypatch.setattr("collm.llm.base_model.obstacle", lambda model: "a test")
    team = make_team(models_folder)
    with torch.no_grad():
        team.agents[0].base.model.get_output_embeddings().weight.mul_(2.0)  # far from uniform
    settings = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    nodes = play(team, count=2, generations=2, **settings)
    pairs = [(response.prompt, response.tokens) for node in nodes for response in node.responses[1]]
    found, entropy = team.logprobs(1, pairs, sampling=sampling)
    gradient = gradient_of(team.agents[1], found.sum())
    expected = torch.stack([sampled_logprob(team, 1, *pair, sampling) for pair in pairs])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
    raw, raw_entropy = team.logprobs(1, pairs)
    assert (found > raw + 1e-3).any() and (entropy < raw_entropy).all() and (entropy >= 0).all()
    other = gradient_of(team.agents[1], expected.sum().float())
    assert (gradient - other).norm() < 1e-3 * other.norm()


def test_the_learner_scores_as_it_samples(models_folder, tmp_path):
    sampling = Sampling(6, 0.7, 0.8)
    team, learner = setting(models_folder, tmp_path, "mareinforce", sampling=sampling, minibatch_size=4)
    nodes = play(team, count=4, generations=2, temperature=0.7, top_p=0.8)
    rows = update(learner, nodes)
    pairs = [(r.prompt, r.tokens) for node in nodes for r in node.responses[0]]
    fresh = make_team(models_folder)
    with torch.no_grad():
        scores = fresh.logprobs(0, pairs, sampling=sampling)[0]
    assert rows[0]["ratio_max/agent_0"] == 1.0 and len(rows) == 2
    kept = [learner.policies.old[0, node, k].item() for node in nodes for k in (0, 1)]
    assert kept == pytest.approx(scores.tolist(), abs=1e-4)


def test_ratio_clip_stops_what_went_far_enough(models_folder, tmp_path):
    def run(limit):
        team, learner = setting(
            models_folder,
            tmp_path,
            "collm_cc",
            minibatch_size=8,
            update_epochs=12,
            agent_learning_rate=2e-2,
            ratio_clip=limit,
        )
        return update(learner, play(team, count=8))[-1]

    free, clipped = run(None), run(0.05)
    assert free["ratio_max/agent_0"] > clipped["ratio_max/agent_0"] > 1.0
    assert clipped["clipped_share/agent_0"] > 0.0 and "clipped_share/agent_0" not in free


def test_value_clip_holds_values_near_those_of_the_rollout(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", minibatch_size=2, update_epochs=2, value_clip=0.01)
    with_plain_descent(learner, 0.05)
    nodes = play(team, count=2)
    texts = [tuple(critic_ids(team, node, "collm_cc", 0, 1)) for node in nodes]
    with torch.no_grad():
        old = team.values(0, texts)
    updates = learner.update(nodes, random.Random(0))
    next(updates)
    before = numbers(team)["critic"]
    now = team.values(0, texts)
    target = torch.tensor([node.rewards[0] for node in nodes])
    clipped = old + (now - old).clamp(-0.01, 0.01)
    assert ((now - old).abs() > 0.01).any()
    loss = 0.6 * torch.maximum((target - now) ** 2, (target - clipped) ** 2).mean()
    expected = gradient_of(team.critics[0], loss)
    next(updates)
    close((before - numbers(team)["critic"]) / 0.05, expected)


# value heads on the agents


@pytest.mark.parametrize("semantics", ["paper", "released"])
@pytest.mark.parametrize("method", ["collm_dc", "ac"])
def test_shared_backbone_takes_one_step_for_both_losses(models_folder, tmp_path, semantics, method):
    team_changes = {"num_agents": 1, "agents": ("tiny",)} if method == "ac" else {}
    team, learner = setting(
        models_folder,
        tmp_path,
        method,
        semantics,
        team_changes=team_changes,
        shared_backbone=True,
        minibatch_size=100,
        normalize_advantage=False,
        global_information=semantics == "paper",
        value_clip=0.2,
    )
    assert [member.name for member in team.members] == [f"agent_{i}" for i in range(len(team.agents))]
    with_plain_descent(learner)
    nodes = play(team, count=3)
    before, expected = numbers(team), {}
    information = "\n\nTurn 1 of 1. The team has no reward so far; the best possible is 2.00."
    information_ids = tuple(team.agents[0].base.tokenizer(information)["input_ids"]) if semantics == "paper" else ()
    for agent, member in enumerate(team.agents):
        now, _ = losses(team, nodes, agent)
        values = torch.cat([team.values(agent, [node.prompts[agent] + information_ids]) for node in nodes])
        target = torch.tensor([node.rewards[0] for node in nodes])
        loss = -((target - values.detach()) * now).mean() + 0.6 * ((target - values) ** 2).mean()
        expected[member.name] = gradient_of(member, loss)
    rows = update(learner, nodes, last=True)
    after = numbers(team)
    for name, gradient in expected.items():
        close(steps(before, after, name), gradient)
    assert learner.steps == dict.fromkeys(expected, 1)
    assert all("value_loss/agent_0" in row or "value_loss/agent_1" in row for row in rows)


def test_value_heads_survive_saving_and_warm_starts_have_none(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc", shared_backbone=True)
    make_team(models_folder, seed=5).save(tmp_path / "warm")
    head = team.agents[0].head.weight.clone()
    team.load_agents(tmp_path / "warm")
    assert torch.equal(team.agents[0].head.weight, head)
    update(learner, play(team, count=2))
    team.save(tmp_path / "trained")
    again = make_team(models_folder, "shared")
    again.load_agents(tmp_path / "trained")
    assert all(torch.equal(part, numbers(team)[name]) for name, part in numbers(again).items())
    make_team(models_folder).load_agents(tmp_path / "trained")  # the evaluation needs no heads


# joint actions


def test_crossed_joint_actions(models_folder, tmp_path, monkeypatch, advantages):
    team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=100)
    nodes = play(team, count=2, generations=2, joint_mode="cross")
    assert all(node.actions == [(0, 0), (0, 1), (1, 0), (1, 1)] for node in nodes)
    assert all(len(node.rewards) == 4 for node in nodes)
    scored, real = [], Team.logprobs

    def logprobs(self, agent, pairs, **options):
        scored.extend(pairs)
        return real(self, agent, pairs, **options)

    monkeypatch.setattr(Team, "logprobs", logprobs)
    row = update(learner, nodes)[0]
    assert row["samples"] == 8 and len(scored) == 2 * 2 * 2  # tasks x agents x responses, each once
    for node in nodes:
        first = normalised([(node.rewards[0] + node.rewards[1]) / 2, (node.rewards[2] + node.rewards[3]) / 2])
        second = normalised([(node.rewards[0] + node.rewards[2]) / 2, (node.rewards[1] + node.rewards[3]) / 2])
        for j, (own, other) in enumerate(node.actions):
            assert advantages[0, node.task.id, (), j] == pytest.approx(first[own], abs=1e-5)
            assert advantages[1, node.task.id, (), j] == pytest.approx(second[other], abs=1e-5)


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_crossed_joint_actions_of_critics(models_folder, tmp_path, method):
    team, learner = setting(models_folder, tmp_path, method, minibatch_size=100, normalize_advantage=False)
    with_plain_descent(learner)
    nodes = play(team, count=2, generations=2, joint_mode="cross")
    before, expected = numbers(team), {}
    for agent in (0, 1):
        deltas = list(temporal_differences(team, nodes, method, agent, 1).values())
        now, _ = losses(team, nodes, agent)
        expected[agent] = gradient_of(team.agents[agent], -(torch.tensor(deltas) * now).mean())
    update(learner, nodes)
    for agent in (0, 1):
        close(steps(before, numbers(team), f"agent_{agent}"), expected[agent])


@pytest.mark.parametrize(("mode", "branches"), [("aligned", 2), ("cross", 8)])
def test_three_agents_and_turns(models_folder, mode, branches):
    team = make_team(models_folder, num_agents=3, agents=("tiny",) * 3)
    nodes = play(team, count=1, turns=2, generations=2, joint_mode=mode, max_new_tokens=2)
    assert [len(node.actions) for node in nodes] == [branches] * (1 + branches)


# any number of agents, any method


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("method", sorted(CRITICS))
def test_any_number_of_agents(models_folder, tmp_path, method, count):
    team, learner = setting(
        models_folder,
        tmp_path,
        method,
        turns=2,
        minibatch_size=4,
        normalize_advantage=method not in ("maremax", "marloo"),
        team_changes={"num_agents": count, "agents": ("tiny",) * count},
    )
    nodes = play(team, count=1, turns=2, generations=2, max_new_tokens=3)
    before = numbers(team)
    rows = update(learner, nodes)
    assert sorted(row["samples"] for row in rows) == [2, 4]
    critics = {None: 0, "joint": 1, "local": count}[CRITICS[method]]
    assert len(learner.steps) == count + critics
    assert all(math.isfinite(number) for row in rows for number in row.values())
    assert all(not torch.equal(part, before[name]) for name, part in numbers(team).items())
