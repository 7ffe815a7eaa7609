"""Runs that are made to fail, each in its own way, and one that does well: what is remarked at their end."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from support.runs import session, stop_after
from support.toy import Toy, tasks, team_settings

from collm.common.errors import Interrupted
from collm.domains.base import Step
from collm.llm import sources
from collm.runs import health, health_remarks
from collm.training.trainer import Trainer
from collm.training.warm_start import WarmStart

SPEC = {"source": "scratch", "layers": 2, "hidden": 32, "heads": 2, "vocabulary": 320, "context": 256}
PRETRAIN = {"steps": 100, "batch_size": 8, "window": 48, "rows": "joined", "learning_rate": 1e-2}


class Chorus(Toy):
    """Agents are to say "red" again and again: the reward is the sum of their shares of such words."""

    def step(self, task, turn, joint_action, world):
        texts = self.check_joint_action(joint_action)
        parts = {str(agent): self.earned(text.split()) for agent, text in enumerate(texts)}
        reward = sum(parts.values())
        return Step(parts, reward, {"score": reward}, (0.0,) * len(texts), {"turns": turn + 1}, {"texts": texts})

    def earned(self, words):
        return words.count("red") / len(words) if words else 0.0

    def understands(self, task, agent, answer):
        return "red" in answer


class Deaf(Chorus):
    """Whatever is said earns the same."""

    def earned(self, words):
        return 0.5


class Easy(Chorus):
    """One "red" is enough, which nearly every response has."""

    def earned(self, words):
        return float("red" in words)


class Foreign(Chorus):
    """What is asked for is a word that the model does not know."""

    def understands(self, task, agent, answer):
        return "green" in answer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model that has read the prompts of the toy domain, each with some words after it, mostly "red"."""
    root, draw, toy = tmp_path_factory.mktemp("models"), random.Random(0), Toy({})
    texts = []
    for task in tasks(8) * 20:
        for agent in (0, 1):
            said = draw.choices(("red", "blue"), (4, 1), k=draw.randint(1, 4))
            texts.append(" ".join([toy.observe(task, agent, 0, (), None)[0]["content"], *said]))
    sources.make("tiny", {**SPEC, "pretrain": PRETRAIN}, root / "tiny", texts, 0, root / "lock.json")
    return root


def prepared(models, root, domain=Chorus, rollout=None, adapter="lora", **changes):
    """A run of one turn on plain prompts."""
    setup = session(models, root, rollout={"turns": 1, "max_new_tokens": 8, **(rollout or {})}, **changes)
    job = dataclasses.replace(setup.job, team=team_settings(chat_template=False, adapter=adapter))
    return dataclasses.replace(setup, job=job, domain=domain({}))


def lines_of(root):
    return [json.loads(line) for line in (root / "results" / "metrics.jsonl").read_text().splitlines()]


def trained(models, root, start=None, **changes):
    """The lines of a run, and the texts of its remarks by their names."""
    setup = prepared(models, root, **changes)
    Trainer(setup, start).run()
    lines = lines_of(root)
    found = health_remarks.remarks(health.summary(lines), setup.job.raw)
    return lines, {remark.name: remark.text for remark in found}


MONTE_CARLO = {"method": "magrpo", "rollout": {"generations": 4}}


def test_a_run_that_does_well(models, tmp_path):
    learning = {"agent_learning_rate": 3e-3, "epochs": 5, "tasks_per_rollout": 8, "minibatch_size": 32}
    changes = {"method": "magrpo", "rollout": {"generations": 8}}
    lines, found = trained(models, tmp_path, **changes, training=learning)
    ours = health.summary(lines)
    assert ours.reward.last > ours.reward.first + 0.3
    assert ours.training_reward.last > ours.training_reward.first
    assert not {"entropy grew", "below its start", "zero advantages", "constant reward", "did not move"} & set(found)
    assert not {"responses are cut", "no answers"} & set(found)


