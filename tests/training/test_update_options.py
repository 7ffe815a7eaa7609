"""Options that decide who takes a step, how many and how large: critics' steps, divergence, entropy, rates, resumes."""

from __future__ import annotations

import math
import random

import pytest
import torch
from support.runs import outcome, session, stop_after, train
from support.toy import CRITICS, critic_ids, make_team, numbers, play, setting, update, with_plain_descent

from collm.common.errors import Interrupted
from collm.training import schedule
from collm.training.learner import Learner
from collm.training.trainer import Trainer

GAMMA, RATE = 0.9, 0.05


# steps of critics


def values_of(team, critic, nodes, method):
    """[nodes] values with graph, each history read by itself."""
    return torch.cat([team.values(critic, [tuple(critic_ids(team, node, method, critic, 2))]) for node in nodes])


def steps_by_hand(team, nodes, method, count, value_clip=None):
    """`count` plain steps of every critic: targets by the critic as it is, values clipped around those of the start."""
    rewards = torch.tensor([node.rewards[0] for node in nodes])
    for critic, member in enumerate(team.critics):
        old = values_of(team, critic, nodes, method).detach()
        for _ in range(count):
            now = values_of(team, critic, nodes, method)
            known = dict(zip(nodes, now.detach(), strict=True))
            following = [known.get(node.children[0], torch.tensor(0.0)) for node in nodes]
            target = rewards + GAMMA * torch.stack(following)
            losses = (target - now) ** 2
            if value_clip is not None:
                clipped = old + (now - old).clamp(-value_clip, value_clip)
                losses = torch.maximum(losses, (target - clipped) ** 2)
            parts = [part for _, part in member.parameters()]
            gradients = torch.autograd.grad(0.6 * losses.mean(), parts, allow_unused=True)
            with torch.no_grad():
                for part, slope in zip(parts, gradients, strict=True):
                    part -= RATE * (torch.zeros_like(part) if slope is None else slope)


@pytest.mark.parametrize("value_clip", [None, 0.01])
@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_critics_take_as_many_steps_as_asked_for(models_folder, tmp_path, method, value_clip):
    """They end where that many steps by hand end; the agents go where they go with one."""
    ends = {}
    for steps in (1, 3):
        team, learner = setting(
            models_folder, tmp_path, method, turns=2, minibatch_size=100, critic_steps=steps, value_clip=value_clip
        )
        with_plain_descent(learner, RATE)
        nodes = play(team, count=3, turns=2)
        start = numbers(team)
        rows = update(learner, nodes)
        ends[steps] = numbers(team)
        assert len(rows) == 1
        assert learner.steps == {name: 1 if name.startswith("agent") else steps for name in start}
        by_hand = make_team(models_folder, CRITICS[method])
        steps_by_hand(by_hand, nodes, method, steps, value_clip)
        for name in [name for name in start if name.startswith("critic")]:
            found, expected = ends[steps][name] - start[name], numbers(by_hand)[name] - start[name]
            assert expected.norm() > 1e-3
            assert (found - expected).norm() < 2e-3 * expected.norm()
    for name, end in ends[1].items():
        assert torch.equal(ends[3][name], end) == name.startswith("agent")


def test_every_minibatch_has_its_steps(models_folder, tmp_path):
    ends = {}
    for steps in (1, 2):
        team, learner = setting(
            models_folder, tmp_path, "collm_cc", minibatch_size=2, update_epochs=2, critic_steps=steps
        )
        update(learner, play(team, count=4))
        assert learner.steps == {"agent_0": 4, "agent_1": 4, "critic": 4 * steps}
        ends[steps] = numbers(team)
    assert torch.equal(ends[1]["agent_1"], ends[2]["agent_1"]) and not torch.equal(ends[1]["critic"], ends[2]["critic"])


