"""Updates: numbers of steps, ratios, targets, advantages, micro-batches, faults."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
from support.toy import critic_ids, normalised, numbers, play, setting, update, with_plain_descent
from tokenizers.processors import TemplateProcessing

from collm.common.errors import ConfigError, NonFiniteLoss
from collm.llm.team import Team
from collm.methods.signal import samples_of
from collm.runs.member_state import restore, state_of
from collm.training.minibatches import Batch, paper_batches

GAMMA = 0.9


# counts


@pytest.mark.parametrize(
    ("method", "semantics", "tasks", "turns", "copies", "minibatch", "steps"),
    [
        ("collm_cc", "released", 4, 1, 1, 2, {"agent_0": 2, "agent_1": 2, "critic": 4}),
        ("collm_cc", "paper", 4, 1, 1, 2, {"agent_0": 2, "agent_1": 2, "critic": 2}),
        ("collm_cc", "released", 4, 4, 1, 1, {"agent_0": 16, "agent_1": 16, "critic": 32}),
        ("collm_cc", "paper", 4, 4, 1, 1, {"agent_0": 16, "agent_1": 16, "critic": 16}),
        ("collm_dc", "released", 4, 1, 1, 2, {"agent_0": 2, "agent_1": 2, "critic_0": 2, "critic_1": 2}),
        ("collm_dc", "paper", 4, 4, 1, 1, {"agent_0": 16, "agent_1": 16, "critic_0": 16, "critic_1": 16}),
        ("magrpo", "released", 2, 2, 2, 2, {"agent_0": 6, "agent_1": 6}),
        ("magrpo", "released", 2, 2, 2, 4, {"agent_0": 5, "agent_1": 5}),  # of 3 pairs of nodes, 2 mix turns
        ("magrpo", "paper", 2, 2, 2, 4, {"agent_0": 3, "agent_1": 3}),
    ],
)
def test_optimiser_steps(models_folder, tmp_path, method, semantics, tasks, turns, copies, minibatch, steps):
    team, learner = setting(models_folder, tmp_path, method, semantics, turns, minibatch_size=minibatch)
    nodes = play(team, count=tasks, turns=turns, generations=copies, max_new_tokens=3)
    rows = update(learner, nodes, last=True)
    assert learner.steps == steps
    agents = 1 if semantics == "paper" else 2
    assert len(rows) == agents * steps["agent_0"]


def test_leftovers_wait_for_the_end_of_the_epoch(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", "released", minibatch_size=4)
    before = numbers(team)
    assert update(learner, play(team, count=3)) == []
    assert all(torch.equal(value, before[name]) for name, value in numbers(team).items())
    rows = update(learner, play(team, count=2, seed=1))
    assert [row["samples"] for row in rows] == [4, 4]
    rows = update(learner, play(team, count=1, seed=2), last=True)
    assert [row["samples"] for row in rows] == [2, 2]


@pytest.mark.parametrize(("method", "copies", "minibatch"), [("magrpo", 2, 4), ("collm_cc", 1, 4), ("collm_dc", 1, 4)])
def test_what_fills_no_minibatch_waits_for_the_next_rollout(models_folder, tmp_path, method, copies, minibatch):
    """Appendix D.2 counts ceil(samples / minibatch) steps in a whole run."""
    team, learner = setting(models_folder, tmp_path, method, turns=2, minibatch_size=minibatch)
    rows, played = [], 0
    for number in range(3):
        nodes = play(team, count=3 if copies == 1 else 1, seed=number, turns=2, generations=copies, max_new_tokens=3)
        played += sum(len(node.actions) for node in nodes)
        rows += update(learner, nodes, seed=number, more=number < 2)
        assert all(row["samples"] == minibatch for row in rows[:-1])
    assert played == 18 and [row["samples"] for row in rows] == [4, 4, 4, 4, 2]
    assert learner.rule.state() == []


def test_waiting_samples_keep_the_policy_and_the_advantages_of_their_rollout(models_folder, tmp_path, monkeypatch):
    team, learner = setting(
        models_folder, tmp_path, "collm_cc", minibatch_size=4, agent_learning_rate=2e-2, normalize_advantage=False
    )
    first, second = play(team, count=6), play(team, count=4, seed=1)
    pairs = [(node.responses[0][0].prompt, node.responses[0][0].tokens) for node in first[4:]]
    with torch.no_grad():
        old = team.logprobs(0, pairs)[0]
        values = [team.values(0, [tuple(critic_ids(team, node, "collm_cc", 0, 1))]).item() for node in first[4:]]
    update(learner, first, more=True)
    assert [waiting.samples for waiting in learner.rule.state()] == [[(node, 0)] for node in first[4:]]
    with torch.no_grad():
        new = team.logprobs(0, pairs)[0]
    assert (new - old).abs().max() > 1e-3
    batches = learner.rule.batches(second, random.Random(0), False, more=False)
    assert [len(batch.samples) for batch in batches] == [4, 2]
    for node, score, value in zip(first[4:], old, values, strict=True):
        assert learner.policies.old[0, node, 0].item() == pytest.approx(score.item(), abs=1e-4)
        assert batches[0].signal.advantages[1][node, 0] == pytest.approx(node.rewards[0] - value, abs=1e-5)


def test_waiting_samples_survive_a_checkpoint(models_folder, tmp_path):
    def fresh():
        return setting(models_folder, tmp_path, "collm_dc", turns=2, minibatch_size=4, value_clip=0.2)

    team, learner = fresh()
    update(learner, play(team, count=3, turns=2), more=True)
    assert len(learner.rule.state()) == 2
    torch.save(state_of(team, learner.optimisers) | {"buffers": learner.rule.state()}, tmp_path / "state.pt")
    update(learner, play(team, count=3, seed=1, turns=2), more=True)
    again, other = fresh()
    state = torch.load(tmp_path / "state.pt", weights_only=False)
    restore(again, other.optimisers, state)
    other.rule.restore(state["buffers"])
    update(other, play(again, count=3, seed=1, turns=2), more=True)
    expected = numbers(team)
    assert all(torch.equal(value, expected[name]) for name, value in numbers(again).items())


def test_passes_repeat_the_samples(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc", update_epochs=3)
    rows = update(learner, play(team, count=4))
    assert len(rows) == 6
    assert [row["ratio_max/agent_0"] == 1.0 for row in rows] == [True, False, False, False, False, False]


# importance ratio


@pytest.mark.parametrize(("method", "copies", "by_node"), [("collm_cc", 1, False), ("magrpo", 2, True)])
def test_importance_ratio(models_folder, tmp_path, method, copies, by_node):
    team, learner = setting(models_folder, tmp_path, method, minibatch_size=2 * copies, agent_learning_rate=2e-2)
    nodes = play(team, count=4, generations=copies)
    batches = paper_batches(samples_of(nodes), 2 * copies, 1, random.Random(0), by_node)
    assert len(batches) == 2

    def scores(agent, batch):
        pairs = [(n.responses[agent][j].prompt, n.responses[agent][j].tokens) for n, j in batch.samples]
        with torch.no_grad():
            return team.logprobs(agent, pairs)[0]

    old = [scores(agent, batches[1]) for agent in (0, 1)]
    steps = learner.update(nodes, random.Random(0))
    first = next(steps)
    new = [scores(agent, batches[1]) for agent in (0, 1)]
    second = next(steps)
    for agent in (0, 1):
        assert first[f"ratio_mean/agent_{agent}"] == first[f"ratio_max/agent_{agent}"] == 1.0
        expected = torch.exp(new[agent] - old[agent])
        assert (expected - 1).abs().max() > 1e-3
        assert second[f"ratio_mean/agent_{agent}"] == pytest.approx(expected.mean().item(), rel=1e-4)
        assert second[f"ratio_max/agent_{agent}"] == pytest.approx(expected.max().item(), rel=1e-4)


def test_ratio_is_of_this_rollout_not_of_the_one_before(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc", minibatch_size=4, agent_learning_rate=2e-2)
    nodes = play(team, count=4)
    for _ in range(2):
        assert update(learner, nodes)[0]["ratio_max/agent_0"] == 1.0


def test_released_uses_no_ratio(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc", "released", agent_learning_rate=2e-2)
    nodes = play(team, count=4)
    steps = learner.update(nodes, random.Random(0), last=True)
    losses = []
    for row in steps:
        losses.append(row["policy_loss"])
        assert row["ratio_max/agent_0" if "ratio_max/agent_0" in row else "ratio_max/agent_1"] == 1.0
    assert len(losses) == 4 and learner.policies.old == {}


# targets


@pytest.mark.parametrize("semantics", ["paper", "released"])
def test_bootstrap_value(models_folder, tmp_path, semantics):
    """paper: V(h_{t+1}) of the critic as it is when the minibatch's turn comes; released: as it was at rollout."""
    team, learner = setting(
        models_folder, tmp_path, "collm_cc", semantics, 2, minibatch_size=1, critic_learning_rate=5e-2, shuffle=True
    )
    nodes = play(team, count=1, turns=2)

    def target():
        ids = critic_ids(team, nodes[1], "collm_cc", 0, 2, information=semantics == "paper")
        with torch.no_grad():
            return nodes[0].rewards[0] + GAMMA * team.values(0, [tuple(ids)]).item()

    played, targets, when_stepped = target(), [], []
    steps = learner.update(nodes, random.Random(0), last=True)
    while True:
        now = target()
        try:
            row = next(steps)
        except StopIteration:
            break
        is_root = row["value_target/critic"] != pytest.approx(nodes[1].rewards[0], abs=1e-6)
        if is_root:
            targets.append(row["value_target/critic"])
            when_stepped.append(now)
    assert target() != pytest.approx(played, abs=1e-3)
    assert len(targets) == (1 if semantics == "paper" else 2)
    expected = when_stepped if semantics == "paper" else [played] * 2
    assert targets == pytest.approx(expected, abs=1e-5)