def test_an_absurd_learning_rate(models, tmp_path):
    lines, found = trained(models, tmp_path, training={"agent_learning_rate": 0.3})
    ours = health.summary(lines)
    assert ours.reward.last < ours.reward.first
    assert "the policy dissolves into noise. Lower training.agent_learning_rate (0.3 now)" in found["entropy grew"]
    assert "training.td_lambda (0 now) nearer to 1" in found["entropy grew"]
    assert f"fell from {ours.reward.first:.3g} to {ours.reward.last:.3g}" in found["entropy grew"]
    assert "below its start" not in found  # is said already
    assert "(KL " in found["left its start"] and min(ours.kl_to_start.values()) > 1
    assert "training unlearns the form" in found["no answers"]
    assert "rollout.max_new_tokens (8 now)" in found["responses are cut"]


@pytest.mark.parametrize("method", ["magrpo", "collm_cc"])
def test_a_constant_reward(models, tmp_path, method):
    changes = {"method": method, "rollout": {"generations": 4 if method == "magrpo" else 1}}
    lines, found = trained(models, tmp_path, domain=Deaf, training={"advantage_floor": 1e-3}, **changes)
    assert "every rollout had a mean reward of 1:" in found["constant reward"]
    assert {"zero advantages", "critic explains nothing", "below its start"}.isdisjoint(found)
    if method == "magrpo":
        assert set(health.summary(lines).zero_advantages.values()) == {1.0}


def test_a_reward_without_contrast(models, tmp_path):
    _, found = trained(models, tmp_path, domain=Easy, method="magrpo", rollout={"generations": 2})
    assert "all samples of these groups earned the same" in found["zero advantages"]
    assert "rollout.generations (2 now)" in found["zero advantages"]


def test_too_few_new_tokens(models, tmp_path):
    lines, found = trained(models, tmp_path, rollout={"max_new_tokens": 1})
    assert "are cut at rollout.max_new_tokens (1 now)" in found["responses are cut"]
    rollout = next(line for line in lines if line["event"] == "rollout")
    assert rollout["invalid/agent_0"] >= rollout["cut_responses/agent_0"] > 0.5


def test_a_rate_that_moves_nothing(models, tmp_path):
    _, found = trained(models, tmp_path, **MONTE_CARLO, training={"agent_learning_rate": 1e-9})
    assert "training.agent_learning_rate (1e-09 now)" in found["did not move"]
    assert "left its start" not in found


@pytest.mark.parametrize(
    "rate, name, advice",
    [
        (1e-9, "critic explains nothing", "Give it more critic steps per policy step, training.critic_steps"),
        (0.1, "critic worse than none", "Lower training.critic_learning_rate (0.1 now)"),
    ],
)
def test_a_critic_that_does_not_learn(models, tmp_path, rate, name, advice):
    learning = {"critic_learning_rate": rate, "epochs": 10, "tasks_per_rollout": 8, "minibatch_size": 8}
    _, found = trained(models, tmp_path, training=learning)
    assert advice in found[name] and "training.td_lambda (0 now) nearer to 1" in found[name]


def test_answers_that_cannot_be_read(models, tmp_path):
    lines, found = trained(models, tmp_path, domain=Foreign)
    assert "Teach the form first, warm_start.epochs" in found["no answers"]
    rollout = next(line for line in lines if line["event"] == "rollout")
    assert rollout["unparsed/agent_0"] + rollout["empty/agent_0"] == rollout["invalid/agent_0"] == 1.0


def test_a_run_that_goes_on_measures_from_the_same_start(models, tmp_path, monkeypatch):
    WarmStart(prepared(models, tmp_path / "warm", warm_start={"epochs": 1})).run()
    start = tmp_path / "warm" / "results" / "adapters"
    whole, _ = trained(models, tmp_path / "whole", start=start, **MONTE_CARLO)
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(Interrupted):
            trained(models, tmp_path / "parts", start=start, **MONTE_CARLO)
    parts, _ = trained(models, tmp_path / "parts", start=start, **MONTE_CARLO)
    distances = [
        [line["kl_to_start/agent_0"] for line in lines if line["event"] == "evaluation"] for lines in (whole, parts)
    ]
    assert distances[0] == distances[1] and distances[0][0] == 0.0 != distances[0][-1]


def test_whole_copies_are_not_measured(models, tmp_path):
    lines, _ = trained(models, tmp_path, method="magrpo", rollout={"generations": 2}, adapter="full")
    assert any(line["event"] == "evaluation" for line in lines)
    assert not any(name.startswith("kl_to_start") for line in lines for name in line)