@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_while_critics_warm_up_agents_stay_byte_for_byte(models_folder, tmp_path, method):
    team, learner = setting(
        models_folder, tmp_path, method, minibatch_size=2, update_epochs=2, critic_warm_up=2, weight_decay=0.1
    )
    for rollout in range(3):
        before = numbers(team)
        rows = update(learner, play(team, count=4, seed=rollout))
        for name, after in numbers(team).items():
            rests = name.startswith("agent") and rollout < 2
            assert torch.equal(after, before[name]) == rests, (rollout, name)
        assert all((row["gradient_norm/agent_0"] == 0.0) == (rollout < 2) for row in rows)
    assert {learner.steps[f"agent_{agent}"] for agent in (0, 1)} == {4}


def test_methods_without_critics_know_nothing_of_them(models_folder, tmp_path):
    ends = []
    for changes in ({}, {"critic_warm_up": 3, "critic_steps": 4, "lambda_follows_critic": True}):
        team, learner = setting(models_folder, tmp_path, "magrpo", minibatch_size=4, **changes)
        rows = update(learner, play(team, count=4, generations=2))
        ends.append((numbers(team), [{k: v for k, v in row.items() if k != "seconds"} for row in rows]))
    assert ends[0][1] == ends[1][1]
    assert all(torch.equal(part, ends[1][0][name]) for name, part in ends[0][0].items())


# divergence from the policy that played


def logprobs(team, agent, nodes):
    pairs = [(response.prompt, response.tokens) for node in nodes for response in node.responses[agent]]
    with torch.no_grad():
        return team.logprobs(agent, pairs)[0], torch.tensor([float(len(response)) for _, response in pairs])


def passes(learner, nodes):
    """Metrics and numbers of the team after every pass."""
    for row in learner.update(nodes, random.Random(0)):
        yield row, numbers(learner.team)


def put_back(member, start):
    """Give a member the numbers `start`."""
    with torch.no_grad():
        place = 0
        for _, part in member.parameters():
            part.copy_(start[place : place + part.numel()].view_as(part))
            place += part.numel()


LIMIT = 1e-3


def diverging(models_folder, tmp_path, **changes):
    """A team whose agent 0 takes steps two hundred times as large as agent 1, and what it played."""
    team, learner = setting(
        models_folder, tmp_path, "magrpo", minibatch_size=100, update_epochs=4, divergence_limit=LIMIT, **changes
    )
    with_plain_descent(learner, 0.005)
    learner.optimisers["agent_0"].param_groups[0]["lr"] = 1.0
    return team, learner, play(team, count=2, generations=2)


def test_an_agent_that_has_moved_too_far_rests_until_the_next_rollout(models_folder, tmp_path):
    team, learner, nodes = diverging(models_folder, tmp_path)
    old, length = logprobs(team, 0, nodes)
    start, seen = numbers(team), []
    for row, now in passes(learner, nodes):
        seen.append((row, now))
        if len(seen) == 1:
            change = (logprobs(team, 0, nodes)[0] - old) / length
            distance = (change.exp() - 1.0 - change).mean().item()
    rows, states = zip(*seen, strict=True)
    assert rows[0]["moved/agent_0"] == 0.0 and rows[1]["moved/agent_0"] == pytest.approx(distance, rel=1e-3)
    assert distance > LIMIT > max(row["moved/agent_1"] for row in rows) > 0
    assert not torch.equal(states[0]["agent_0"], start["agent_0"])
    for earlier, later in zip(states, states[1:], strict=False):
        assert torch.equal(later["agent_0"], earlier["agent_0"])
        assert not torch.equal(later["agent_1"], earlier["agent_1"])
    assert [row["gradient_norm/agent_0"] > 0 for row in rows] == [True, False, False, False]
    assert learner.steps == {"agent_0": 1, "agent_1": 4}
    update(learner, play(team, count=2, seed=1, generations=2))
    assert not torch.equal(numbers(team)["agent_0"], states[-1]["agent_0"])


def test_who_rests_rests_for_all_passes_that_are_left(models_folder, tmp_path):
    """Also where it is back within the limit, as a look at other samples may say."""
    team, learner, nodes = diverging(models_folder, tmp_path)
    start, seen = numbers(team), []
    for row, _ in passes(learner, nodes):
        seen.append(row)
        if len(seen) == 2:
            put_back(team.agents[0], start["agent_0"])
    assert seen[1]["moved/agent_0"] > LIMIT > seen[2]["moved/agent_0"]
    assert torch.equal(numbers(team)["agent_0"], start["agent_0"])


