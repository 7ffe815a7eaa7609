"""StrBuild: grammar, simulator, rewards, generator, scripted experts, data."""

import json
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import differences, golden

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains.base import Exchange, RawRow
from collm.domains.building.letter_world import LETTERS, family, limits, parse_commands, render
from collm.domains.building.str_build import BLOCKS, PAPER_STRINGS, StrBuild
from collm.domains.building.str_build_expert import command_text, further_strings, plan

RELEASED = StrBuild({}, "released")
PAPER = StrBuild({}, "paper")
CASES = {row["id"].removeprefix("strbuild-pub-"): row for row in golden("str_build")}
HOSTILE = [
    None,
    "",
    "/setblock 0 0 0 stone\n" * 45_000,
    " " * 1_000_000,
    "`" * 1_000_000,
    "-" * 1_000_000,
    "/setblock " + "9" * 100_000 + " 0 0 stone",
    "/setblock 0\x00 0 0 stone\x00",
    "/setblock 0 0 0 \ud800stone",
    "/setblock ٣ ٠ ٠ stone بناء",
]
WORDS = ["/setblock", "setblock", "stone", "obsidian", "air", "oak_planks", "minecraft:stone", "```", "-", "1.", "~1"]
LINES = st.lists(st.one_of(st.sampled_from(WORDS), st.integers(-2, 40).map(str), st.text(max_size=6)), max_size=7)
TEXTS = st.one_of(st.text(st.characters(), max_size=300), st.lists(LINES.map(" ".join), max_size=30).map("\n".join))


def task_of(string, domain=PAPER):
    return domain.task(RawRow({"string": string}, "here:1"), 0)


def play(domain, string, commands, world=()):
    texts = [command_text(share) for share in commands]
    return domain.step(task_of(string, domain), 0, texts, list(world))


# --- golden rows and worked examples ---


@pytest.mark.parametrize("row", golden("str_build"), ids=lambda row: row["id"])
def test_released_profile_matches_golden_row(row):
    reward, components = RELEASED.score_case(row["inputs"])
    assert reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert differences(components, row["components"]) == {}
    assert sum(components[name] for name in ("coverage", "extra", "adjacency", "palette")) == pytest.approx(reward)


@pytest.mark.parametrize(
    ("case", "reward"),
    [
        ("ideal_one_letter", 2.0),
        ("both_empty", -0.5),
        ("parity_one_material_each", 1.5),
        ("fill_grid_checker", 2 - 1.5 - 0 - 0.5),
        ("all_one_material", 2 - 1 - 0.5),
        ("palette_by_extra", 2 - 1.5 / 12),
        ("fill_whole_grid_one", -1.0),
    ],
)
def test_worked_examples(case, reward):
    assert RELEASED.score_case(CASES[case]["inputs"])[0] == pytest.approx(reward)


@pytest.mark.parametrize(
    ("case", "reward"),
    [
        ("palette_by_extra", 2 - 1.5 * 1 / 13),  # extras over the 13 targets, not over the 12 background cells
        ("fill_grid_checker", 2 - 1.5 * 12 / 13),
        ("all_one_material", 2 - 0.5),  # every neighbour alike, weight 0.5
        ("parity_one_material_each", 2.0),  # no palette part
        ("both_empty", 0.0),
        ("only_background", -1.5 * 5 / 13 - 0.5 * 1 / 3),
        ("unknown_glyph", 0.0),  # no targets: extras are not punished
    ],
)
def test_paper_profile_by_hand(case, reward):
    scored, components = PAPER.score_case(CASES[case]["inputs"])
    assert scored == pytest.approx(reward)
    assert "palette" not in components
    assert components["penalty_missing_palette"] == 0.0


def test_step_agrees_with_score_case():
    for row in golden("str_build"):
        inputs = row["inputs"]
        usual = inputs["string"] == "H" and inputs["max_commands"] == 300 and inputs["num_agents"] == 2
        if usual and [inputs["block_agent1"][:2], inputs["block_agent2"][:2]] == [list(b) for b in BLOCKS]:
            if inputs["local_z"] == 0:
                texts = [inputs["completion1"], inputs["completion2"]]
                step = RELEASED.step(task_of("H"), 0, texts, [])
                assert step.reward == pytest.approx(row["expected_reward"], abs=1e-9), row["id"]
                assert step.metrics["iou"] == pytest.approx(100 * row["components"]["iou"])