def test_paper_bootstrap_follows_the_critic(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=2, update_epochs=4, minibatch_size=2)
    for optimiser in learner.optimisers.values():
        optimiser.param_groups[0]["lr"] = 2e-2
    nodes = play(team, count=1, turns=2)
    targets = []
    steps = learner.update(nodes, random.Random(0))
    for _ in range(4):
        ids = critic_ids(team, nodes[1], "collm_cc", 0, 2)
        with torch.no_grad():
            bootstrap = team.values(0, [tuple(ids)]).item()
        row = next(steps)
        expected = (nodes[0].rewards[0] + GAMMA * bootstrap + nodes[1].rewards[0]) / 2
        assert row["value_target/critic"] == pytest.approx(expected, abs=1e-5)
        targets.append(expected)
    assert max(targets) - min(targets) > 1e-3


@pytest.mark.parametrize("changes", [{}, {"td_lambda": 0.5}, {"critic_type": "q"}])
def test_no_history_is_read_twice(models_folder, tmp_path, monkeypatch, changes):
    """In one minibatch the values that targets bootstrap from are those that are trained."""
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=3, minibatch_size=100, **changes)
    nodes, read, real = play(team, count=3, turns=3), [], team.values
    monkeypatch.setattr(team, "values", lambda critic, texts: read.extend(texts) or real(critic, texts))
    update(learner, nodes)
    assert len(read) == len(nodes) == 9


