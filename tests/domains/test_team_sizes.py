"""How many agents a domain is built for: the number that is asked for, else what its class says."""

import itertools
import random

import pytest
from support.toy import Toy

from collm import domains
from collm.common.errors import ConfigError
from collm.domains import trial
from collm.domains.building import str_build_expert
from collm.domains.choice.protocol import Reply, joint
from collm.domains.writing import reward

ANY = [name for name in domains.NAMES if domains.get(name).team_sizes is None]
PROBLEMS = {"generated": 4, "difficulty": [2], "wording": "brief"}
CODING = ("coophe", "humaneval", "mbpp")
GENERATED = dict.fromkeys(CODING, PROBLEMS) | {
    "str_build": {"generated": 8, "difficulty": [0], "wording": "brief"},
    "house_build": {"generated": 2},
}


class Three(Toy):
    """Three agents and no other number."""

    name = "three"
    team_sizes = (3,)


@pytest.mark.parametrize("name", domains.NAMES)
def test_every_domain_is_built_for_its_own_team_if_nothing_is_said(name):
    kind = domains.get(name)
    assert kind({}).num_agents == len(kind({}).roles) == kind.team_size()


def test_the_team_of_a_class_follows_from_its_sizes():
    assert (Three.team_size(), Three({}).num_agents) == (3, 3)
    assert (Toy.team_size(), Toy({}).num_agents, Toy({}, num_agents=5).num_agents) == (2, 2, 5)
    with pytest.raises(ConfigError, match=r"three: 2 agents .* allowed are 3 \(domain\.three\.team\.num_agents\)"):
        Three({}, num_agents=2)


def test_which_benchmarks_take_a_team_of_any_size():
    assert ANY == list(domains.NAMES)


def first_tasks(domain, count=2):
    splits = domain.embedded(0)
    if domain.name in CODING and "generated" in splits:  # under `released` not all of HumanEval's own can be solved
        splits = {"generated": splits["generated"]}
    for rows in splits.values():
        yield from (domain.task(row, index) for index, row in enumerate(rows[:count]))


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("agents", [3, 4])
@pytest.mark.parametrize("name", ANY)
def test_scripted_teams_earn_nearly_all_there_is(name, agents, profile):
    domain = domains.get(name)(GENERATED.get(name, {}), profile, agents)
    assert len(domain.roles) == len(set(domain.roles)) == agents
    for task in first_tasks(domain):
        shown = [item for item in domain.demonstrations(task, random.Random(0), 0.0) if item.turn == 0]
        assert [item.agent for item in shown] == [*range(agents)]
        assert all(item.response.strip() for item in shown)
        step = domain.step(task, 0, [item.response for item in shown], domain.start(task, 0))
        assert 0.95 * domain.max_reward <= step.reward <= domain.max_reward + 1e-12


@pytest.mark.parametrize("name", ["arxiv", "algebra", "str_build", "house_build", "coophe"])
def test_three_agents_keep_the_contract(name, monkeypatch):
    monkeypatch.setattr(trial, "ROWS", 1)
    short = {label: None if text is None else text[:2000] for label, text in trial.HOSTILE.items()}
    monkeypatch.setattr(trial, "HOSTILE", short)
    assert trial.problems(domains.get(name), {}, (3,)) == []


@pytest.mark.parametrize("name", ANY)
def test_agents_of_three_see_prompts_of_their_own(name):
    domain = domains.get(name)({}, num_agents=3)
    task = next(first_tasks(domain))
    briefing = domain.briefing(task, domain.start(task, 0))
    prompts = [str(domain.observe(task, agent, 0, (), briefing[agent])) for agent in range(3)]
    assert len(set(prompts)) >= 2
    assert not any("the other builder " in prompt or "you two" in prompt for prompt in prompts)


# choice

REPLIES = [Reply(None, 0, False), *(Reply(option, sure, True) for option in (0, 1) for sure in (1, 3, 5))]


def test_two_voters_decide_as_solver_and_checker_did():
    for first, second in itertools.product(REPLIES, repeat=2):
        given = [reply for reply in (first, second) if reply.option is not None]
        before = max(given, key=lambda reply: reply.confidence).option if given else None
        assert joint([first, second]) == before


@pytest.mark.parametrize(
    ("replies", "answer"),
    [
        ([(0, 5), (1, 1), (1, 1)], 1),  # two votes beat one of any confidence
        ([(0, 2), (1, 3), (2, 1)], 1),  # one vote each: the most confident
        ([(2, 3), (1, 3), (0, 3)], 2),  # and of those the first
        ([(0, 1), (0, 2), (1, 5), (1, 1)], 1),  # two votes each: where the most confident one is
        ([(None, 0), (None, 0), (3, 1)], 3),
        ([(None, 0)] * 3, None),
    ],
)
def test_more_voters_decide_by_votes_then_confidence(replies, answer):
    assert joint([Reply(option, confidence, True) for option, confidence in replies]) == answer


# building


@pytest.mark.parametrize("agents", [3, 4, 5])
def test_builders_share_the_letters_out(agents):
    domain = domains.get("str_build")({}, num_agents=agents)
    for task in first_tasks(domain, 10):
        grid = domain.grid(task)
        shares = str_build_expert.plan(grid, domain.blocks)
        assert {cell for share in shares for cell, _ in share} == set(grid.targets)
        assert all(shares) and len(shares) == agents
        assert all(block in domain.blocks[agent] for agent, share in enumerate(shares) for _, block in share)


def test_three_builders_share_quotas_and_commands():
    domain = domains.get("house_build")({}, num_agents=3)
    for task in first_tasks(domain, 10):
        house = domain.house(task)
        for block, quota in domain.quotas(house).items():
            need = sum(there == block for _, there in house.solid)
            assert quota == -(-need // 3) + need // 6
            assert need <= 3 * quota
    assert sum(domain.limits) == 600


# writing


def test_two_texts_are_scored_as_published_and_a_bridge_by_both_sides():
    cascade = domains.get("arxiv").cascades["paper"]
    texts = ["alpha beta gamma delta", "alpha beta gamma eps", "alpha beta gamma delta zeta"]
    first, second = reward.measure(*texts[:2], cascade), reward.measure(texts[0], texts[2], cascade)
    assert reward.measure_all(texts[:2], cascade) == [first]
    assert reward.score_all([first], cascade) == reward.score(first, cascade)
    pairs = reward.measure_all(texts, cascade)
    assert pairs[0] == first
    assert (second.jaccard, pairs[1].jaccard) == (4 / 5, 3 / 6)  # the bridge shares fewer words with the second text
    assert pairs[1].length_ratio == second.length_ratio


def test_parts_of_three_texts_are_means_over_the_pairs():
    domain = domains.get("tldr")({}, num_agents=3)
    task = next(first_tasks(domain))
    good = [item.response for item in domain.demonstrations(task, random.Random(0), 0.0)]
    whole, half = domain.step(task, 0, good, None), domain.step(task, 0, [*good[:2], ""], None)
    assert (whole.reward, half.reward) == pytest.approx((3.0, 1.5), abs=0.05)
    assert half.record["level_reached"] == 1
    inputs = {f"completion{number}": text for number, text in enumerate(good, start=1)}
    assert domain.score_case(inputs)[0] == whole.reward
