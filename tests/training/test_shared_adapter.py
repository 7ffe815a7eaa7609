"""`team.adapters: shared`: agents that are told apart by their prompts alone, trained as one."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import runs
from support.toy import make_team, numbers, play, setting, team_settings, update, with_plain_descent

from collm.common.errors import ModelError
from collm.config.job import WarmStartConfig
from collm.llm.bases import Bases
from collm.llm.sampling import Sampling
from collm.runs.signals import Signals
from collm.training.sft import Example, SupervisedFit
from collm.training.together import Turns
from collm.training.trainer import Trainer

SHARED = {"adapters": "shared"}
THREE = {"num_agents": 3, "agents": ("tiny",) * 3}
FIT = WarmStartConfig(True, "demonstrations", 0.0, 1, 1, 2, 1e-2, 4, None)
DATA = [[Example((9, 12 + agent), (20, 21, 22)), Example((7,), (30 + agent, 31))] for agent in range(3)]


def give(team, source):
    """Let all agents of a team have the numbers of the first agent of another; critics those of the critics there."""
    pairs = [(own, source.agents[0]) for own in {agent.learner: 0 for agent in team.agents}]
    pairs += [pair for pair in zip(team.critics, source.critics, strict=True) if pair[0] not in team.agents]
    with torch.no_grad():
        for own, other in pairs:
            for (_, part), (_, theirs) in zip(own.parameters(), other.parameters(), strict=True):
                part.copy_(theirs)


def agents_of(state):
    return [vector for name, vector in state.items() if name.startswith("agent")]


def moves(team, learner, nodes):
    """What one update with plain descent takes from every agent, or from what they share: the gradient."""
    before = numbers(team)
    rows = update(with_plain_descent(learner), nodes)
    return [old - new for old, new in zip(agents_of(before), agents_of(numbers(team)), strict=True)], rows


# the update


@pytest.mark.parametrize("method", ["magrpo", "collm_cc", "collm_dc"])
@pytest.mark.parametrize("team_changes", [{}, THREE], ids=["two", "three"])
def test_the_gradient_is_the_sum_over_the_agents(models_folder, tmp_path, float64, method, team_changes):
    sizes = {"minibatch_size": 4, "tasks_per_rollout": 2}
    shared, one = setting(models_folder, tmp_path, method, team_changes={**SHARED, **team_changes}, **sizes)
    apart, several = setting(models_folder, tmp_path, method, team_changes=team_changes, **sizes)
    give(apart, shared)
    nodes = play(shared, count=2, generations=2)
    assert len(shared.members) == 1 + len(shared.critics) and set(one.steps) == {m.name for m in shared.members}
    (own,), rows = moves(shared, one, nodes)
    each, others = moves(apart, several, nodes)
    torch.testing.assert_close(own, sum(each), rtol=0, atol=1e-12)
    assert all((part - own).abs().max() > 1e-6 for part in each)
    assert rows[0]["gradient_norm"] == pytest.approx(own.norm().item()) == rows[0]["gradient_norm/agents"]
    for agent in range(len(shared.agents)):
        assert rows[0][f"policy_loss/agent_{agent}"] == pytest.approx(others[0][f"policy_loss/agent_{agent}"], abs=1e-9)


def test_a_step_is_that_of_one_adapter_that_gets_the_samples_of_all(models_folder, tmp_path, float64):
    """AdamW on -(1 / samples) sum over agents and samples of A log pi, written down once more."""
    shared, learner = setting(models_folder, tmp_path, "marloo", team_changes=SHARED, minibatch_size=4)
    alone = make_team(models_folder, num_agents=1, agents=("tiny",))
    give(alone, shared)
    nodes = play(shared, count=2, generations=2)
    before = numbers(shared)["agents"]
    update(learner, nodes)
    parameters = [part for _, part in alone.members[0].parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    loss = 0.0
    for node in nodes:
        difference = node.rewards[0] - node.rewards[1]
        for agent in range(2):
            pairs = [(response.prompt, response.tokens) for response in node.responses[agent]]
            logprobs = alone.logprobs(0, pairs)[0]
            deviation = abs(difference)  # of two returns -d, d around their mean 0
            loss = loss - (difference / deviation * (logprobs[0] - logprobs[1])).sum() / 4
    loss.backward()
    optimiser.step()
    now = numbers(shared)["agents"]
    assert (now - before).abs().max() > 1e-4
    torch.testing.assert_close(now, numbers(alone)["agent_0"], rtol=0, atol=1e-9)


def test_an_own_critic_each_and_one_value_head_on_a_shared_backbone(models_folder, tmp_path, float64):
    team, learner = setting(models_folder, tmp_path, "collm_dc", team_changes=SHARED, shared_backbone=True)
    assert [member.name for member in team.members] == ["agents"] and team.agents[0].head is team.agents[1].head
    apart, several = setting(models_folder, tmp_path, "collm_dc", shared_backbone=True)
    give(apart, team)
    nodes = play(team, count=2)
    (own,), _ = moves(team, learner, nodes)
    torch.testing.assert_close(own, sum(moves(apart, several, nodes)[0]), rtol=0, atol=1e-12)
    beside, _ = setting(models_folder, tmp_path, "collm_dc", team_changes=SHARED)
    assert [member.name for member in beside.members] == ["agents", "critic_0", "critic_1"]


def test_the_released_rule_steps_agent_by_agent(models_folder, tmp_path):
    team, learner = setting(models_folder, tmp_path, "magrpo", "released", team_changes=SHARED)
    assert len(update(learner, play(team, count=1, generations=2), last=True)) == 2
    assert learner.steps == {"agents": 2}


def test_what_has_moved_too_far_stops_for_all(models_folder, tmp_path):
    team, learner = setting(
        models_folder, tmp_path, "magrpo", team_changes=SHARED, update_epochs=3, divergence_limit=1e-9, minibatch_size=4
    )
    learner.optimisers["agents"].param_groups[0]["lr"] = 2e-2
    rows = update(learner, play(team, count=2, generations=2))
    assert [row["gradient_norm/agents"] > 0 for row in rows] == [True, False, False]
    assert learner.steps == {"agents": 1}


def test_rates_of_their_own(models_folder, tmp_path):
    rates = (1e-3, 4e-3)
    team, learner = setting(
        models_folder, tmp_path, "magrpo", minibatch_size=4, agent_learning_rate=rates, rate_decay="linear"
    )
    nodes = play(team, count=2, generations=2)
    (row,) = learner.update(nodes, random.Random(0), progress=0.5)
    found = [row[f"learning_rate/agent_{agent}"] for agent in (0, 1)]
    assert found == pytest.approx([rate * (0.05 + 0.95 * 0.5) for rate in rates]) and row["learning_rate"] == found[0]
    assert [learner.optimisers[f"agent_{agent}"].param_groups[0]["lr"] for agent in (0, 1)] == found


# warm start


def test_a_warm_start_trains_it_on_the_demonstrations_of_all(models_folder, float64, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: torch.tensor(1.0))
    shared, apart = (make_team(models_folder, **THREE, **changes) for changes in (SHARED, {}))
    give(apart, shared)
    steps = []
    for team in (shared, apart):
        fit = SupervisedFit(team, DATA, FIT, 4096, 0)
        fit.optimisers = [torch.optim.SGD([p for _, p in learner.parameters()], lr=1.0) for learner in fit.learners]
        fit.schedules = [torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0) for optimiser in fit.optimisers]
        before = agents_of(numbers(team))
        losses = fit.step()
        steps.append([old - new for old, new in zip(before, agents_of(numbers(team)), strict=True)])
        assert len({round(losses[f"loss/agent_{agent}"], 6) for agent in range(3)}) == 3
    torch.testing.assert_close(steps[0][0], sum(steps[1]), rtol=0, atol=1e-12)


# what it answers, and what is kept


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("mode", ["mixed", "sequential"])
def test_agents_answer_as_agents_with_equal_adapters_do(models_folder, adapter, mode):
    shared, apart = (make_team(models_folder, adapter=adapter, **changes) for changes in (SHARED, {}))
    give(apart, shared)
    prompts = [(agent, tuple(range(5, 8 + agent)), [10 * agent, 10 * agent + 1]) for agent in (0, 1)]
    answers = [team.respond(prompts, Sampling(8), mode, 16) for team in (shared, apart)]
    first, second = ([[r.tokens for r in group] for group in groups] for groups in answers)
    assert first == second
    assert len({id(agent.model) for agent in shared.agents}) == 1


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_every_agent_is_saved_and_agents_trained_apart_are_refused(models_folder, tmp_path, adapter):
    team = make_team(models_folder, seed=3, adapter=adapter, **SHARED)
    if adapter == "lora":
        team.keep_reference()
        assert team._references[0] is team._references[1]
    team.save(tmp_path / "shared")
    folders = sorted(path.name for path in (tmp_path / "shared").iterdir() if path.is_dir())
    assert folders == ["agent_0", "agent_1"]
    own, again = make_team(models_folder, adapter=adapter), make_team(models_folder, adapter=adapter, **SHARED)
    for other in (own, again):
        other.load_agents(tmp_path / "shared")
        assert all(torch.equal(vector, numbers(team)["agents"]) for vector in agents_of(numbers(other)))
    make_team(models_folder, adapter=adapter).save(tmp_path / "apart")
    if adapter == "lora":  # whole copies of one base are equal as long as nothing was trained
        with pytest.raises(
            ModelError, match="agent_0 and agent_1 in .* have different numbers: .* set it to per_agent"
        ):
            again.load_agents(tmp_path / "apart")


def session(models, root, seed=0, **team):
    made = runs.session(models, root, method="magrpo", rollout={"generations": 2, "max_new_tokens": 4, "turns": 1})
    return dataclasses.replace(made, seed=seed, job=dataclasses.replace(made.job, team=team_settings(**team)))


def weights(root: Path):
    return {path.parent.name: load_file(path) for path in root.rglob("results/adapters/*/*.safetensors")}


def test_a_run_goes_on_after_a_stop_and_ends_beside_others_as_alone(models_folder, tmp_path, monkeypatch, float64):
    Trainer(session(models_folder, tmp_path / "alone", **SHARED), None).run()
    with monkeypatch.context() as patched, contextlib.suppress(BaseException):
        runs.stop_after(patched, 2)
        Trainer(session(models_folder, tmp_path / "stopped", **SHARED), None).run()
    assert not weights(tmp_path / "stopped")
    Trainer(session(models_folder, tmp_path / "stopped", **SHARED), None).run()
    assert runs.outcome(tmp_path / "stopped") == runs.outcome(tmp_path / "alone")
    joined = [session(models_folder, tmp_path / "joined", **SHARED), session(models_folder, tmp_path / "own", seed=1)]
    bases = Bases()
    with Signals() as signals:
        turns = Turns(signals)

        def work(made):
            trainer = Trainer(made, None, bases)
            trainer.team.neighbours, trainer.resumable.signals = turns, signals
            trainer.run()

        for made in joined:
            turns.add(lambda made=made: work(made), contextlib.nullcontext)
        turns.play()
    alone, together = weights(tmp_path / "alone"), weights(tmp_path / "joined")
    assert set(alone) == set(together) == {"agent_0", "agent_1"}
    for name, part in alone["agent_0"].items():
        assert torch.equal(part, alone["agent_1"][name])
        torch.testing.assert_close(together["agent_0"][name], part, rtol=0, atol=1e-9)
