"""HouseBuild: scripted builders, generated houses, data and malformed rows."""

import copy
import json
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.houses import HUT, PAPER, first_turn, hut, published

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains.base import Exchange, RawRow
from collm.domains.building.house_build import HouseBuild
from collm.domains.building.house_expert import plan
from collm.domains.building.house_feedback import MODES
from collm.domains.building.house_generator import further_houses
from collm.domains.building.house_rows import content_key, house_fields, house_of
from collm.domains.building.house_world import Box, layer_rectangles, quotas, solid_boxes

# --- scripted builders ---


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("world_option", ["reset", "persistent"])
def test_clean_demonstrations_reach_the_maximum_at_every_turn(profile, agents, world_option):
    domain = HouseBuild({"generated": 30, "world": world_option}, profile, agents)
    rows = domain.embedded(3)
    for index, row in enumerate(rows["paper"] + rows["generated"]):
        task = domain.task(row, index)
        state = domain.start(task, index)
        demos = domain.demonstrations(task, random.Random(0), 0.0)
        for turn in range(4):
            step = domain.step(task, turn, [demo.response for demo in demos if demo.turn == turn], state)
            assert step.reward == pytest.approx(domain.max_reward) and step.metrics["hp"] == 100.0
            assert sum(step.record["rejected"]) == 0
            state = step.world


def test_the_plan_alternates_the_door_and_keeps_the_quotas():
    for task in published():
        house = PAPER.house(task)
        allowed = quotas(house, 2)
        shares = plan(house, 2, allowed)
        assert [sum(box.block == "planks" for box in share) for share in shares] == [1, 1]
        for share in shares:
            for block, most in allowed.items():
                assert sum(box.volume for box in share if box.block == block) <= most
        assert abs(len(shares[0]) - len(shares[1])) <= 2
    assert plan(house, 1, None)[0] == solid_boxes(house)


def test_noise_lowers_the_reward_steadily():
    domain = HouseBuild({"generated": 40})
    rows = domain.embedded(0)
    means = []
    for noise in (0.0, 0.25, 0.5, 1.0):
        rewards = []
        for index, row in enumerate(rows["paper"] + rows["generated"]):
            task = domain.task(row, index)
            texts = first_turn(domain, task, index, noise)
            rewards.append(domain.step(task, 0, texts, domain.start(task, index)).reward)
        means.append(statistics.mean(rewards))
    assert means == sorted(means, reverse=True)
    assert 1.0 <= means[2] <= 1.5 and means[3] >= 0.5


@pytest.mark.parametrize("feedback", MODES)
def test_demonstrations_replay_an_episode_of_their_task(feedback):
    domain = HouseBuild({"feedback": feedback})
    task = hut(domain)
    demos = domain.demonstrations(task, random.Random(3), 0.5)
    assert demos == domain.demonstrations(task, random.Random(3), 0.5)
    assert [(demo.turn, demo.agent) for demo in demos] == [(turn, agent) for turn in range(4) for agent in range(2)]
    state = domain.start(task, random.Random(3).getrandbits(32))
    messages = domain.briefing(task, state)
    for turn in range(4):
        now = [demo for demo in demos if demo.turn == turn]
        for demo in now:
            before = [other for other in demos if other.agent == demo.agent and other.turn < turn]
            history = [Exchange(other.messages, other.response) for other in before]
            assert list(demo.messages) == domain.observe(task, demo.agent, turn, history, messages[demo.agent])
        step = domain.step(task, turn, [demo.response for demo in now], state)
        state, messages = step.world, step.feedback


def test_corpus_is_about_the_task():
    texts = PAPER.corpus(hut(), random.Random(0))
    assert "PAAP" in texts[0] and "0 0 0 3 0 2 stone_bricks\n/fill 0 0 0 3 0 2 stone_bricks" in texts[-1]


# --- data ---


def test_published_houses_and_their_slices():
    rows = PAPER.embedded(0)["paper"]
    assert [row.fields["task_id"] for row in rows][-2:] == ["house_build_0108", "house_build_0109"]
    assert len(rows) == 10 and len({PAPER.key(task) for task in published()}) == 5
    for row, task in zip(rows, published(), strict=True):
        house = PAPER.house(task)
        assert house.volume == 294
        need = {block: sum(other == block for _, other in house.solid) for block in house.inventory}
        counts = row.fields["count"]
        assert need == {row.fields["inventory"][letter]: counts[letter] for letter in counts if letter != "A"}
    assert PAPER.slices["embedded"] == ("paper[0:8]", "paper[8:10]")
    assert HouseBuild({"generated": 3}).slices["path"] == ("paper[0:8]+generated", "paper[8:10]")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(3, 8), st.integers(0, 4))
