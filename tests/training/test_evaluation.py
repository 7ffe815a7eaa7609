"""The evaluation protocol: every task, n episodes, last turn counts, the slowest agent sets the response time."""

from __future__ import annotations

import dataclasses

import pytest
from support.toy import Toy, make_team, rollout_settings, tasks

from collm.common.seeds import derive
from collm.methods import monte_carlo
from collm.training import evaluation
from collm.training.rollout import Rollout, cut_shares


@pytest.fixture(scope="module")
def team(models_folder):
    return make_team(models_folder)


def rows_of(team, batch=64, samples=3, count=2, seed=0, **changes):
    rollout = Rollout(team, Toy({}), rollout_settings(**{"turns": 2, "generations": 4, **changes}))
    return evaluation.sample_rows(rollout, tasks(count), samples, seed, {"method": "m"}, batch)


def test_one_row_per_episode(team):
    rows = rows_of(team)
    assert [(row["task"], row["sample"]) for row in rows] == [(f"toy-{t}", s) for t in (0, 1) for s in (0, 1, 2)]
    toy = Toy({})
    for row in rows:
        assert row["method"] == "m"
        assert [turn["turn"] for turn in row["turns"]] == [0, 1]
        for turn in row["turns"]:
            expected = toy.step(tasks(2)[int(row["task"][-1])], turn["turn"], turn["responses"], None)
            assert turn["reward"] == pytest.approx(expected.reward)
            assert turn["parts"] == expected.parts
        last = row["turns"][-1]
        assert (row["reward"], row["metrics"]) == (last["reward"], last["metrics"])
        assert row["record"] == {"texts": last["responses"]}
        counts = [count for turn in row["turns"] for count in turn["tokens"]]
        assert len(counts) == 4 and row["tokens"] == sum(counts) / 4
    assert len({row["turns"][0]["responses"][0] for row in rows}) == 6


def test_rewards_are_raw(team):
    assert [row["reward"] for row in rows_of(team, reward_shift=-5.0, reward_scale=3.0)] == [
        row["reward"] for row in rows_of(team)
    ]


