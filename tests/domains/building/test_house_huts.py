"""HouseBuild's huts and brief wording, for models made from scratch: what is built, asked, answered and refused."""

import random

import pytest

from collm.common.errors import ConfigError
from collm.domains.base import Exchange
from collm.domains.building.house_build import HouseBuild
from collm.domains.building.house_world import solid_boxes

BRIEF = {"wording": "brief", "generated": 40, "shapes": "huts"}


def huts(options=None, profile="paper", agents=2, seed=0):
    domain = HouseBuild({**BRIEF, **(options or {})}, profile, agents)
    return domain, [domain.task(row, index) for index, row in enumerate(domain.embedded(seed)["generated"])]


def test_huts_are_a_floor_a_wall_and_sometimes_a_pillar():
    domain, tasks = huts()
    boxes = [solid_boxes(domain.house(task)) for task in tasks]
    assert {len(each) for each in boxes} == {2, 3}
    for each, task in zip(boxes, tasks, strict=True):
        blocks = [box.block for box in each]
        assert len(set(blocks)) == len(blocks) and set(blocks) == set(domain.house(task).inventory)
        assert all(high <= 2 for high in domain.house(task).high)


def test_a_seed_gives_the_same_distinct_huts_and_more_only_append():
    domain, tasks = huts()
    assert len({domain.key(task) for task in tasks}) == 40
    assert tasks == huts()[1] and tasks[:20] == huts({"generated": 20})[1]
    assert tasks != huts(seed=1)[1]
    houses = HouseBuild({"generated": 2}).embedded(0)["generated"]
    assert [row.fields["variant"] for row in houses] != ["hut", "hut"]


def test_more_huts_than_there_are_is_an_error():
    domain = HouseBuild({"generated": 100_000, "shapes": "huts"})
    with pytest.raises(ConfigError, match="found only [0-9]+ different huts; ask for fewer"):
        domain.embedded(0)


def test_a_brief_prompt_is_boxes_spiders_and_who_one_is():
    domain, tasks = huts()
    task = domain.task(domain.embedded(0)["generated"][3], 3)
    world = domain.start(task, 0)
    first, second = (
        domain.observe(task, agent, 0, (), told) for agent, told in enumerate(domain.briefing(task, world))
    )
    boxes = "0 0 0 0 0 1 planks\n1 0 0 1 0 1 planks\n0 1 1 0 1 1 oak_log\n1 1 1 1 1 1 oak_log\n"
    attacks = " + ".join(str(attack) for attack, _ in world["spiders"])
    assert first == [{"role": "user", "content": f"{boxes}Spiders: {attacks}.\nBuilder 1.\n"}]
    assert second == [{"role": "user", "content": f"{boxes}Spiders: {attacks}.\nBuilder 2.\n"}]
    history = [Exchange(first, "/fill 0 0 0 0 0 1 planks")]
    (later,) = domain.observe(task, 0, 1, history, {"spiders": []})
    assert later["content"] == f"Turn 2.\nYour last reply:\n/fill 0 0 0 0 0 1 planks\n{boxes}Builder 1.\n"


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("profile", ["paper", "released"])
def test_what_is_practised_is_what_is_asked_and_its_best_answer(profile, agents):
    domain, tasks = huts({}, profile, agents)
    for task in tasks:
        texts = domain.corpus(task, random.Random(1))
        assert len(texts) == 4 * agents
        world = domain.start(task, 0)
        world = {**world, "spiders": [[3, 4]], "fresh": [[3, 4]]}
        answers = []
        for agent, text in enumerate(texts[:agents]):
            spiders = text.split("Spiders: ")[1].splitlines()[0]
            told = {"spiders": [(int(attack), 4) for attack in spiders.rstrip(".").split(" + ")]}
            asked = domain.observe(task, agent, 0, (), told)[0]["content"]
            assert text.startswith(asked)
            answers.append(text.removeprefix(asked))
        step = domain.step(task, 0, answers, world)
        assert step.reward == domain.max_reward and step.metrics["hp"] == 100.0


def test_brief_demonstrations_replay_an_episode():
    domain, tasks = huts()
    demos = domain.demonstrations(tasks[0], random.Random(3), 0.5)
    state = domain.start(tasks[0], random.Random(3).getrandbits(32))
    messages = domain.briefing(tasks[0], state)
    for turn in range(4):
        now = [demo for demo in demos if demo.turn == turn]
        for demo in now:
            before = [other for other in demos if other.agent == demo.agent and other.turn < turn]
            history = [Exchange(other.messages, other.response) for other in before]
            assert list(demo.messages) == domain.observe(tasks[0], demo.agent, turn, history, messages[demo.agent])
        step = domain.step(tasks[0], turn, [demo.response for demo in now], state)
        state, messages = step.world, step.feedback


def test_unknown_wordings_and_shapes_are_refused():
    with pytest.raises(ConfigError, match="Allowed: brief, full"):
        HouseBuild({"wording": "short"})
    with pytest.raises(ConfigError, match="Allowed: houses, huts"):
        HouseBuild({"shapes": "tents"})