@pytest.mark.parametrize(
    ("string", "targets", "background"),
    [("I", 13, 12), ("C", 11, 14), ("M", 13, 12), ("L", 9, 16), ("MC", 24, 36), ("LI", 22, 38), ("ICML", 46, 84)],
)
def test_rendered_sizes(string, targets, background):
    grid = render(string, 2)
    assert (len(grid.targets), grid.background) == (targets, background)
    assert grid.targets == tuple(sorted(grid.targets, key=lambda cell: (-cell[1], cell[0])))


def test_blocks_of_one_family_count_as_alike():
    assert {family(name) for name in ("oak_planks", "spruce_wood")} == {"wood"}
    assert {family(name) for name in ("stone", "cobblestone", "smooth_stone", "mossy_stone_bricks")} == {"stone"}
    assert family("red_concrete") == "concrete"
    assert family("sandstone") == "sandstone"


def test_limits():
    assert limits(300, 2) == (150, 150)
    assert limits(5, 2) == (3, 2)
    assert limits(1, 2) == (2, 1)
    assert limits(300, 1) == (300,)


# --- world, feedback ---


def test_reset_world_forgets_and_persistent_world_keeps():
    task = task_of("I")
    first = ["/setblock 0 4 0 stone", "/setblock 1 4 0 obsidian"]
    reset = PAPER.step(task, 0, first, [])
    assert reset.world == []
    persistent = StrBuild({"world": "persistent"})
    kept = persistent.step(task, 0, first, persistent.start(task, 0))
    after = persistent.step(task, 1, ["/setblock 0 4 0 air", ""], kept.world)
    assert after.record["built"] == [[1, 4, 0, "obsidian"]]
    assert json.loads(json.dumps(after.world)) == after.world


def test_record_holds_what_a_picture_needs():
    record = play(PAPER, "L", plan(render("L", 2), BLOCKS)).record
    assert record["size"] == [5, 5]
    assert sorted(cell[:3] for cell in record["built"]) == sorted(record["targets"])
    assert json.loads(json.dumps(record)) == record


def test_record_says_who_placed_what():
    texts = ["/setblock 0 3 0 stone\nnonsense\n/setblock 0 3 0 air", "/setblock 1 4 0 obsidian\n/setblock 0 0 0 stone"]
    record = PAPER.step(task_of("I"), 0, texts, []).record
    assert record["placed"] == [[[0, 3, 0, "stone"], [0, 3, 0, "air"]], [[1, 4, 0, "obsidian"]]]
    assert (record["accepted"], record["rejected"]) == ([2, 1], [1, 1])


def test_feedback_of_each_mode():
    task = task_of("I")
    texts = ["/setblock 0 3 0 stone", "/setblock 1 4 0 obsidian"]
    assert PAPER.step(task, 0, texts, []).feedback == ({"mode": "position"}, {"mode": "position"})
    score = StrBuild({"feedback": "score"}).step(task, 0, texts, [])
    assert score.feedback == ({"mode": "score", "reward": score.reward},) * 2
    first, second = StrBuild({"feedback": "perfect"}).step(task, 0, texts, []).feedback
    assert (first["clear"], second["clear"]) == ([], [[0, 3, 0]])
    assert [0, 4, 0, "oak_planks"] in first["place"] and len(first["place"]) == 7
    assert [1, 4, 0, "white_concrete"] in second["place"]


def test_repairing_only_the_wrong_cells_works_in_a_persistent_world_and_not_after_a_reset():
    grid = render("I", 2)
    planned = plan(grid, BLOCKS)
    for world, best in (("persistent", True), ("reset", False)):
        domain = StrBuild({"feedback": "perfect", "world": world}, "released")
        half = play(domain, "I", [share[:3] for share in planned])
        repairs = [[((x, y, z), block) for x, y, z, block in message["place"]] for message in half.feedback]
        assert (play(domain, "I", repairs, half.world).reward == 2.0) is best


