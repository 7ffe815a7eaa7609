"""Warm-start: loss on the response tokens only, demonstrations of training tasks only, the best of n."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from support.runs import session
from support.toy import Toy, make_team, numbers, rollout_settings, tasks
from transformers import AutoModelForCausalLM, AutoTokenizer

from collm import domains
from collm.common.errors import ConfigError, NonFiniteLoss
from collm.config.job import WarmStartConfig
from collm.llm import sources
from collm.training import sft
from collm.training.rollout import Rollout
from collm.training.sft import Example, SupervisedFit
from collm.training.warm_start import WarmStart

PICKED = [Example((9, 12, 40), (20, 21, 22, 23)), Example((7, 8, 9, 10, 11, 12), (30,)), Example((3,), (41, 42))]


@pytest.fixture
def team(models_folder):
    return make_team(models_folder)


def fit_of(team, data=None, micro_batch_tokens=4096, **changes):
    settings = {"epochs": 1, "batch_size": 3, "learning_rate": 1e-2, **changes}
    unread = {"enabled": True, "source": "demonstrations", "noise": 0.0, "per_task": 1, "best_of": 4, "max_tasks": None}
    return SupervisedFit(team, data or [PICKED, PICKED], WarmStartConfig(**unread, **settings), micro_batch_tokens, 0)


def cross_entropy(team, agent, examples):
    """Mean negative log-likelihood per response token, from whole logits of one sequence at a time, float64."""
    causal = team.agents[agent].activate()
    total = count = 0
    for example in examples:
        logits = causal(input_ids=torch.tensor([example.prompt + example.response])).logits[0].double()
        for place, token in enumerate(example.response, start=len(example.prompt) - 1):
            total += (torch.logsumexp(logits[place], -1) - logits[place, token]).item()
            count += 1
    return total / count


@pytest.mark.parametrize("budget", [4096, 8])
def test_loss_is_the_cross_entropy_of_response_tokens(team, budget):
    with torch.no_grad():
        expected = [cross_entropy(team, agent, PICKED) for agent in (0, 1)]
    metrics = fit_of(team, micro_batch_tokens=budget).step()
    assert [metrics["loss/agent_0"], metrics["loss/agent_1"]] == pytest.approx(expected, abs=1e-4)
    assert metrics["loss"] == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert expected[0] != pytest.approx(expected[1], abs=1e-4)
    assert metrics["tokens"] == 2 * 17


def test_prompt_tokens_are_no_targets(team, monkeypatch):
    """The gradient equals that of a loss which is summed over response positions only."""
    fit = fit_of(team)
    optimiser = torch.optim.SGD([part for _, part in team.agents[0].parameters()], lr=1.0)
    fit.optimisers[0] = optimiser
    fit.schedules[0] = SimpleNamespace(step=lambda: None)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: torch.tensor(1.0))
    before = numbers(team)["agent_0"]
    fit._backward(0, PICKED)
    fit._move(0)
    step = before - numbers(team)["agent_0"]
    with torch.no_grad():
        for (_, part), old in zip(team.agents[0].parameters(), split(team, before), strict=True):
            part.copy_(old)
    causal = team.agents[0].activate()
    loss = 0.0
    for example in PICKED:
        labels = [-100] * len(example.prompt) + list(example.response)
        ids = torch.tensor([example.prompt + example.response])
        loss = loss + causal(input_ids=ids, labels=torch.tensor([labels])).loss * len(example.response) / 7
    loss.backward()
    expected = torch.cat([part.grad.flatten() for _, part in team.agents[0].parameters()])
    assert (step - expected).norm() < 1e-4 * expected.norm()


def split(team, vector):
    parts, start = [], 0
    for _, part in team.agents[0].parameters():
        parts.append(vector[start : start + part.numel()].view_as(part))
        start += part.numel()
    return parts


def test_every_example_is_seen_once_an_epoch(team, monkeypatch):
    data = [[Example((3,), (10 + i,)) for i in range(7)] for _ in (0, 1)]
    fit = fit_of(team, data, epochs=2, batch_size=3)
    seen = []
    note = lambda agent, batch: seen.append((agent, [e.response[0] for e in batch])) or 0.0  # noqa: E731
    monkeypatch.setattr(fit, "_backward", note)
    monkeypatch.setattr(fit, "_move", lambda number: None)
    while not fit.done:
        fit.step()
    assert fit.step_number == fit.total == 6
    for agent in (0, 1):
        order = [token for who, tokens in seen for token in tokens if who == agent]
        assert set(order[:7]) == set(order[9:16]) == set(range(10, 17))
        assert order[:7] != order[9:16]


def test_the_schedule_moves_the_rate_alone(team):
    """OneCycleLR cycles AdamW's beta1 between 0.85 and 0.95 unless it is told not to."""
    fit = fit_of(team, epochs=6)
    rates = set()
    while not fit.done:
        fit.step()
        for optimiser in fit.optimisers:
            (group,) = optimiser.param_groups
            assert group["betas"] == (0.9, 0.999)
            rates.add(group["lr"])
    assert len(rates) > 3


