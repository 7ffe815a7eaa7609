"""Protocols in which agents read each other: who reads what, what it costs, and that nobody else does."""

from __future__ import annotations

import pytest
from support.toy import Toy, make_team, rollout_settings, tasks

from collm.training import evaluation
from collm.training.protocols import PROTOCOLS, quoting
from collm.training.rollout import Rollout


@pytest.fixture
def played(models_folder):
    """Plays two episodes with three agents by a protocol."""

    def play(name, turns):
        team = make_team(models_folder, num_agents=3, agents=("tiny",) * 3)
        settings = rollout_settings(turns=turns, max_new_tokens=4)
        rollout = PROTOCOLS.get(name, Rollout)(team, Toy({}, num_agents=3), settings)
        return team, rollout, rollout.play(tasks(2), [1, 2])

    return play


def text(team, prompt):
    return team.agents[0].base.tokenizer.decode(prompt)


def quotation(team, agent, response):
    """What a prompt looks like that quotes a response, as the tokenizer gives it back."""
    return text(team, team.agents[0].base.tokenizer(f"Agent {agent + 1} answered:\n{response.text}")["input_ids"])


@pytest.mark.parametrize("turns", [1, 2])
def test_pipeline_reads_those_before(played, turns):
    team, _, forest = played("pipeline", turns)
    for node in forest.nodes():
        for agent in range(3):
            prompt = text(team, node.prompts[agent])
            assert [f"Agent {other + 1} answered:" in prompt for other in range(3)] == [o < agent for o in range(3)]
            for other in range(agent):
                assert quotation(team, other, node.responses[other][0]) in prompt


def test_discussion_of_one_turn_exchanges_drafts(played):
    team, rollout, forest = played("discussion", 1)
    for node in forest.nodes():
        assert len(node.drafts) == 3
        for agent in range(3):
            prompt = text(team, node.prompts[agent])
            assert "answered" not in text(team, node.drafts[agent].prompt)
            assert [f"Agent {other + 1} answered:" in prompt for other in range(3)] == [o != agent for o in range(3)]
            assert quotation(team, (agent + 1) % 3, node.drafts[(agent + 1) % 3]) in prompt
    spoken = [r for node in forest.nodes() for r in [*node.drafts, *(group[0] for group in node.responses)]]
    assert forest.tokens == sum(len(response.tokens) for response in spoken)
    row = evaluation.sample_rows(rollout, tasks(1), 1, 0, {})[0]
    assert all(4 < count <= 8 for count in row["turns"][0]["tokens"])


def test_discussion_of_more_turns_reads_the_turn_before(played):
    team, _, forest = played("discussion", 2)
    for root in forest.roots:
        (child,) = root.children
        assert root.drafts == child.drafts == []
        for agent in range(3):
            assert "answered" not in text(team, root.prompts[agent])
            prompt = text(team, child.prompts[agent])
            for other in range(3):
                assert (quotation(team, other, root.responses[other][0]) in prompt) == (other != agent)


def test_without_a_protocol_nobody_reads_anybody(played):
    team, _, forest = played("parallel", 2)
    assert not any("answered" in text(team, prompt) for node in forest.nodes() for prompt in node.prompts)


def test_what_others_said_never_enters_an_agents_own_history(played):
    for name in PROTOCOLS:
        _, _, forest = played(name, 2)
        contents = [m["content"] for node in forest.nodes() for messages in node.observations for m in messages]
        assert not any("answered:" in content for content in contents)


def test_response_times(played):
    times = {}
    for name in ("parallel", "pipeline", "discussion"):
        _, rollout, forest = played(name, 1)
        node = forest.roots[0]
        own = [group[0].seconds for group in node.responses]
        times[name] = rollout.seconds(node)
        expected = {"parallel": max(own), "pipeline": sum(own)}
        expected["discussion"] = max(own) + max((draft.seconds for draft in node.drafts), default=0.0)
        assert times[name] == pytest.approx(expected[name])


def test_quoting_stands_at_the_end_of_the_last_message():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert quoting(messages, {}) == messages
    quoted = quoting(messages, {0: "one", 2: "three"})
    assert quoted[0] == messages[0]
    assert quoted[1] == {"role": "user", "content": "U\n\nAgent 1 answered:\none\n\nAgent 3 answered:\nthree"}
    assert messages[1]["content"] == "U"
