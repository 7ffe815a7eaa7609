"""StrBuild's drawings and brief wording, for models made from scratch: what is drawn, asked, built and refused."""

from __future__ import annotations

import random

import pytest

from collm.common.errors import ConfigError, RowError
from collm.domains.base import Exchange, RawRow
from collm.domains.building.letter_world import is_drawing, parse_commands, render
from collm.domains.building.str_build import BLOCKS, PAPER_STRINGS, StrBuild
from collm.domains.building.str_build_expert import command_text, drawings, further_strings, plan

BRIEF = StrBuild({"wording": "brief"})
LETTERS_AND_DRAWINGS = [string for string, _ in PAPER_STRINGS] + list(drawings()[::20])


def task_of(string, domain=BRIEF):
    return domain.task(RawRow({"string": string}, "here:1"), 0)


def cells_of(picture):
    """Columns and heights of the marks of a drawing."""
    rows = picture.split("/")
    return [(x, len(rows) - 1 - row) for row, line in enumerate(rows) for x, mark in enumerate(line) if mark == "#"]


# --- what a drawing is ---


@pytest.mark.parametrize("spacing", [0, 2, 8])
def test_a_drawing_is_its_own_picture(spacing):
    grid = render("#.#/.#.", spacing)
    assert grid.rows == ("#.#", ".#.")
    assert grid.targets == ((0, 1, 0), (2, 1, 0), (1, 0, 0))
    assert (grid.width, grid.height, grid.background, grid.corner) == (3, 2, 3, (2, 1, 0))
    assert grid.holds((2, 1, 0)) and not grid.holds((2, 2, 0)) and not grid.holds((3, 0, 0))


@pytest.mark.parametrize("text", ["#", ".#", "#.#/.#.", "/".join(["#####"] * 5)])
def test_drawings_are_known(text):
    assert is_drawing(text)


@pytest.mark.parametrize(
    "text", ["", ".", "../..", "#/##", "#/", "/#", "######", "/".join("######"), "A", "#A", "# #", "#\n#"]
)
def test_other_texts_are_no_drawings(text):
    assert not is_drawing(text)


def builders_share(picture):
    """Whether the colouring of `plan` leaves a cell for either builder, by its docstring."""
    cells = cells_of(picture)
    odd = sum((x + y) % 2 for x, y in cells)
    odd_columns = sum(x % 2 for x, _ in cells)
    return min(odd, len(cells) - odd) >= 2 or min(odd_columns, len(cells) - odd_columns) >= 1


def test_all_drawings_that_two_can_build_are_there_once():
    pictures = {f"{bits:09b}".replace("0", ".").replace("1", "#") for bits in range(512)}
    rows = {"/".join((marks[:3], marks[3:6], marks[6:])) for marks in pictures if 3 <= marks.count("#") <= 5}
    assert len(drawings()) == len(set(drawings())) == 304
    assert set(drawings()) == {picture for picture in rows if builders_share(picture)}


@pytest.mark.parametrize("agents", [1, 2])
def test_the_plan_of_every_drawing_earns_the_maximum(agents):
    domain = StrBuild({"wording": "brief"}, "paper", agents)
    for picture in drawings():
        task = task_of(picture, domain)
        planned = plan(domain.grid(task), domain.blocks)
        assert all(planned), picture
        step = domain.step(task, 0, [command_text(commands) for commands in planned], [])
        assert step.reward == 2.0 == domain.max_reward, picture
        assert step.metrics == {"iou": 100.0, "adjacency": 0.0, "coverage": 100.0}


# --- drawings as generated strings ---


def test_generated_drawings_are_distinct_seeded_and_only_appended():
    every = further_strings(3, 304, [0], ())
    assert sorted(every) == sorted(drawings())
    assert further_strings(3, 304, [0], ()) == every
    assert further_strings(3, 40, [0], ()) == every[:40]
    assert further_strings(4, 40, [0], ()) != every[:40]
    assert not set(further_strings(3, 204, [0], every[:100])) & set(every[:100])


def test_letters_and_drawings_mix():
    strings = further_strings(0, 60, [0, 1, 2], "ICML")
    kinds = [0 if is_drawing(string) else len(string) for string in strings]
    assert set(kinds) == {0, 1, 2} and len(set(strings)) == 60 and not set(strings) & set("ICML")
    assert strings[:30] == further_strings(0, 30, [0, 1, 2], "ICML")
    assert len(further_strings(0, 326, [0, 1], "ICML")) == 326, "when one kind is used up, the other goes on"


@pytest.mark.parametrize(("lengths", "most"), [([0], 304), ([0, 1], 326)])
def test_more_drawings_than_there_are_is_refused(lengths, most):
    with pytest.raises(ConfigError, match=f"{most + 1} strings .* are not possible, only {most}; ask for fewer"):
        further_strings(0, most + 1, lengths, "ICML")


def test_generated_rows_are_tasks_of_difficulty_0():
    domain = StrBuild({"generated": 300, "difficulty": [0]})
    rows = domain.embedded(0)["generated"]
    tasks = [domain.task(row, index) for index, row in enumerate(rows)]
    assert {task.fields["difficulty"] for task in tasks} == {0}
    assert len({domain.key(task) for task in tasks}) == 300 and {row.fields["string"] for row in rows} <= {*drawings()}


# --- rows and rewards ---


@pytest.mark.parametrize("string", ["#....", "#.#/.#.", " #.#/.#. ", "##/##"])
def test_rows_may_be_drawings(string):
    task = task_of(string)
    assert task.fields == {"string": string.strip(), "difficulty": 0}