# --- any text ---


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS, st.sampled_from(["H", "LI", "XYZ"]), st.integers(1, 2), st.booleans())
def test_reward_stays_in_range_for_any_text(first, second, string, agents, keep):
    world = "persistent" if keep else "reset"
    for profile in ("paper", "released"):
        domain = StrBuild({"world": world, "feedback": "perfect"}, profile, agents)
        task, state = task_of(string, domain), []
        for turn in range(2):
            step = domain.step(task, turn, [first, second][:agents], state)
            assert domain.min_reward <= step.reward <= domain.max_reward
            assert sum(step.parts.values()) == step.reward
            assert all(0.0 <= value <= 100.0 and math.isfinite(value) for value in step.metrics.values())
            json.dumps([step.feedback, step.world, step.record], allow_nan=False)
            state = step.world


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 9), st.integers(0, 99), st.lists(st.tuples(st.integers(0, 900), st.characters()), max_size=9))
def test_mutated_commands_never_raise(index, seed, edits):
    task = task_of(PAPER_STRINGS[index][0])
    text = PAPER.demonstrations(task, random.Random(seed), 0.3)[0].response
    for place, character in edits:
        place %= len(text) + 1
        text = text[:place] + character + text[place + 1 :]
    assert PAPER.min_reward <= PAPER.step(task, 0, [text, text], []).reward <= 2.0


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_texts_score_low_without_an_exception(text):
    for domain in (PAPER, RELEASED):
        step = domain.step(task_of("I"), 0, [text, text], [])
        assert domain.min_reward <= step.reward < 1.0
        history = [Exchange((), text or "")]
        messages = domain.observe(task_of("I"), 0, 1, history, step.feedback[0])
        messages[-1]["content"].encode("utf-8")


def test_the_lowest_reward_is_reached_in_the_released_profile():
    grid = render("I", 2)
    everywhere = [(x, y, 0) for x in range(5) for y in range(5) if (x, y, 0) not in grid.targets]
    assert play(RELEASED, "I", ([(cell, "stone") for cell in everywhere], [])).reward == RELEASED.min_reward


def test_commands_after_the_limit_and_rejected_lines():
    grid = render("I", 2)
    text = "nonsense\n/setblock 0 0 0 stone\n/setblock 1 0 0 stone\n/setblock 2 0 0 stone"
    assert parse_commands(text, grid, ("stone",), 2) == ([((0, 0, 0), "stone"), ((1, 0, 0), "stone")], 2)


# --- experts ---


def sampled_strings():
    return [letter for letter in LETTERS] + further_strings(7, 90, [2, 3, 4], []) + [s for s, _ in PAPER_STRINGS]


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("profile", ["paper", "released"])
def test_clean_demonstrations_reach_the_maximum(profile, agents):
    domain = StrBuild({}, profile, agents)
    for string in sampled_strings():
        task = task_of(string, domain)
        demos = domain.demonstrations(task, random.Random(0), 0.0)
        for turn in range(4):
            texts = [demo.response for demo in demos if demo.turn == turn]
            assert domain.step(task, turn, texts, []).reward == 2.0, string


@pytest.mark.parametrize("spacing", [0, 1, 3])
def test_the_plan_is_best_at_other_spacings(spacing):
    domain = StrBuild({"spacing": spacing}, "released")
    for string in ("X", "Y", "XX", "ICML", "HHHH"):
        assert play(domain, string, plan(render(string, spacing), BLOCKS)).reward == 2.0


def test_noise_lowers_the_reward_steadily():
    means = []
    for noise in (0.0, 0.25, 0.5, 1.0):
        rewards = []
        for index, string in enumerate(sampled_strings()[:60]):
            task = task_of(string)
            demos = PAPER.demonstrations(task, random.Random(index), noise)
            rewards.append(PAPER.step(task, 0, [demo.response for demo in demos[:2]], []).reward)
        means.append(statistics.mean(rewards))
    assert means == sorted(means, reverse=True)
    assert 0.9 <= means[2] <= 1.5


@pytest.mark.parametrize("feedback", ["position", "score", "perfect"])
def test_demonstrations_replay_an_episode_of_their_task(feedback):
    domain = StrBuild({"feedback": feedback})
    task = task_of("MC")
    demos = domain.demonstrations(task, random.Random(3), 0.5)
    assert demos == domain.demonstrations(task, random.Random(3), 0.5)
    assert [(demo.turn, demo.agent) for demo in demos] == [(turn, agent) for turn in range(4) for agent in range(2)]
    for demo in demos:
        assert demo.task == task.id
        before = [other for other in demos if other.agent == demo.agent and other.turn < demo.turn]
        history = [Exchange(other.messages, other.response) for other in before]
        feedback = None
        if demo.turn:
            last = [other.response for other in demos if other.turn == demo.turn - 1]
            feedback = domain.step(task, demo.turn - 1, last, []).feedback[demo.agent]
        assert list(demo.messages) == domain.observe(task, demo.agent, demo.turn, history, feedback)
        accepted, rejected = parse_commands(demo.response, domain.grid(task), BLOCKS[demo.agent], 150)
        assert accepted and not rejected