def test_a_limit_that_nobody_reaches_changes_nothing(models_folder, tmp_path):
    ends = []
    for limit in (None, 1e6):
        team, learner = setting(models_folder, tmp_path, "collm_cc", update_epochs=3, divergence_limit=limit)
        update(learner, play(team, count=4))
        ends.append(numbers(team))
    assert all(torch.equal(part, ends[1][name]) for name, part in ends[0].items())


def test_a_value_head_rests_with_the_agent_that_carries_it(models_folder, tmp_path):
    """On a shared backbone no step of the critic leaves the policy where it is."""
    team, learner = setting(
        models_folder,
        tmp_path,
        "collm_dc",
        shared_backbone=True,
        minibatch_size=100,
        update_epochs=3,
        divergence_limit=1e-9,
    )
    start = numbers(team)
    (_, first), *later = passes(learner, play(team, count=4))
    assert all(not torch.equal(first[name], part) for name, part in start.items())
    assert len(later) == 2
    for row, now in later:
        assert row["moved/agent_0"] > 1e-9 and row["gradient_norm/agent_0"] == 0.0
        assert all(torch.equal(now[name], part) for name, part in first.items())
    assert learner.steps == {"agent_0": 1, "agent_1": 1}
    assert all(part.grad is None for member in team.members for _, part in member.parameters())


# bounds of entropy


@pytest.mark.parametrize(("floor", "ceiling", "moves"), [(1e-3, 50.0, False), (50.0, None, True), (None, 1e-3, True)])
def test_inside_of_its_bounds_entropy_moves_nobody(models_folder, tmp_path, floor, ceiling, moves):
    """Equal rewards teach nothing: whoever moves does so for its entropy, not by momentum or weight decay."""
    team, learner = setting(
        models_folder,
        tmp_path,
        "magrpo",
        minibatch_size=4,
        weight_decay=0.1,
        entropy_floor=floor,
        entropy_ceiling=ceiling,
    )
    update(learner, play(team, count=2, generations=2))  # momentum
    before, nodes = numbers(team), play(team, count=2, seed=1, generations=2)
    for node in nodes:
        node.rewards = [1.0, 1.0]
    row = update(learner, nodes)[0]
    assert row["entropy_outside_share/agent_0"] == (1.0 if moves else 0.0)
    assert all(torch.equal(part, before[name]) != moves for name, part in numbers(team).items())


# learning rates


@pytest.mark.parametrize(
    ("step", "warm_up", "decay", "progress", "expected"),
    [
        (0, 0, "none", 0.0, 1.0),
        (7, 0, "none", 0.9, 1.0),
        (0, 4, "none", 0.0, 0.25),
        (2, 4, "none", 0.0, 0.75),
        (3, 4, "none", 0.5, 1.0),
        (9, 4, "none", 0.5, 1.0),
        (9, 0, "linear", 0.5, 0.525),
        (9, 0, "linear", 1.0, 0.05),
        (0, 2, "linear", 0.5, 0.2625),
        (0, 0, "cosine", 0.0, 1.0),
        (0, 0, "cosine", 0.25, 0.05 + 0.95 * (1 + math.sqrt(0.5)) / 2),
        (0, 0, "cosine", 1.0, 0.05),
    ],
)
def test_factors_of_a_rate(step, warm_up, decay, progress, expected):
    assert schedule.factor(step, warm_up, decay, progress) == pytest.approx(expected)


RATES = {"rate_warm_up": 3, "rate_decay": "cosine", "agent_learning_rate": 1e-2, "critic_learning_rate": 4e-2}


def rate(step, progress):
    """Of the agents, by hand: a rise over three steps, half a cosine down to a twentieth."""
    return 1e-2 * min(1.0, (step + 1) / 3) * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)