@pytest.mark.parametrize("string", ["...", "#../.../...", "#.....", "#./#", "#/", "/".join("######"), "#A", "# #"])
def test_drawings_that_are_none_or_too_sparse_are_refused(string):
    with pytest.raises(
        RowError, match=r"here:1: field 'string' is .*; expected 1 to 16 letters .* or the rows of a dr"
    ):
        task_of(string)


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("spacing", [0, 1, 2, 3])
@pytest.mark.parametrize("string", ["#..../#..../#..../#..../#....", "#....", "Y", *drawings()[::50]])
def test_no_reward_is_below_the_least(string, spacing, profile):
    """Spacing is about letters: it moves neither a drawing nor the worst that can be built around one."""
    domain = StrBuild({"spacing": spacing}, profile)
    task = task_of(string, domain)
    grid = domain.grid(task)
    around = [(x, y, 0) for x in range(grid.width) for y in range(grid.height) if (x, y, 0) not in grid.targets]
    reward = domain.step(task, 0, [command_text((cell, "stone") for cell in around), ""], []).reward
    assert domain.min_reward <= reward < 0


def test_the_least_reward_is_that_of_the_sparsest_drawing():
    domain = StrBuild({"spacing": 0})
    task = task_of("#..../#..../#..../#..../#....", domain)
    around = command_text(((x, y, 0), "stone") for x in range(1, 5) for y in range(5))
    assert domain.step(task, 0, [around, ""], []).reward == -1.5 * 20 / 5 - 0.5 == domain.min_reward


# --- brief wording ---


def test_a_brief_prompt_is_cells_and_blocks_and_later_ones_own_reply():
    task = task_of(".#./.##/#..")
    cells = "1 2 0\n1 1 0, 2 1 0\n0 0 0\n"
    asked = [BRIEF.observe(task, agent, 0, (), None) for agent in (0, 1)]
    assert asked == [
        [{"role": "user", "content": f"{cells}Your blocks: oak_planks, stone.\n"}],
        [{"role": "user", "content": f"{cells}Your blocks: white_concrete, obsidian.\n"}],
    ]
    past = [Exchange(tuple(asked[1]), "/setblock 1 2 0 obsidian")]
    (later,) = BRIEF.observe(task, 1, 1, past, {"mode": "position"})
    reply = "Your last reply:\n/setblock 1 2 0 obsidian\n"
    assert later["content"] == f"Turn 2.\n{reply}{cells}Your blocks: white_concrete, obsidian.\n"
    (alone,) = StrBuild({"wording": "brief"}, "paper", 1).observe(task, 0, 0, (), None)
    assert alone["content"].endswith("Your blocks: oak_planks, stone, white_concrete, obsidian.\n")


def test_brief_demonstrations_replay_an_episode():
    task = task_of("#.#/.#.")
    shown = BRIEF.demonstrations(task, random.Random(0), 0.0)
    assert [(one.turn, one.agent) for one in shown[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for one in shown:
        before = [other for other in shown if other.agent == one.agent and other.turn < one.turn]
        history = [Exchange(other.messages, other.response) for other in before]
        assert list(one.messages) == BRIEF.observe(task, one.agent, one.turn, history, {"mode": "position"})
    for turn in (0, 1):
        assert BRIEF.step(task, turn, [one.response for one in shown if one.turn == turn], []).reward == 2.0


def split_practice(text, agent):
    """A practice text as the question and the commands that answer it."""
    asked, mark, answer = text.partition(f"Your blocks: {', '.join(BLOCKS[agent])}.\n")
    assert mark, text
    return asked + mark, answer


@pytest.mark.parametrize("string", LETTERS_AND_DRAWINGS)
def test_brief_practice_is_a_question_as_it_is_asked_and_its_best_answer(string):
    task = task_of(string)
    texts = BRIEF.corpus(task, random.Random(0))
    assert len(texts) == (2 if is_drawing(string) else 4), "beside letters a random drawing is built"
    pairs = [split_practice(text, place % 2) for place, text in enumerate(texts)]
    assert [pair[0] for pair in pairs[:2]] == [
        BRIEF.observe(task, agent, 0, (), None)[0]["content"] for agent in (0, 1)
    ]
    assert BRIEF.step(task, 0, [answer for _, answer in pairs[:2]], []).reward == 2.0
    assert BRIEF.corpus(task, random.Random(0)) == texts


@pytest.mark.parametrize("wording", ["full", "brief"])
def test_practice_with_a_drawing_builds_its_own_cells_alone(wording):
    """There are few drawings: a random one could be a test task."""
    domain = StrBuild({"wording": wording})
    task = task_of(".#./.##/#..", domain)
    grid, blocks = domain.grid(task), [block for palette in BLOCKS for block in palette]
    built = set()
    for text in domain.corpus(task, random.Random(0)):
        lines = "\n".join(line for line in text.splitlines() if line.startswith("/setblock") and line[10:11].isdigit())
        commands, rejected = parse_commands(lines, grid, blocks, 300)
        assert not rejected, text
        built |= {cell for cell, _ in commands}
    assert built == set(grid.targets)


def test_no_training_text_asks_for_a_drawing_of_the_test_split():
    domain = StrBuild({"wording": "brief", "generated": 300, "difficulty": [0]})
    tasks = [domain.task(row, index) for index, row in enumerate(domain.embedded(0)["generated"])]
    train, test = tasks[:240], tasks[240:]
    texts = [text for task in train for text in domain.corpus(task, random.Random(0))]
    asked = {domain.observe(task, agent, 0, (), None)[0]["content"] for task in test for agent in (0, 1)}
    assert len(asked) == 120 and not [text for text in texts if text.startswith(tuple(asked))]