def test_corpus_is_about_the_task():
    texts = PAPER.corpus(task_of("L"), random.Random(0))
    assert "4 # . . . ." in texts[0] and "0: 0 1 2 3 4" in texts[0]


# --- data ---


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_generated_strings_are_new_and_distinct(seed, number, lengths):
    number = min(number, 22) if set(lengths) == {1} else number
    domain = StrBuild({"generated": number, "difficulty": lengths})
    splits = domain.embedded(seed)
    strings = [row.fields["string"] for row in splits["generated"]]
    assert len(set(strings)) == len(strings) == number
    assert not set(strings) & {string for string, _ in PAPER_STRINGS}
    assert {len(string) for string in strings} <= set(lengths)
    assert all(row.fields["difficulty"] == len(row.fields["string"]) for row in splits["generated"])
    more = further_strings(seed, number, lengths, [string for string, _ in PAPER_STRINGS])
    assert more == strings


def test_a_larger_number_only_appends():
    assert further_strings(5, 40, [1, 2], "ICML")[:10] == further_strings(5, 10, [1, 2], "ICML")
    assert len(further_strings(5, 22, [1], "ICML")) == 22


def test_too_many_strings_are_refused():
    with pytest.raises(ConfigError, match="only 22"):
        StrBuild({"generated": 23, "difficulty": [1]}).embedded(0)


def test_default_slices():
    assert PAPER.slices["embedded"] == ("paper[0:8]", "paper[8:10]")
    assert StrBuild({"generated": 3}).slices["path"] == ("paper[0:8]+generated", "paper[8:10]")
    strings = [row.fields["string"] for row in PAPER.embedded(0)["paper"]]
    assert strings == ["I", "C", "M", "L", "MC", "CM", "LI", "LLM", "ICML", "CLIM"]


def test_read_takes_the_csv_and_never_generates_its_strings(tmp_path):
    with pytest.raises(DataError, match="data.csv"):
        PAPER.read(tmp_path)
    (tmp_path / "str_build").mkdir()
    free = [letter for letter in LETTERS if letter not in "ICML"]
    rows = "".join(f'"{letter}",1\n' for letter in free[:-2])
    (tmp_path / "str_build" / "data.csv").write_text(f"string,difficulty\n{rows}")
    domain = StrBuild({"generated": 2, "difficulty": [1]})
    splits = domain.read(tmp_path, seed=1)
    assert {row.fields["string"] for row in splits["generated"]} == set(free[-2:])
    task = domain.task(splits["paper"][0], 0)
    assert (task.id, task.fields) == ("str_build_0000", {"string": "A", "difficulty": 1})
    assert domain.key(task) == "A"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "field 'string' is missing"),
        ({"string": " "}, "field 'string' is empty"),
        ({"string": "A1"}, "letters from A to Z"),
        ({"string": "A" * 17}, "letters from A to Z"),
        ({"string": "A", "difficulty": "hard"}, "field 'difficulty'"),
    ],
)
def test_malformed_rows_are_refused(fields, message):
    with pytest.raises(RowError, match=f"data.csv:3: .*{message}"):
        PAPER.task(RawRow(fields, "data.csv:3"), 0)


def test_there_is_no_hub_set():
    assert StrBuild.hub is None
    with pytest.raises(DataError, match="embedded or path"):
        PAPER.hub_rows("train", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedback": "positon"}, "did you mean 'position'"),
        ({"world": "keep"}, "Allowed: persistent, reset"),
        ({"spacing": -1}, "the least is 0"),
        ({"max_commands": 1}, "the least is 2"),
        ({"show_grid": 1}, "not of type bool"),
        ({"generated": True}, "not of type int"),
        ({"difficulty": []}, "letter counts"),
        ({"difficulty": [-1]}, "letter counts from 0 to 8"),
        ({"difficulty": [9]}, "letter counts"),
        ({"wording": "short"}, "Allowed: brief, full"),
        ({"difficulties": [1]}, "did you mean 'difficulty'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        StrBuild(options)