def test_rates_of_a_run_step_by_step(models_folder, tmp_path):
    trainer = Trainer(session(models_folder, tmp_path, training={**RATES, "critic_steps": 2}), None)
    trainer.run()
    rows = [row for row in outcome(tmp_path)[1] if row["event"] == "update"]
    assert [row["iteration"] for row in rows] == [0, 1, 1, 2, 3, 4, 4, 5]
    found = [row["learning_rate"] for row in rows]
    assert found == pytest.approx([rate(step, row["iteration"] / 6) for step, row in enumerate(rows)])
    assert trainer.learner.steps == {"agent_0": 8, "agent_1": 8, "critic": 16}  # each rises by its own steps
    assert trainer.learner.optimisers["critic"].param_groups[0]["lr"] == pytest.approx(4 * rate(15, 5 / 6))


def test_rates_fall_by_the_updates_where_those_end_the_run(models_folder, tmp_path):
    train(models_folder, tmp_path, training={**RATES, "max_updates": 4})
    rows = [row for row in outcome(tmp_path)[1] if row["event"] == "update"]
    before = [0.0, 1 / 4, 1 / 4, 3 / 4]  # share of the updates that are over when a rollout begins
    assert [row["learning_rate"] for row in rows] == pytest.approx([rate(step, p) for step, p in enumerate(before)])


# resumed runs

ALL = {
    **RATES,
    "rate_decay": "linear",
    "update_epochs": 3,
    "critic_steps": 2,
    "critic_warm_up": 1,
    "td_lambda": 0.3,
    "lambda_follows_critic": True,
    "importance_ratio": "geometric",
    "ratio_clip": 0.3,
    "value_clip": 0.5,
    "loss_per": "token",
    "negative_weight": 0.5,
    "divergence_limit": 2e-3,
    "entropy_floor": 0.5,
    "entropy_ceiling": 3.0,
    "checkpoint_every": 1,
}


@pytest.fixture(scope="module")
def unbroken(models_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken")
    train(models_folder, root, training=ALL)
    return outcome(root)


def test_all_options_at_once_do_something(unbroken):
    """What the resumed runs below have to reproduce."""
    rows = [row for row in unbroken[1] if row["event"] == "update"]
    first = [row for row in rows if row["iteration"] == 0]
    assert all(row["gradient_norm/agent_0"] == 0.0 for row in first)
    later = [row for row in rows if row["iteration"] > 0]
    rests = [row["gradient_norm/agent_0"] == 0.0 for row in later]
    assert any(rests) and not all(rests)
    assert {row["td_lambda"] for row in first} == {1.0} and min(row["td_lambda"] for row in later) < 1.0
    assert len({row["learning_rate"] for row in later}) > 3
    assert 0 < sum(row["entropy_outside_share/agent_0"] for row in rows)


@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_run_ends_with_the_same_bytes(unbroken, models_folder, tmp_path, monkeypatch, after):
    with monkeypatch.context() as patched:
        stop_after(patched, after)
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path, training=ALL)
    train(models_folder, tmp_path, training=ALL)
    assert outcome(tmp_path) == unbroken


def test_killed_between_the_steps_of_a_critic(unbroken, models_folder, tmp_path, monkeypatch):
    real, seen = Learner._further_critic_steps, []

    def further(self, critics, batch):
        seen.append(1)
        if len(seen) == 9:
            raise RuntimeError("lightning")
        real(self, critics, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "_further_critic_steps", further)
        with pytest.raises(RuntimeError, match="lightning"):
            train(models_folder, tmp_path, training=ALL)
    train(models_folder, tmp_path, training=ALL)
    assert outcome(tmp_path) == unbroken


def test_a_checkpoint_holds_what_the_options_count(models_folder, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    trainer = Trainer(session(models_folder, tmp_path, training=ALL), None)
    with pytest.raises(Interrupted):
        trainer.run()
    again = Trainer(session(models_folder, tmp_path, training=ALL), None).learner
    assert (again.rollouts, again.steps) == (2, trainer.learner.steps)
    assert again.critics.explained == trainer.learner.critics.explained != 0.0
    for name, optimiser in again.optimisers.items():
        group, own = optimiser.param_groups[0], trainer.learner.optimisers[name].param_groups[0]
        assert (group["lr"], group["initial_lr"]) == (own["lr"], own["initial_lr"])
