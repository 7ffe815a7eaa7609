"""HouseBuild: grammar, quotas, simulator, spiders, rewards, feedback and any text."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import differences, golden
from support.houses import PAPER, first_turn, hut, published, world

from collm.common.errors import ConfigError
from collm.domains.base import Exchange
from collm.domains.building.house_build import HouseBuild
from collm.domains.building.house_feedback import MODES
from collm.domains.building.house_world import Rules, layer_rectangles, parse_orders, quotas, solid_boxes

RELEASED = HouseBuild({}, "released")
CASES = {row["id"].removeprefix("housebuild-pub-"): row for row in golden("house_build")}
HOSTILE = [
    None,
    "",
    "/fill 0 0 0 3 2 2 air\n" * 45_000,
    "/kill\n" * 170_000,
    " " * 1_000_000,
    "`" * 1_000_000,
    "-" * 1_000_000,
    "/fill " + "9" * 100_000 + " 0 0 0 0 0 planks",
    "/damage @e[" + "type=spider," * 80_000 + "] 1",
    "/fill 0\x00 0 0 0 0 0 planks\x00",
    "/fill 0 0 0 0 0 0 \ud800planks",
    "/fill ٣ ٠ ٠ ٣ ٠ ٠ planks بناء",
    "\u202e/kill",
]
WORDS = [
    "/fill",
    "fill",
    "/kill",
    "planks",
    "stone_bricks",
    "air",
    "minecraft:planks",
    "```",
    "-",
    "1.",
    "~1",
    "/damage",
    "@e[type=spider,limit=1]",
    "2",
]
LINES = st.lists(st.one_of(st.sampled_from(WORDS), st.integers(-1, 4).map(str), st.text(max_size=6)), max_size=9)
FILLS = st.tuples(*[st.integers(0, 3)] * 6, st.sampled_from(["planks", "stone_bricks", "air"])).map(
    lambda words: f"/fill {' '.join(map(str, words))}"
)
TEXTS = st.one_of(
    st.text(st.characters(), max_size=300), st.lists(st.one_of(FILLS, LINES.map(" ".join)), max_size=30).map("\n".join)
)


# --- golden rows and worked examples ---


@pytest.mark.parametrize("row", golden("house_build"), ids=lambda row: row["id"])
def test_released_profile_matches_golden_row(row):
    reward, components = RELEASED.score_case(row["inputs"])
    assert reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert differences(components, row["components"]) == {}
    assert components["match"] + components["spiders"] == pytest.approx(reward)


def test_step_agrees_with_score_case():
    for row in golden("house_build"):
        inputs = row["inputs"]
        if inputs["num_agents"] == 2 and len(inputs["block_agent1"]) == 3 and inputs["player_hp"]:
            options = {key: inputs[key] for key in ("max_commands", "limited_resource", "player_hp")}
            domain = HouseBuild(options, "released")
            spiders = world(*((attack, 4) for attack in inputs["spider_attacks"]))
            step = domain.step(hut(domain), 0, [inputs["completion1"], inputs["completion2"]], spiders)
            assert step.reward == pytest.approx(row["expected_reward"], abs=1e-9), row["id"]
            assert step.metrics["iou"] == pytest.approx(100 * row["components"]["iou"])


@pytest.mark.parametrize(
    ("case", "reward"),
    [
        ("both_empty", 4 / 36 - 0.1 * 4 / 5),
        ("kill_only_agent1", 4 / 36),
        ("unlimited_perfect_nokill", 1 - 0.08),
        ("perfect_interleaved_kill", 1.0),
        ("kill_after_cap", 6 / 36 - 0.08),
    ],
)
def test_worked_examples(case, reward):
    assert RELEASED.score_case(CASES[case]["inputs"])[0] == pytest.approx(reward)


# --- the paper's profile, each deviation with numbers worked out by hand (32 solid cells, 4 air, attacks 1 + 2 + 1) ---


@pytest.mark.parametrize(
    ("case", "reward"),
    [
        ("both_empty", -0.2 * 4 / 5),  # air earns nothing, spiders take 0.2
        ("damage_capped", -0.2),
        ("unlimited_perfect_nokill", 2 - 0.2 * 4 / 5),
        ("perfect_interleaved_kill", 2.0),
        ("big_fill_unlimited", 2 * 20 / 32 - 1.5 * 4 / 32),  # planks everywhere: 12 of brick wrong, 4 extras
        ("wrong_material", 2 * 12 / 32),  # a covered cell holds its own block; a wrong one is no extra
        ("single_agent_no_penalty", -0.2 * 4 / 5),  # one agent is bitten, too
    ],
)
def test_paper_profile_by_hand(case, reward):
    scored, components = PAPER.score_case(CASES[case]["inputs"])
    assert scored == pytest.approx(reward)
    assert "match" not in components


@pytest.mark.parametrize(
    ("lines", "damage"),
    [
        ("", 6),
        ("/kill", 0),
        ("/damage @e[type=spider,limit=1] 2", 6),  # 4 health: one hit is not enough
        ("/damage @e[type=spider,limit=1] 2\n" * 2, 3),  # the first one, attack 3, is dead
        ("/damage @e[limit=1,type=minecraft:spider] 2 minecraft:mob_attack\n" * 4, 1),
        ("damage @e[type=spider] 1\n" * 12, 0),
        ("/damage @e[type=spider,limit=1] 3\n" * 9, 6),  # more than the player's attack: rejected
        ("/damage @e[type=spider,limit=1] 0\n" * 9, 6),
        ("/damage @e[type=cow] 2\n/damage spider 2\n/damage @e[type=spider]\n" * 3, 6),
    ],
)
def test_damage_hits_spiders_in_the_paper_profile_only(lines, damage):
    spiders = world((3, 4), (2, 4), (1, 4))
    step = PAPER.step(hut(), 0, ["", lines], spiders)
    assert step.parts["spiders"] == pytest.approx(-0.2 * min(1, damage / 5))
    assert step.metrics["hp"] == 100 * max(0.0, 1 - damage / 5)
    released = RELEASED.step(hut(RELEASED), 0, ["", lines], spiders)
    assert released.metrics["hp"] == (100.0 if lines == "/kill" else 0.0)


def test_hits_of_both_agents_add_up():
    hit = "/damage @e[type=spider,limit=1] 2"
    step = PAPER.step(hut(), 0, [hit, hit], world((3, 4), (1, 4)))
    assert step.metrics["hp"] == 80.0 and step.record["alive"] == 1
    assert (step.record["spiders"], step.record["hits"], step.record["kills"]) == ([[1, 4]], [[2], [2]], [False, False])


def test_record_says_who_filled_what():
    record = PAPER.step(hut(), 0, ["/fill 1 0 0 0 0 0 planks\n/fill 9 9 9 9 9 9 planks", "/kill"], world((3, 4))).record
    assert record["filled"] == [[[0, 0, 0, 1, 0, 0, "planks"]], []]
    assert (record["kills"], record["spiders"], record["attacks"]) == ([False, True], [], [3])


def test_spiders_are_drawn_per_episode_in_the_paper_and_once_per_run_in_the_released_code():
    task = hut()
    drawn = {tuple(attack for attack, _ in PAPER.start(task, seed)["spiders"]) for seed in range(60)}
    assert len(drawn) > 10 and {value for attacks in drawn for value in attacks} == {1, 2, 3}
    assert PAPER.start(task, 7) == PAPER.start(task, 7)
    assert [a for a, _ in RELEASED.start(task, 7)["spiders"]] == [3, 1, 1]  # seed 42, as the released configuration
    assert RELEASED.start(task, 7) == RELEASED.start(task, 8)
    assert HouseBuild({"spider_seed": 1}, "released").start(task, 7) != RELEASED.start(task, 7)


def test_a_single_agent_has_half_as_much_again_and_is_not_bitten_in_the_released_profile():
    domain = HouseBuild({}, "released", 1)
    task = hut(domain)
    assert domain.quotas(domain.house(task)) == {"planks": 30, "stone_bricks": 18}
    assert domain.step(task, 0, [""], world((3, 4))).reward == pytest.approx(4 / 36)
    assert domain.limits == (600,) and domain.min_reward == 0.0


# --- quotas and world ---


def test_quotas_of_the_published_house():
    house = PAPER.house(published()[0])
    expected = {"white_concrete": 51, "obsidian": 9, "stone_stairs": 27, "stone_bricks": 40, "planks": 1}
    assert quotas(house, 2) == expected
    assert quotas(house, 1)["planks"] == 3


def test_blocks_that_are_not_in_the_inventory_are_never_placed():
    texts = ["/fill 0 0 0 3 2 2 obsidian", "/fill 0 0 0 0 0 0 minecraft:obsidian\n/fill 0 0 0 0 0 0 planks"]
    for domain in (PAPER, RELEASED):
        step = domain.step(hut(domain), 0, texts, world())
        assert step.record["built"] == [[0, 0, 0, "planks"]]
        assert step.record["rejected"] == [1, 1]


def test_a_door_of_two_cells_needs_two_builders():
    task = published()[0]
    door = "/fill 2 1 1 3 1 1 planks"
    first, second = "/fill 2 1 1 2 1 1 planks", "/fill 3 1 1 3 1 1 planks"
    assert PAPER.step(task, 0, [door, door], world()).record["accepted"] == [0, 0]
    assert PAPER.step(task, 0, [f"{first}\n{second}", ""], world()).record["accepted"] == [1, 0]
    assert len(PAPER.step(task, 0, [first, second], world()).record["built"]) == 2


def test_reset_forgets_and_persistent_keeps_blocks_and_dead_spiders():
    orders = ["/fill 0 0 0 0 0 0 planks\n/damage @e[type=spider] 2\n/damage @e[type=spider] 2", ""]
    start = world((3, 4), (2, 4))
    reset = PAPER.step(hut(), 0, orders, start)
    assert reset.world == start
    domain = HouseBuild({"world": "persistent"})
    kept = domain.step(hut(domain), 0, orders, start)
    assert kept.world["cells"] == [[0, 0, 0, "planks"]] and kept.world["spiders"] == [[2, 4]]
    after = domain.step(hut(domain), 1, ["", "/fill 0 0 0 0 0 0 air\n/kill"], kept.world)
    assert after.record["built"] == [] and after.world["spiders"] == []
    assert json.loads(json.dumps(after.world)) == after.world


def test_rectangles_and_boxes_cover_the_house_once():
    for task in published():
        house = PAPER.house(task)
        for boxes in (layer_rectangles(house), solid_boxes(house)):
            cells = [(cell, box.block) for box in boxes for cell in box.cells]
            assert sorted(cells) == sorted(house.solid)
    house = PAPER.house(hut())
    assert [str(box) for box in layer_rectangles(house)] == [
        "0 0 0 3 0 2 stone_bricks",
        "0 1 0 0 1 1 planks",
        "3 1 0 3 1 1 planks",
        "0 1 2 3 1 2 planks",
        "0 2 0 3 2 2 planks",
    ]
    assert len(solid_boxes(house)) <= 5


def test_orders_list_what_was_accepted():
    house = PAPER.house(hut())
    rules = Rules(frozenset({"planks"}), 3, {"planks": 2})
    text = "no\n/fill 1 0 0 0 0 0 minecraft:planks\n/fill 0 0 0 0 0 0 planks\nKILL all\n/fill 0 0 0 3 2 2 air\n/kill"
    orders = parse_orders(text, house, rules)
    assert orders.lines == ["/fill 0 0 0 1 0 0 planks", "/kill", "/fill 0 0 0 3 2 2 air"]
    assert (orders.kill, orders.used["planks"], orders.rejected) == (True, 2, 3)


# --- feedback ---


def messages_after(mode, texts, **options):
    domain = HouseBuild({"feedback": mode, **options})
    return domain, domain.step(hut(domain), 0, texts, world((3, 4))).feedback


def test_feedback_of_each_mode():
    texts = ["/fill 0 0 0 3 0 1 stone_bricks\n/kill", "/fill 1 1 0 1 1 0 planks\nnonsense"]
    score = messages_after("score", texts)[1]
    assert score[0] == {"spiders": [[3, 4]], "mode": "score", "reward": pytest.approx((2 * 8 - 1.5) / 32), "best": 2.0}
    assert messages_after("position", texts)[1] == ({"spiders": [[3, 4]], "mode": "position"},) * 2
    first, second = messages_after("perfect", ["/fill 0 0 0 3 0 0 stone_bricks", texts[1]])[1]
    assert (first["clear"], second["clear"]) == ([], [[1, 1, 0]])
    assert len(first["place"]) == len(second["place"]) == 14 and first["place"][0] == [0, 0, 1, "stone_bricks"]
    both = messages_after("position_modification", texts, wrong_cells=3)[1]
    assert both[0] == both[1]
    assert both[0]["cells"] == [[x, 0, 2, "stone_bricks"] for x in (0, 1, 2)]
    assert both[0]["wrong"] == 32 - 8 + 1


def test_rect_modification_splits_the_layers():
    texts = ["/fill 0 0 0 1 0 0 stone_bricks", "/fill 1 1 0 1 1 0 planks"]
    first, second = messages_after("rect_modification", texts)[1]
    assert (first["layers"], second["layers"]) == ([0, 2], [2, 2])
    assert first["boxes"][0] == "0 0 0 3 0 2 stone_bricks" and second["boxes"] == ["0 2 0 3 2 2 planks"]
    assert (first["clear"], second["clear"]) == ([[1, 1, 0]], [])
    assert (first["own"], second["own"]) == ([texts[0]], [texts[1]])


def test_resource_schedule_fits_what_is_left():
    texts = ["/fill 0 0 0 1 0 0 stone_bricks\n/fill 0 2 0 3 2 1 planks", ""]
    first, second = messages_after("resource_schedule", texts)[1]
    assert first["left"] == {"planks": 7, "stone_bricks": 7} and second["left"] == {"planks": 15, "stone_bricks": 9}
    assert first["boxes"] == ["0 1 2 3 1 2 planks", "0 1 0 0 1 1 planks"]  # 4 + 2 of 7; 12 fit neither quota
    assert first["partial"] == "0 0 0 1 0 2 stone_bricks"  # 6 of the 7 left
    assert second["boxes"][0] == "0 2 0 3 2 2 planks"
    with pytest.raises(ConfigError, match="set limited_resource to true"):
        HouseBuild({"feedback": "resource_schedule", "limited_resource": False})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world_option", ["reset", "persistent"])
def test_every_mode_has_its_words(mode, world_option):
    domain = HouseBuild({"feedback": mode, "world": world_option, "repeat_prompt": False})
    task = hut(domain)
    texts = ["/fill 0 0 0 1 0 0 stone_bricks", "/fill 1 1 0 1 1 0 planks"]
    step = domain.step(task, 0, texts, domain.start(task, 3))
    text = domain.observe(task, 1, 1, [Exchange((), "my own words")], step.feedback[1])[-1]["content"]
    words = {
        "score": "reward of the last turn was",
        "position": "stone_bricks 0 0: 0 1 2 3\n",
        "perfect": "Your share of the wrong cells",
        "position_modification": "31 cells are wrong",
        "rect_modification": "Rectangles of layers y 2 to 2",
        "resource_schedule": "You had left: planks 14, stone_bricks 9",
    }
    assert words[mode] in text and text.startswith("Turn 2. ") and "my own words" in text
    restarts = "The world is empty again" in text
    assert restarts is (world_option == "reset" and mode not in ("score", "position"))
    assert "3 spiders, attack" in text and "/fill x1 y1 z1 x2 y2 z2 block" in text and "planks 15" in text


# --- any text ---


@settings(deadline=None, max_examples=100)
@given(TEXTS, TEXTS, st.integers(1, 2), st.booleans(), st.booleans(), st.sampled_from(MODES[:-1]))
def test_reward_stays_in_range_for_any_text(first, second, agents, keep, limited, mode):
    options = {"world": "persistent" if keep else "reset", "limited_resource": limited, "feedback": mode}
    for profile in ("paper", "released"):
        domain = HouseBuild(options, profile, agents)
        task = hut(domain)
        state = domain.start(task, 1)
        for turn in range(2):
            step = domain.step(task, turn, [first, second][:agents], state)
            assert domain.min_reward <= step.reward <= domain.max_reward
            assert sum(step.parts.values()) == step.reward
            assert all(0.0 <= value <= 100.0 and math.isfinite(value) for value in step.metrics.values())
            json.dumps([step.feedback, step.world, step.record], allow_nan=False)
            state = step.world
            texts = domain.observe(task, agents - 1, turn + 1, [Exchange((), first)], step.feedback[agents - 1])
            texts[-1]["content"].encode("utf-8")


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9), st.integers(0, 99), st.lists(st.tuples(st.integers(0, 900), st.characters()), max_size=9))
def test_mutated_commands_never_raise(index, seed, edits):
    task = published()[index]
    text = first_turn(PAPER, task, seed, 0.3)[0]
    for place, character in edits:
        place %= len(text) + 1
        text = text[:place] + character + text[place + 1 :]
    assert PAPER.min_reward <= PAPER.step(task, 0, [text, text], PAPER.start(task, seed)).reward <= 2.0


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:24])
def test_hostile_texts_score_low_without_an_exception(text):
    for domain in (PAPER, RELEASED):
        step = domain.step(hut(domain), 0, [text, text], domain.start(hut(domain), 0))
        assert domain.min_reward <= step.reward < 0.5
        messages = domain.observe(hut(domain), 0, 1, [Exchange((), text or "")], step.feedback[0])
        messages[-1]["content"].encode("utf-8")


def test_the_lowest_reward_of_the_released_profile_is_reached():
    domain = HouseBuild({"limited_resource": False}, "released")
    texts = ["/fill 0 1 0 3 2 2 stone_bricks\n/fill 0 0 0 3 0 2 planks", ""]
    assert domain.step(hut(domain), 0, texts, world((3, 4), (3, 4))).reward == pytest.approx(-0.1)
