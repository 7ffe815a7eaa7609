"""The distance from the start: by hand from log-probabilities, without a trace in the team."""

from __future__ import annotations

import pytest
import torch
from support.toy import Toy, make_team, numbers, rollout_settings, tasks

from collm.training import start_policy
from collm.training.rollout import Rollout, fault_shares
from collm.training.start_policy import StartPolicy

TASKS = tasks(4)


def play(team, count=4, generations=1, **changes):
    rollout = Rollout(team, Toy({}), rollout_settings(**{"turns": 2, **changes}))
    return rollout.play(TASKS[:count], list(range(count)), generations).roots


def moved(team, size=0.05):
    """Change every adapter of the agents at random."""
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for agent in team.agents:
            for name, part in agent.parameters():
                if "lora_" in name:
                    part.add_(size * torch.randn(part.shape, generator=draw))


def logprobs(team, roots, count):
    """[agent] (sum of log pi, tokens) over a response of each of `count` episodes, turns taking it in turn."""
    sums = []
    for agent in range(len(team.agents)):
        turns = [list(root.walk()) for root in roots[:count]]
        said = [nodes[place % 2].responses[agent][0] for place, nodes in enumerate(turns)]
        total = sum(team.logprobs(agent, [(one.prompt, one.tokens)])[0].item() for one in said)
        sums.append((total, sum(len(one.tokens) for one in said)))
    return sums


@pytest.mark.parametrize("critics, samples, count", [(None, 32 * 3 + 1, 3), ("shared", 10_000, 4), (None, 1, 2)])
def test_the_distance_by_hand(models_folder, critics, samples, count):
    team = make_team(models_folder, critics)
    start = StartPolicy(team, [task.id for task in TASKS], budget=64)
    twin = make_team(models_folder, critics)  # stays where both began
    moved(team)
    roots = play(team)
    start.note(roots)
    before = numbers(team)
    with torch.no_grad():
        now, then = logprobs(team, roots, count), logprobs(twin, roots, count)
    found = start.distance(samples)
    for agent in (0, 1):
        expected = (now[agent][0] - then[agent][0]) / now[agent][1]
        assert found[f"kl_to_start/agent_{agent}"] == pytest.approx(expected, abs=1e-5)
        assert abs(expected) > 1e-3
    assert all(torch.equal(before[name], after) for name, after in numbers(team).items())


def test_the_start_is_at_no_distance_from_itself(models_folder):
    team = make_team(models_folder)
    start = StartPolicy(team, [task.id for task in TASKS], budget=4096)
    start.note(play(team))
    assert start.distance(128) == {"kl_to_start/agent_0": 0.0, "kl_to_start/agent_1": 0.0}


def test_before_anything_is_learnt_nothing_is_scored(models_folder, monkeypatch):
    team = make_team(models_folder)
    start = StartPolicy(team, [task.id for task in TASKS], budget=4096)
    start.note(play(team))
    monkeypatch.setattr(team, "logprobs", None)
    assert start.distance(0) == {"kl_to_start/agent_0": 0.0, "kl_to_start/agent_1": 0.0}


def test_the_first_episode_of_the_first_tasks_counts_and_only_once(models_folder, monkeypatch):
    monkeypatch.setattr(start_policy, "MOST", 2)
    team = make_team(models_folder)
    start = StartPolicy(team, [task.id for task in TASKS], budget=4096)
    moved(team)
    first, second = play(team, temperature=1.0), play(team, temperature=2.0)
    start.note(first[:1])
    start.note([*first[1:], *second])
    found = start.distance(128)
    again = StartPolicy(make_team(models_folder), [task.id for task in TASKS], budget=4096)
    again.team = team
    again.note(first[:2])
    assert found == again.distance(128)
    start.note(second)
    assert start.distance(128) != found  # what was noted before is forgotten


def test_an_error_within_leaves_the_present_adapters(models_folder, monkeypatch):
    team = make_team(models_folder)
    start = StartPolicy(team, [task.id for task in TASKS], budget=4096)
    moved(team)
    start.note(play(team))
    before, real, calls = numbers(team), team.logprobs, []

    def fail(*arguments, **more):
        calls.append(1)
        if len(calls) == 2:  # the first pass with the adapters of the start
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(team, "logprobs", fail)
    with pytest.raises(KeyboardInterrupt):
        start.distance(128)
    assert all(torch.equal(before[name], after) for name, after in numbers(team).items())


class Picky(Toy):
    def understands(self, task, agent, answer):
        return agent == 1 or "a" in answer


def test_shares_of_responses_that_are_no_answers(models_folder):
    team = make_team(models_folder)
    nodes = [node for root in play(team, generations=3, max_new_tokens=4) for node in root.walk()]
    shares = fault_shares(Picky({}), nodes)
    for agent in (0, 1):
        said = [response for node in nodes for response in node.responses[agent]]
        texts = [response.text for response in said]
        empty = [not text.strip() for text in texts]
        unparsed = [agent == 0 and not blank and "a" not in text for text, blank in zip(texts, empty, strict=True)]
        cut = [not response.ended for response in said]
        invalid = [any(one) for one in zip(empty, unparsed, cut, strict=True)]
        assert shares[f"empty/agent_{agent}"] == sum(empty) / len(said)
        assert shares[f"unparsed/agent_{agent}"] == sum(unparsed) / len(said)
        assert shares[f"invalid/agent_{agent}"] == sum(invalid) / len(said) > 0
    assert shares["unparsed/agent_0"] > 0 == shares["unparsed/agent_1"]