def test_pretraining_keeps_its_beta(models_folder, monkeypatch):
    seen, real = set(), torch.optim.AdamW.step

    def step(self, *arguments):
        seen.update(group["betas"] for group in self.param_groups)
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    model = AutoModelForCausalLM.from_pretrained(models_folder / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(models_folder / "tiny")
    sources.pretrain(
        model,
        tokenizer,
        ["red sea"],
        {"steps": 8, "batch_size": 1, "window": 8, "rows": "joined", "learning_rate": 1e-3},
        0,
    )
    assert seen == {(0.9, 0.95)}


def test_agents_learn_their_own_part(team):
    data = [[Example((9, 9), (20, 21, 22))] * 4, [Example((9, 9), (50, 51, 52))] * 4]
    fit = fit_of(team, data, epochs=80, batch_size=4, learning_rate=3e-2)
    losses = [fit.step()["loss"] for _ in range(fit.total)]
    assert losses[-1] < losses[0] - 0.4  # a random frozen output layer allows no more than about 0.6
    with torch.no_grad():
        own, other = (team.logprobs(0, [((9, 9), response)])[0].item() for response in ((20, 21, 22), (50, 51, 52)))
    assert own > other + 1


def spoil(team, layer):
    name, part = next(item for item in team.agents[1].parameters() if layer in item[0])
    with torch.no_grad():
        part.fill_(math.nan)


def test_a_nan_loss_stops(team):
    spoil(team, "v_proj.lora_B")
    with pytest.raises(NonFiniteLoss, match="warm-start loss of agent 1 is nan at step 0; lower warm_start.learning"):
        fit_of(team).step()


def test_a_nan_gradient_stops_before_the_step(team):
    team.agents[1].activate()
    part = team.agents[1].parameters()[3][1]
    part.register_hook(lambda gradient: gradient * math.nan)
    before = numbers(team)["agent_1"]
    with pytest.raises(NonFiniteLoss, match="warm-start gradient of agent 1 is nan at step 0"):
        fit_of(team).step()
    assert torch.equal(numbers(team)["agent_1"], before)


# demonstrations


def test_responses_end_with_the_end_token_unless_they_are_cut(team):
    demonstrated = sft.demonstrations(Toy({}), tasks(2), 1, 0.0, 0)
    base = team.agents[0].base
    for reserve in (40, 3):
        rows = sft.examples(team, demonstrated, reserve)
        assert [len(part) for part in rows] == [2, 2]
        for agent, part in enumerate(rows):
            ids = tuple(base.tokenizer("red " * (2 + agent))["input_ids"])
            assert len(ids) > 3
            expected = (*ids, base.tokenizer.eos_token_id) if reserve == 40 else ids[:3]
            assert {example.response for example in part} == {expected}
            assert part[0].prompt == team.prompt(agent, demonstrated[agent].messages, reserve)


def test_tasks_without_any_demonstration_are_refused(monkeypatch):
    monkeypatch.setattr(Toy, "demonstrations", lambda self, task, rng, noise: [])
    with pytest.raises(ConfigError, match="none of the 2 training tasks has a demonstration; set warm_start.source"):
        sft.demonstrations(Toy({}), tasks(2), 1, 0.0, 0)


def test_demonstrations_are_of_the_given_tasks_and_repeatable():
    domain = Toy({})
    demonstrated = sft.demonstrations(domain, tasks(3), 2, 0.5, 7)
    assert [item.task for item in demonstrated[::2]] == ["toy-0", "toy-0", "toy-1", "toy-1", "toy-2", "toy-2"]
    assert demonstrated == sft.demonstrations(domain, tasks(3), 2, 0.5, 7)


@pytest.mark.parametrize("name", ["tldr", "str_build"])
def test_demonstrations_of_real_domains_depend_on_the_task_alone(name):
    options = {} if name == "tldr" else {"generated": 4}
    domain = domains.get(name)(options)
    rows = [row for part in domain.embedded(0).values() for row in part][:3]
    given = [domain.task(row, index) for index, row in enumerate(rows)]
    demonstrated = sft.demonstrations(domain, given, 2, 0.5, 0)
    assert {item.task for item in demonstrated} == {task.id for task in given}
    assert {item.agent for item in demonstrated} == {0, 1}
    alone = sft.demonstrations(domain, given[1:2], 2, 0.5, 0)
    assert alone == [item for item in demonstrated if item.task == given[1].id]
    other = sft.demonstrations(domain, given, 2, 0.5, 1)
    assert [item.response for item in other] != [item.response for item in demonstrated]


@pytest.mark.parametrize("turns", [1, 2])
def test_demonstrations_of_turns_that_are_not_played_are_left_out(models_folder, tmp_path, monkeypatch, turns):
    def episode(self, task, rng, noise):
        return self.scripted_episode(task, 4, self.start(task, 0), lambda turn, agent, world: f"red {turn}")

    monkeypatch.setattr(Toy, "demonstrations", episode)
    start = WarmStart(session(models_folder, tmp_path, rollout={"turns": turns}))
    shown = start._demonstrations()
    played = [(task, agent, turn) for task in tasks(8) for turn in range(turns) for agent in (0, 1)]
    assert [(item.task, item.agent, item.turn) for item in shown] == [(task.id, *rest) for task, *rest in played]
    assert [len(examples) for examples in start.data] == [8 * turns] * 2


# best of n


def test_best_of_n_picks_the_best_joint_answer(team):
    rollout = Rollout(team, Toy({}), rollout_settings())
    demonstrated = sft.best_of_n(rollout, tasks(4), 5, seed=3)
    toy = Toy({})
    by_task = {}
    for item in demonstrated:
        by_task.setdefault(item.task, {})[item.agent] = item
    seeds = [sft.derive("best_of_n", 3, task.id) for task in tasks(4)]
    for root in rollout.play(tasks(4), seeds, generations=5).roots:
        texts = [by_task[root.task.id][agent].response for agent in (0, 1)]
        assert toy.step(root.task, 0, texts, None).reward == pytest.approx(max(root.rewards))
        assert by_task[root.task.id][1].messages == tuple(root.observations[1])
    assert len(demonstrated) == 8


def test_best_of_n_leaves_out_tasks_without_a_best(team, monkeypatch):
    monkeypatch.setattr("support.toy.checksum", lambda *texts: 0.25)
    with pytest.raises(
        ConfigError, match="no answer better than its task's mean over 3 tasks; raise warm_start.best_of"
    ):
        sft.best_of_n(Rollout(team, Toy({}), rollout_settings()), tasks(3), 4, seed=0)


def test_any_number_of_steps_has_a_schedule():
    for total in range(1, 60):
        optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 1.0, total_steps=total + 1, pct_start=sft.rising_share(total + 1)
        )
        rates = []
        for _ in range(total):
            rates.append(schedule.get_last_lr()[0])
            optimiser.step()
            schedule.step()
        assert rates[0] < 0.1 and all(rate > 0.0 for rate in rates)
        assert total == 1 or 0.9 < max(rates) <= 1.0