@pytest.mark.parametrize("mode", ["every_turn", "last_turn"])
def test_returns_are_those_of_training(team, mode):
    """Of the journal: the same that Monte Carlo methods learn from, whatever is paid."""
    settings = rollout_settings(turns=2, reward=mode, reward_shift=-5.0, reward_scale=3.0, discount=0.9)
    rollout = Rollout(team, Toy({}), settings)
    roots = []
    rows = evaluation.sample_rows(rollout, tasks(2), 2, 0, {}, note=roots.extend)
    returns = [monte_carlo.G(root, 0.9)[0] for root in roots]
    line = evaluation.journal_row(rows, 0, settings, iteration=3)
    assert line["return"] == pytest.approx(sum(returns) / 4) and (line["event"], line["iteration"]) == ("evaluation", 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_do_not_change_the_rows(team, batch):
    assert rows_of(team, batch) == rows_of(team)


def test_samples_do_not_depend_on_how_many_there_are(team):
    few, many = rows_of(team, samples=1), rows_of(team, samples=3)
    assert few == [row for row in many if row["sample"] == 0]
    assert rows_of(team, seed=1) != many


def test_early_stop_counts_the_turn_that_was_reached(team):
    rows = rows_of(team, early_stop=-1.0)
    assert all(len(row["turns"]) == 1 for row in rows)


def test_summary(team):
    rows = rows_of(team)
    summary = evaluation.summary(rows, examples=2)
    assert summary["reward"] == pytest.approx(sum(row["reward"] for row in rows) / 6)
    assert summary["metrics"] == {"score": pytest.approx(summary["reward"])}
    assert summary["episodes"] == 6
    assert [example["responses"] for example in summary["examples"]] == [r["turns"][-1]["responses"] for r in rows[:2]]


def test_latency_is_that_of_the_slowest_agent(team, monkeypatch):
    rollout = Rollout(team, Toy({}), rollout_settings(turns=2, decode="sequential"))
    real = team.respond

    def respond(requests, *arguments):
        answers = real(requests, *arguments)
        return [
            [dataclasses.replace(response, seconds=float(1 + agent)) for response in group]
            for (agent, _, _), group in zip(requests, answers, strict=True)
        ]

    monkeypatch.setattr(team, "respond", respond)
    assert evaluation.latency(rollout, tasks(3), 0) == {
        "seconds": 2.0,
        "per_task": [2.0, 2.0, 2.0],
        "tasks": 3,
        "turns": 6,
    }
    assert evaluation.latency(rollout, [], 0) == {"seconds": None, "per_task": [], "tasks": 0, "turns": 0}


def test_what_was_cut_is_in_rows_and_summary(models_folder):
    """Prompts that were cut to fit and responses that had not ended, per agent; none is silent."""

    class Lengthy(Toy):
        def observe(self, task, agent, turn, history, feedback):
            text = "red fox " * 300 if agent == 1 and task.id == "toy-0" else "red"
            return [{"role": "user", "content": text}]

    team = make_team(models_folder)
    rollout = Rollout(team, Lengthy({}), rollout_settings())
    rows = evaluation.sample_rows(rollout, tasks(4), 1, 0, {})
    turns = [turn for row in rows for turn in row["turns"]]
    assert [turn["cut_prompts"] for turn in turns] == [[False, True], *[[False, False]] * 3]
    played = rollout.play(tasks(4), [derive("evaluation", 0, task.id, 0) for task in tasks(4)], generations=1).nodes()
    ended = [[group[0].ended for group in node.responses] for node in played]
    assert [turn["cut_responses"] for turn in turns] == [[not end for end in pair] for pair in ended]
    summary = evaluation.summary(rows)
    assert (summary["cut_prompts/agent_0"], summary["cut_prompts/agent_1"]) == (0.0, 0.25)
    assert summary["cut_responses/agent_1"] == sum(not pair[1] for pair in ended) / 4
    shares = cut_shares(played)
    assert shares == {name: summary[name] for name in shares} and len(shares) == 4


def test_rows_hold_what_agents_were_shown_and_told(team):
    """Messages, the text that the model read, feedback and worlds, of the first samples of a task alone."""
    rollout = Rollout(team, Toy({}), rollout_settings(turns=2))
    rows = evaluation.sample_rows(rollout, tasks(2), 3, 0, {}, shown=1)
    plain = evaluation.sample_rows(rollout, tasks(2), 3, 0, {})
    more = {"observations", "prompts", "feedback", "world"}
    for row, without in zip(rows, plain, strict=True):
        for turn, bare in zip(row["turns"], without["turns"], strict=True):
            assert set(turn) - set(bare) == (more if row["sample"] == 0 else set())
            assert {key: value for key, value in turn.items() if key not in more} == bare
    first, second = rows[0]["turns"]
    assert [messages[0]["content"] for messages in first["observations"]] == [
        f"word {tasks(1)[0].fields['word']}, agent {agent}, turn 0" for agent in (0, 1)
    ]
    for agent, prompt in enumerate(second["prompts"]):
        assert second["observations"][agent][0]["content"] in prompt
        assert f"told {first['feedback'][agent]}" in prompt and first["responses"][agent] in prompt
    assert (first["world"], first["faults"]) == ({"turns": 1}, [None, None])
    assert evaluation.sample_rows(rollout, tasks(2), 3, 0, {}, shown=None)[-1]["turns"][0].keys() >= more


def test_examples_are_whole_episodes(team):
    rollout = Rollout(team, Toy({}), rollout_settings(turns=2))
    rows = evaluation.sample_rows(rollout, tasks(2), 1, 0, {}, shown=None)
    examples = evaluation.summary(rows, examples=1)["examples"]
    assert [example["turns"] for example in examples] == [rows[0]["turns"]]
    assert (examples[0]["task"], examples[0]["sample"], examples[0]["metrics"]) == ("toy-0", 0, rows[0]["metrics"])
