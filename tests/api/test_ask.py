"""Episodes of questions: all turns, and nothing claimed where no reward can be computed."""

from __future__ import annotations

import pytest
from support.configurations import DEFAULT

from collm.api.ask import Asked
from collm.api.trained import TrainedTeam
from collm.config.load import load_config
from collm.config.resolve import resolve_job

BOTH = "Which is a fruit?\nA) stone\nB) apple"


@pytest.fixture(scope="module")
def asked(models_folder):
    """Untrained teams of several domains on one random model."""
    teams = {}

    def of(domain, method="parallel", **rollout):
        if (domain, method) not in teams:
            played = {"rollout": {"max_new_tokens": 4, **rollout}, "team": {"max_prompt_tokens": 200}}
            config = load_config([DEFAULT], {"domain": {domain: played}})
            job = resolve_job(config, domain, method)
            team = TrainedTeam(models_folder, job, 0, None, {"scratch": models_folder / "tiny"}, None)
            teams[domain, method] = Asked(team, "cpu")
        return teams[domain, method]

    return of


def test_all_turns_are_played(asked):
    answer = asked("str_build").ask("CAT")
    assert len(answer.turns) == 2 and answer.unscored is None and "== turn 2 ==" in str(answer)
    assert answer.reward == pytest.approx(sum(answer.turns[1].parts.values()))
    assert answer == asked("str_build").ask("cat") and answer != asked("str_build").ask("cat", seed=1)


def test_a_question_without_its_answer_earns_nothing_and_is_played_to_the_end(asked):
    team = asked("medicine")
    answer, told = team.ask(BOTH), team.ask(f"{BOTH}\nAnswer: B")
    assert answer.reward is None and answer.turns[0].parts is None and "no reward: " in str(answer)
    assert [turn.answers for turn in answer.turns] == [turn.answers for turn in told.turns] and len(told.turns) == 2
    assert told.reward is not None and told.unscored is None


def test_a_function_without_tests_is_answered_and_nothing_is_run(asked, monkeypatch):
    team = asked("humaneval", turns=2)
    monkeypatch.setattr(team.domain, "ready", lambda *_: pytest.fail("a sandbox was started"))
    monkeypatch.setattr(team.domain, "steps", lambda *_: pytest.fail("a program was run"))
    answer = team.ask('def double(x):\n    """Twice x."""')
    assert len(answer.turns) == 1 and answer.reward is None and "assert f(2) == 4" in answer.unscored
    assert "only the first turn" in str(answer) and list(answer.texts) == ["aux", "main"]


def test_one_agent_alone_and_agents_that_read_each_other_can_be_asked(asked):
    assert list(asked("tldr", "raw").ask("My dog ate my shoe.").texts) == ["writer"]
    assert list(asked("tldr", "pipeline").ask("My dog ate my shoe.").texts) == ["summariser", "elaborator"]