def test_generated_houses_are_valid_new_and_distinct(seed, number, low, more):
    domain = HouseBuild({"generated": number, "size": [low, low + more]})
    splits = domain.embedded(seed)
    tasks = [domain.task(row, index) for index, row in enumerate(splits["generated"])]
    keys = {domain.key(task) for task in tasks}
    assert len(keys) == len(tasks) == number
    assert not keys & {domain.key(task) for task in published()}
    assert len({task.id for task in tasks}) == number
    fewer = HouseBuild({"generated": (number + 1) // 2, "size": [low, low + more]}).embedded(seed)["generated"]
    assert fewer == splits["generated"][: len(fewer)]


def test_generated_houses_differ_in_size_roof_door_and_material():
    rows = [row.fields for row in HouseBuild({"generated": 80}).embedded(0)["generated"]]
    assert len({tuple(row["target_spec"]["size"]) for row in rows}) > 10
    assert {row["variant"] for row in rows} == {"flat", "gable", "steep", "x_slope", "hip"}
    assert {row["count"]["D"] for row in rows} == {1, 2}
    assert {row["inventory"]["C"] for row in rows} == {"white_concrete", "sandstone", "bricks"}


def test_a_house_that_is_taken_is_never_generated():
    free = further_houses(1, 40, [3, 4], [])
    keys = [content_key(house_of(house_fields(RawRow(row, "a:1")))) for row in free]
    again = further_houses(1, 40, [3, 4], keys[::2])
    assert not set(keys[::2]) & {content_key(house_of(house_fields(RawRow(row, "a:1")))) for row in again}


def test_read_takes_the_json_file(tmp_path):
    with pytest.raises(DataError, match=r"data\.json"):
        PAPER.read(tmp_path)
    (tmp_path / "house_build").mkdir()
    (tmp_path / "house_build" / "data.json").write_text(json.dumps([HUT]))
    splits = HouseBuild({"generated": 2}).read(tmp_path, seed=1)
    assert {split: len(rows) for split, rows in splits.items()} == {"paper": 1, "generated": 2}
    assert PAPER.task(splits["paper"][0], 0).id == "hut"


def changed(path, value):
    row = copy.deepcopy(HUT)
    place = row
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return row


LAYER = ("target_spec", "layers")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("task_id",), ..., "field 'task_id' is missing"),
        (("task_id",), "../x", "field 'task_id' is '../x'"),
        (("inventory",), ..., "field 'inventory' is missing"),
        (("inventory",), {"A": "air"}, "no block besides air"),
        (("inventory", "P"), 3, "field 'inventory' has 'P': 3"),
        (("inventory", "PP"), "planks", "field 'inventory' has 'PP'"),
        (("inventory", "P"), "Oak Planks", "field 'inventory' has 'P'"),
        (("target_spec",), [], "field 'target_spec' is of type list"),
        (("target_spec", "type"), "blocks", "expected 'y_layers'"),
        (("target_spec", "size"), [4, 3, 4], r"the layers are \[4, 3, 3\]"),
        (LAYER, [], "is empty"),
        (LAYER, [{"rows": ["B"]}], "without a whole number y"),
        ((*LAYER, 1, "y"), 0, "layer y = 0 twice"),
        ((*LAYER, 1, "y"), 5, "has no layer y = 1"),
        ((*LAYER, 1, "rows"), "PAAP", "needs rows"),
        ((*LAYER, 1, "rows"), ["PAAP", "PAA", "PPPP"], "layer y = 1 is ragged"),
        ((*LAYER, 2, "rows"), ["PPPP", "PPPP"], "layer y = 2 is ragged"),
        ((*LAYER, 1, "rows", 0), "PXAP", "uses 'X', which is not in the inventory"),
        (LAYER, [{"y": 0, "rows": ["B" * 40]}], "longer than 32"),
        (LAYER, [{"y": 0, "rows": ["B" + "A" * 20]}], "cut the box to the house"),
        (("bbox",), {"from": [0, 0, 0]}, "field 'bbox'"),
        (("bbox", "to"), [4, 2, 2], "field 'bbox' goes from"),
        (("count",), {"P": -1}, "expected a number of at least 0"),
        (("count",), {"X": 1}, "'X', which is not in the inventory"),
        (("count",), [1], "field 'count' is of type list"),
        (("variant",), 3, "field 'variant'"),
    ],
)
def test_malformed_rows_are_refused(path, value, expected):
    row = changed(path, value)
    if path == LAYER and value:
        row["target_spec"].pop("size")
        row.pop("bbox")
    with pytest.raises(RowError, match=f"data.json:3: .*{expected}"):
        PAPER.task(RawRow(row, "data.json:3"), 0)


def test_without_a_box_the_house_stands_at_the_lowest_layer():
    row = changed(("bbox",), ...)
    for layer in row["target_spec"]["layers"]:
        layer["y"] += 4
    house = PAPER.house(PAPER.task(RawRow(row, "a:1"), 0))
    assert (house.low, house.high) == ((0, 4, 0), (3, 6, 2))
    assert Box((0, 4, 0), (3, 4, 2), "stone_bricks") in layer_rectangles(house)


def test_there_is_no_hub_set():
    assert HouseBuild.hub is None
    with pytest.raises(DataError, match="embedded or path"):
        PAPER.hub_rows("train", [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"feedback": "scores"}, "did you mean 'score'"),
        ({"world": "keep"}, "Allowed: persistent, reset"),
        ({"target": "rows"}, "Allowed: boxes, layers"),
        ({"max_commands": -1}, "the least is 2"),
        ({"player_hp": 0}, "the least is 1"),
        ({"spiders": -1}, "the least is 0"),
        ({"spider_attack": [3, 1]}, "low <= high"),
        ({"spider_attack": [1]}, "low <= high"),
        ({"size": [2, 5]}, "3 <= low"),
        ({"generated": True}, "not of type int"),
        ({"hp": 5}, "unknown option"),
    ],
)
def test_bad_options_are_refused(options, expected):
    with pytest.raises(ConfigError, match=expected):
        HouseBuild(options)