def test_values_from_elsewhere(models_folder, tmp_path):
    """Targets do not depend on whether the turn that follows stands in the same minibatch."""
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=2)
    nodes = play(team, count=2, turns=2)
    firsts = [(node, 0) for node in nodes if node.turn == 0]
    whole, part = Batch([(node, 0) for node in nodes], (0, 1)), Batch(firsts, (0, 1))
    _, targets, _ = learner._backward_values(0, whole)
    _, alone, _ = learner._backward_values(0, part)
    first = [target for node, target in zip(nodes, targets, strict=True) if node.turn == 0]
    assert first == pytest.approx(alone, abs=1e-5)
    assert learner.critics.values_elsewhere(0, whole.samples) == {}
    assert len(learner.critics.values_elsewhere(0, part.samples)) == 2


def test_a_stopped_turn_is_terminal(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", turns=2)
    free = play(team, count=6, turns=2, generations=2)
    root = next(n for n in free if n.turn == 0 and n.rewards[0] != n.rewards[1])
    threshold = min(root.rewards)
    stopped = play(team, count=6, turns=2, generations=2, early_stop=threshold)
    same = next(n for n in stopped if n.turn == 0 and n.task == root.task)
    high = same.rewards.index(max(same.rewards))
    targets = learner.critics.targets(0, [(same, 0), (same, 1)])
    open_targets = learner.critics.targets(0, [(root, 0), (root, 1)])
    assert targets[high] == pytest.approx(same.rewards[high])
    assert targets[1 - high] == pytest.approx(open_targets[1 - high], abs=1e-6)
    assert open_targets[high] != pytest.approx(same.rewards[high], abs=1e-6)


def test_critics_read_what_they_may(models_folder, tmp_path):
    nodes = None
    for method, semantics in (("collm_cc", "paper"), ("collm_dc", "paper"), ("collm_dc", "released")):
        team, learner = setting(models_folder, tmp_path, method, semantics, 2)
        nodes = nodes or play(team, count=1, turns=2)
        for critic in range(len(team.critics)):
            for node in nodes:
                expected = critic_ids(team, node, method, critic, 2, semantics == "paper")
                assert list(learner.critics.text(critic, (node, None))) == expected


def test_released_local_critics_read_what_their_agent_reads(models_folder, tmp_path):
    """comlrl 1.3.6: the actor's own prompt ids, for Q with the response's; its chat marks count."""
    for critic_type in ("v", "q"):
        team, learner = setting(models_folder, tmp_path, "collm_dc", "released", critic_type=critic_type)
        node = play(team, count=1)[0]
        plain = team.agents[1].base.tokenizer(node.observations[1][0]["content"])["input_ids"]
        own, response = node.prompts[1], node.responses[1][0].tokens
        assert len(own) > len(plain)
        read = learner.critics.text(1, (node, 0 if critic_type == "q" else None))
        assert read == (own + response if critic_type == "q" else own)


def test_released_joint_critic_reads_in_the_tokenizer_of_agent_0(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", "released", critic_type="q")
    node, tokenizer = play(team, count=1)[0], team.agents[0].base.tokenizer
    first, second = (
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        for messages in node.observations
    )
    said = [node.responses[agent][0].text for agent in (0, 1)]
    text = f"[Agent 0] {first}\n\n[Agent 1] {second}\n\n[Joint Action]\n\n"
    text += f"[Agent 0 action]\n{said[0]}\n\n[Agent 1 action]\n{said[1]}"
    assert list(learner.critics.text(0, (node, 0))) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_released_critics_refuse_ids_of_another_vocabulary(models_folder, tmp_path, method):
    with pytest.raises(ConfigError, match="critic.* on model 'other' reads token ids of 'tiny'.*one model for agents"):
        setting(models_folder, tmp_path, method, "released", team_changes={"critic": "other"})
    setting(models_folder, tmp_path, method, "paper", team_changes={"critic": "other"})


def test_no_beginning_of_text_in_the_middle(models_folder, tmp_path):
    """A critic on its agent's backbone reads m_t after the prompt's ids."""
    team, learner = setting(models_folder, tmp_path, "collm_dc", shared_backbone=True)
    tokenizer = team.agents[0].base.tokenizer
    plain = tokenizer.backend_tokenizer.post_processor
    node = play(team, count=1)[0]
    without = learner.critics.text(0, (node, None))
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    try:
        assert tokenizer("word")["input_ids"][0] == tokenizer.eos_token_id
        assert learner.critics.text(0, (node, None)) == without
    finally:
        tokenizer.backend_tokenizer.post_processor = plain


def test_global_information_can_be_switched_off(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc", global_information=False)
    node = play(team, count=1)[0]
    assert "best possible" not in team.agents[0].base.tokenizer.decode(learner.critics.text(1, (node, None)))


# advantages


@pytest.mark.parametrize(("normalise", "limit"), [(True, None), (False, None), (True, 0.2), (False, 0.05)])
def test_advantage_options(models_folder, tmp_path, normalise, limit):
    team, learner = setting(
        models_folder, tmp_path, "collm_cc", minibatch_size=4, normalize_advantage=normalise, advantage_clip=limit
    )
    with_plain_descent(learner)
    nodes = play(team, count=4)
    values = [team.values(0, [tuple(critic_ids(team, node, "collm_cc", 0, 1))]).item() for node in nodes]
    delta = [node.rewards[0] - value for node, value in zip(nodes, values, strict=True)]
    expected = normalised(delta) if normalise else delta
    if limit is not None:
        assert max(map(abs, expected)) > limit
        expected = [max(-limit, min(limit, value)) for value in expected]
    mean = sum(expected) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in expected) / 4)
    row = update(learner, nodes)[0]
    for agent in (0, 1):
        assert row[f"advantage_deviation/agent_{agent}"] == pytest.approx(deviation, abs=1e-5)
        assert row[f"policy_loss/agent_{agent}"] == pytest.approx(-mean, abs=1e-5)  # at ratio one


def test_equal_rewards_teach_magrpo_nothing(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=4)
    nodes = play(team, count=2, generations=2)
    for node in nodes:
        node.rewards = [1.0, 1.0]
    before = numbers(team)
    row = update(learner, nodes)[0]
    assert row["zero_advantage_share/agent_0"] == 1.0 and row["gradient_norm"] == 0.0
    assert all(torch.equal(value, before[name]) for name, value in numbers(team).items())


@pytest.mark.parametrize("minibatch", [4, 2])
@pytest.mark.parametrize("method", ["collm_cc", "collm_dc", "magrpo"])
def test_without_contrast_no_agent_moves(models_folder, tmp_path, method, minibatch):
    """All rewards equal: what critics say of the prompts is noise, and so are momentum and weight decay then."""
    team, learner = setting(
        models_folder, tmp_path, method, minibatch_size=minibatch, advantage_floor=1e-3, weight_decay=0.1
    )
    update(learner, play(team, count=4, generations=1 + (method == "magrpo")))  # so that there is momentum
    nodes, before = play(team, count=4, generations=1 + (method == "magrpo")), numbers(team)
    for number, node in enumerate(nodes):
        node.rewards = [1.0 + 1e-5 * number] * len(node.actions)
    rows = update(learner, nodes)
    for row in rows:
        for agent in ("agent_0", "agent_1"):
            assert row[f"zero_advantage_share/{agent}"] == 1.0
            assert row[f"gradient_norm/{agent}"] == row[f"advantage_deviation/{agent}"] == 0.0
    after = numbers(team)
    assert all(torch.equal(after[name], before[name]) for name in ("agent_0", "agent_1"))
    assert all(not torch.equal(after[name], before[name]) for name in after if "critic" in name)


def test_an_agent_without_contrast_still_follows_its_regulariser(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=4, entropy_coefficient=0.1)
    nodes, before = play(team, count=2, generations=2), numbers(team)
    for node in nodes:
        node.rewards = [1.0, 1.0]
    update(learner, nodes)
    assert all(not torch.equal(value, before[name]) for name, value in numbers(team).items())


# gradients stay with their member


def test_gradients_stay_with_their_member(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc")
    nodes = play(team, count=2)
    batch = paper_batches(samples_of(nodes), 2, 1, random.Random(0), by_node=False)[0]

    def touched():
        names = {m.name for m in team.members if any(p.grad is not None for _, p in m.parameters())}
        for member in team.members:
            for _, part in member.parameters():
                part.grad = None
        assert all(p.grad is None for n, p in team.agents[0].model.named_parameters() if "lora" not in n)
        return names

    learner._backward_values(1, batch)
    assert touched() == {"critic_1"}
    learner._backward_policy(0, batch, torch.tensor([1.0, -1.0]))
    assert touched() == {"agent_0"}


def test_no_gradient_is_left_behind(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc")
    update(learner, play(team, count=3))
    assert all(part.grad is None for member in team.members for _, part in member.parameters())


def test_gradient_clip(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_cc", minibatch_size=4, gradient_clip=0.01)
    with_plain_descent(learner)
    before = numbers(team)
    row = update(learner, play(team, count=4))[0]
    for name, value in numbers(team).items():
        assert row[f"gradient_norm/{name}"] > 0.011
        assert (value - before[name]).norm().item() == pytest.approx(0.01, rel=1e-2)


# micro-batches


@pytest.mark.parametrize("method", ["collm_cc", "magrpo"])
def test_micro_batches_do_not_change_the_update(models_folder, tmp_path, monkeypatch, method):
    results, passes = [], []
    real = Team.logprobs

    def logprobs(self, agent, pairs, **options):
        passes[-1] += 1
        return real(self, agent, pairs, **options)

    monkeypatch.setattr(Team, "logprobs", logprobs)
    for tokens in (16, 150, 100_000):
        team, learner = setting(models_folder, tmp_path, method, turns=2, minibatch_size=100, micro_batch_tokens=tokens)
        with_plain_descent(learner, 0.1)
        nodes = play(team, count=3, turns=2, generations=2)
        passes.append(0)
        update(learner, nodes)
        results.append(numbers(team))
    assert passes[0] == 2 * 18 and passes[2] == 2 and passes[0] > passes[1] > passes[2]
    for other in results[1:]:
        for name, value in other.items():
            torch.testing.assert_close(value, results[0][name], rtol=1e-4, atol=2e-5)


# checkpoints and faults


def test_buffers_survive_a_checkpoint(models_folder, tmp_path):
    def fresh():
        return setting(models_folder, tmp_path, "collm_cc", "released", 2, minibatch_size=4)

    team, learner = fresh()
    update(learner, play(team, count=3, turns=2))
    waiting = [len(units) for units in learner.rule.state()]
    assert waiting == [2, 2]
    state = state_of(team, learner.optimisers) | {"buffers": learner.rule.state()}
    torch.save(state, tmp_path / "state.pt")
    update(learner, play(team, count=3, seed=1, turns=2), last=True)

    again, other = fresh()
    state = torch.load(tmp_path / "state.pt", weights_only=False)
    restore(again, other.optimisers, state)
    other.rule.restore(state["buffers"])
    update(other, play(again, count=3, seed=1, turns=2), last=True)
    expected = numbers(team)
    assert all(torch.equal(value, expected[name]) for name, value in numbers(again).items())


@pytest.mark.parametrize(
    ("method", "what"), [("collm_cc", "value loss of critic"), ("magrpo", "policy loss of agent_0")]
)
def test_a_nan_reward_stops_the_run_and_is_kept(models_folder, tmp_path, method, what):
    team, learner = setting(models_folder, tmp_path, method, minibatch_size=8)
    nodes = play(team, count=4, generations=2)
    nodes[2].rewards[1] = math.nan
    before = numbers(team)
    with pytest.raises(NonFiniteLoss, match=f"{what} is not finite; training stopped .* lower the learning rate"):
        update(learner, nodes)
    assert all(torch.equal(value, before[name]) for name, value in numbers(team).items())
    saved = json.loads((tmp_path / "nonfinite.json").read_text())
    assert what in saved["what"]
    kept = {(row["task"], row["responses"][0]) for row in saved["samples"]}
    assert ("toy-2", nodes[2].responses[0][1].text) in kept
    assert {task for task, _ in kept} == {"toy-2"}


def test_an_infinite_gradient_stops_the_run(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc")
    team.agents[1].activate()
    _, part = team.agents[1].parameters()[3]
    part.register_hook(lambda gradient: gradient * math.inf)
    before = numbers(team)["agent_1"]
    with pytest.raises(NonFiniteLoss, match="gradient norm of agent_1 is (inf|nan)"):
        update(learner, play(team, count=2))
    assert torch.equal(numbers(team)["agent_1"], before)
    assert len(json.loads((tmp_path / "nonfinite.json").read_text())["samples"]) == 2


def test_metrics_are_complete_and_finite(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "collm_dc")
    row = update(learner, play(team, count=2))[0]
    for metric in ("policy_loss", "ratio_mean", "advantage_deviation", "zero_advantage_share", "entropy", "length"):
        assert {f"{metric}/agent_0", f"{metric}/agent_1"} <= set(row)
    for metric in ("value_loss", "value", "value_target", "explained_variance", "gradient_norm"):
        assert {f"{metric}/critic_0", f"{metric}/critic_1"} <= set(row)
    assert all(math.isfinite(value) for value in row.values())
    assert row["gradient_norm"] == max(row["gradient_norm/agent_0"], row["gradient_norm/agent_1"])
    assert row["length/agent_0"] == 6.0
