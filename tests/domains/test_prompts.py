"""What agents see: contents and length of the prompts, and the rule of decentralised execution."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collm.common.errors import ConfigError
from collm.domains.base import Exchange, RawRow
from collm.domains.building.house_build import HouseBuild
from collm.domains.building.house_feedback import MODES as HOUSE_MODES
from collm.domains.building.str_build import BLOCKS, StrBuild
from collm.domains.building.str_build_prompts import grid_text
from collm.domains.writing.arxiv import Arxiv
from collm.domains.writing.reward import DELIMITER
from collm.domains.writing.tldr import Tldr

MODES = ("position", "score", "perfect")
WINDOW = 20
POST = "SUBREDDIT: r/x\n\nTITLE: A title\n\nPOST: Something happened.\n\nTL;DR:"


def text_of(messages):
    return "\n".join(message["content"] for message in messages)


def build_task(domain, string="MC"):
    return domain.task(RawRow({"string": string}, "here:1"), 0)


def windows(text):
    return {text[start : start + WINDOW] for start in range(len(text) - WINDOW + 1)}


# --- the decentralised rule ---


def play(domain, task, answers):
    """Observations [turn][agent] of an episode in which the agents give `answers` [turn][agent]."""
    world = domain.start(task, 0)
    feedback = domain.briefing(task, world)
    histories = [[], []]
    seen = []
    for turn, texts in enumerate(answers):
        seen.append([domain.observe(task, agent, turn, histories[agent], feedback[agent]) for agent in (0, 1)])
        step = domain.step(task, turn, texts, world)
        world, feedback = step.world, step.feedback
        for agent in (0, 1):
            histories[agent].append(Exchange(tuple(seen[turn][agent]), texts[agent]))
    return seen


def random_answer(rng, agent):
    """Some valid commands with random tails, some prose: letters and digits that no prompt holds by chance."""
    lines = []
    for _ in range(rng.randint(0, 12)):
        tail = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=rng.randint(0, 40)))
        cell = f"{rng.randint(0, 11)} {rng.randint(0, 4)} 0"
        lines.append(rng.choice([f"/setblock {cell} {rng.choice(BLOCKS[agent])} {tail}", tail]))
    return "\n".join(lines)


def random_house_answer(rng, agent):
    """Fills, kills and damage with random tails, some prose."""
    lines = []
    for _ in range(rng.randint(0, 12)):
        tail = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=rng.randint(0, 40)))
        x, y, z = rng.randint(0, 5), rng.randint(0, 6), rng.randint(0, 6)
        fill = f"/fill {x} {y} {z} {x} {y} {z} {rng.choice(['white_concrete', 'stone_bricks', 'air', 'planks'])}"
        lines.append(rng.choice([fill, f"/kill {tail}", f"/damage @e[type=spider,limit=1] 1 {tail}", tail]))
    return "\n".join(lines)


def house_task(domain, number=8):
    return domain.task(domain.embedded(0)["paper"][number], number)


@pytest.mark.parametrize(
    ("kind", "mode"), [(StrBuild, mode) for mode in MODES] + [(HouseBuild, mode) for mode in HOUSE_MODES]
)
def test_no_prompt_holds_text_unique_to_the_other_agents_response(kind, mode):
    rng = random.Random(mode)
    flags = itertools.product(("reset", "persistent"), (True, False), (True, False))
    make_task, answer = (build_task, random_answer) if kind is StrBuild else (house_task, random_house_answer)
    for world, prompt, response in flags:
        domain = kind({"feedback": mode, "world": world, "repeat_prompt": prompt, "repeat_response": response})
        task = make_task(domain)
        for _ in range(6 if kind is StrBuild else 2):
            answers = [[answer(rng, agent) for agent in (0, 1)] for _ in range(4)]
            seen = play(domain, task, answers)
            for turn, agent in itertools.product((1, 2, 3), (0, 1)):
                past = answers[:turn]
                # The own reply is quoted on a line of its own, so what follows a line break is known, too.
                quoted = (windows(f"\n{texts[agent]}") for texts in past)
                known = set().union(windows(text_of(seen[0][agent])), *quoted)
                foreign = set().union(*(windows(texts[1 - agent]) for texts in past)) - known
                assert not foreign & windows(text_of(seen[turn][agent]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(), max_size=200), min_size=3, max_size=3), st.integers(0, 1))
def test_prompts_with_position_feedback_do_not_depend_on_the_other_agent_at_all(texts, agent):
    domain = StrBuild({})
    task = build_task(domain)
    silent = [["mine", "mine"] for _ in range(4)]
    loud = [["mine", "mine"] for _ in range(4)]
    for turn, text in enumerate(texts):
        loud[turn][1 - agent] = text
    assert [turn[agent] for turn in play(domain, task, silent)] == [turn[agent] for turn in play(domain, task, loud)]


def test_own_last_response_is_quoted_and_only_that():
    domain = StrBuild({})
    task = build_task(domain)
    answers = [[f"turn {turn} by agent {agent}: something long" for agent in (0, 1)] for turn in range(3)]
    seen = play(domain, task, answers)
    assert "turn 1 by agent 0" in text_of(seen[2][0])
    assert "turn 0 by agent 0" not in text_of(seen[2][0])
    assert "by agent 1" not in text_of(seen[2][0])


def test_house_prompts_with_position_feedback_do_not_depend_on_the_other_agents_text():
    domain = HouseBuild({"feedback": "position"})
    task = house_task(domain)
    silent = [["mine", "mine"] for _ in range(4)]
    loud = [["mine", "/fill 0 0 0 1 1 1 planks\nwords that only the other one says"] for _ in range(4)]
    assert [turn[0] for turn in play(domain, task, silent)] == [turn[0] for turn in play(domain, task, loud)]


def test_single_turn_writers_see_the_source_and_nothing_else():
    domain = Arxiv({})
    task = domain.task(RawRow({"abstract_text": "We study stars."}, "here:1"), 0)
    first = play(domain, task, [["secret words of the first", "secret words of the second"]])
    assert first == play(domain, task, [["", ""]])


# --- HouseBuild wording ---


@pytest.mark.parametrize(("agent", "target"), list(itertools.product((0, 1), ("layers", "boxes"))))
def test_first_house_prompt_says_everything_an_agent_needs(agent, target):
    domain = HouseBuild({"target": target})
    task = house_task(domain)
    world = domain.start(task, 5)
    text = text_of(domain.observe(task, agent, 0, (), domain.briefing(task, world)[agent]))
    attacks = [attack for attack, _ in world["spiders"]]
    assert f"builder {agent + 1} of 2" in text and "overwrite" in text
    assert f"3 spiders, attack {' + '.join(map(str, attacks))} = {sum(attacks)}; you have 5 HP" in text
    assert "/kill" in text and "/damage @e[type=spider,limit=1] 2" in text
    assert "x 0 to 5, y 0 to 6, z 0 to 6" in text and "at most 300" in text and "restarts empty" in text
    assert "white_concrete 51, obsidian 9, stone_stairs 22, stone_bricks 28, planks 1" in text
    if target == "boxes":
        assert "\n0 0 1 5 0 5 white_concrete\n" in text and "\n0 1 1 0 3 1 obsidian\n" in text
    else:
        assert "y=0: (0 0 1 5 0 5 white_concrete)\ny=1: (0 1 1 0 1 1 obsidian), (1 1 1 1 1 1 white_concrete)" in text


def test_house_prompts_without_a_briefing_and_of_the_released_profile():
    domain = HouseBuild({})
    assert "each attacks for 1 to 3" in text_of(domain.observe(house_task(domain), 0, 0, (), None))
    released = HouseBuild({}, "released")
    text = text_of(released.observe(house_task(released), 0, 0, (), None))
    assert "attack 3 + 1 + 1 = 5" in text and "/damage" not in text
    free = HouseBuild({"limited_resource": False, "spiders": 0, "world": "persistent"}, num_agents=1)
    text = text_of(free.observe(house_task(free), 0, 0, (), None))
    assert "only builder" in text and "spider" not in text and "air clears" in text and "Blocks stay" in text


def test_house_prompts_are_short():
    domain = HouseBuild({"target": "boxes"})
    task = house_task(domain)
    text = text_of(domain.observe(task, 1, 0, (), None))
    assert len(text.split()) - 7 * 23 <= 140  # 23 boxes of seven words


# --- StrBuild wording ---


@pytest.mark.parametrize(("agent", "world"), list(itertools.product((0, 1), ("reset", "persistent"))))
def test_first_prompt_says_everything_an_agent_needs(agent, world):
    domain = StrBuild({"world": world})
    task = build_task(domain)
    messages = domain.observe(task, agent, 0, (), None)
    assert [message["role"] for message in messages] == ["system", "user"]
    text = text_of(messages)
    assert grid_text(domain.grid(task)) in text
    assert "\n4 # . . . # . . . # # # #\n" in text
    assert "x 0 to 11, y 0 to 4, z 0" in text
    assert f"builder {agent + 1} of 2" in text
    assert all(block in text for block in BLOCKS[agent])
    assert not any(block in text for block in BLOCKS[1 - agent])
    assert "Side neighbours" in text and "at most 150" in text and "/setblock x y z block" in text
    assert ("restarts empty each turn" in text) is (world == "reset")
    assert ("stay from turn to turn" in text) is (world == "persistent")
    assert "overwrite" in text


def test_prompts_are_short():
    domain = StrBuild({})
    for string in ("I", "ICML"):
        task = build_task(domain, string)
        grid = len(grid_text(domain.grid(task)).split())
        for agent in (0, 1):
            assert 80 <= len(text_of(domain.observe(task, agent, 0, (), None)).split()) - grid <= 130
    task = Tldr({}).task(RawRow({"prompt": POST}, "here:1"), 0)
    for agent in (0, 1):
        assert len(text_of(Tldr({}).observe(task, agent, 0, (), None)).split()) - len(POST.split()) <= 60


def test_without_the_grid_the_targets_appear_only_in_the_feedback():
    domain = StrBuild({"show_grid": False})
    task = build_task(domain)
    first = text_of(domain.observe(task, 0, 0, (), None))
    assert "#" not in first and "grid" not in first
    later = text_of(domain.observe(task, 0, 1, [Exchange((), "own")], {"mode": "position"}))
    assert "4: 0 4 8 9 10 11" in later


@pytest.mark.parametrize(("prompt", "response"), list(itertools.product((True, False), (True, False))))
def test_follow_up_turns_follow_the_options(prompt, response):
    domain = StrBuild({"repeat_prompt": prompt, "repeat_response": response})
    text = text_of(domain.observe(build_task(domain), 1, 2, [Exchange((), "my own words")], {"mode": "position"}))
    assert "Turn 3." in text
    assert "Take about 12 of these 24 cells" in text
    assert ("builder 2 of 2" in text) is prompt
    assert ("my own words" in text) is response
    assert "/setblock x y z block" in text and "white_concrete" in text


def test_feedback_wording():
    def text_after(feedback, world="reset"):
        domain = StrBuild({"feedback": feedback["mode"] if feedback else "position", "world": world})
        return text_of(domain.observe(build_task(domain, "I"), 1, 1, [Exchange((), "x")], feedback))

    assert "reward of the last turn was 0.8269" in text_after({"mode": "score", "reward": 0.826923})
    perfect = {"mode": "perfect", "place": [[0, 4, 0, "obsidian"]], "clear": [[3, 3, 0]]}
    reset = text_after(perfect)
    assert "0 4 0 obsidian" in reset and "Leave empty: 3 3 0" in reset and "The world is empty again" in reset
    kept = text_after(perfect, "persistent")
    assert "Set to air: 3 3 0" in kept and "empty again" not in kept
    assert "All your cells are right" in text_after({"mode": "perfect", "place": [], "clear": []})
    assert "Turn 2.\n" in text_after(None)


def test_a_later_turn_needs_a_history():
    domain = StrBuild({})
    with pytest.raises(ValueError, match="own history"):
        domain.observe(build_task(domain), 0, 1, (), {"mode": "position"})


def test_single_builder_has_all_blocks():
    domain = StrBuild({}, num_agents=1)
    text = text_of(domain.observe(build_task(domain), 0, 0, (), None))
    assert all(block in text for blocks in BLOCKS for block in blocks)
    assert "only builder" in text and "at most 300" in text and "overwrite" not in text


# --- TLDR wording ---


def test_tldr_prompts_hold_the_post_and_differ_by_role():
    domain = Tldr({})
    task = domain.task(RawRow({"prompt": POST}, "here:1"), 0)
    first, second = (domain.observe(task, agent, 0, (), None) for agent in (0, 1))
    assert domain.roles == ("summariser", "elaborator")
    assert all(text_of(messages).endswith(POST) for messages in (first, second))
    assert "concisely" in text_of(first) and "transition words" not in text_of(first)
    assert "in detail" in text_of(second) and "transition words" in text_of(second)
    broken = domain.task(RawRow({"prompt": "\ud800 x"}, "a:1"), 0)
    assert "\ud800" not in text_of(domain.observe(broken, 0, 0, (), None))


def test_tldr_single_prompt_names_the_delimiter():
    domain = Tldr({}, num_agents=1)
    task = domain.task(RawRow({"prompt": POST}, "here:1"), 0)
    text = text_of(domain.observe(task, 0, 0, (), None))
    assert DELIMITER in text and "Paragraph 1:" in text and "Paragraph 2:" in text
    assert domain.roles == ("writer",)


def test_tldr_has_a_single_turn():
    domain = Tldr({})
    task = domain.task(RawRow({"prompt": POST}, "here:1"), 0)
    assert domain.max_turns == 1
    with pytest.raises(ConfigError, match="single turn"):
        domain.observe(task, 0, 1, [Exchange((), "x")], None)
