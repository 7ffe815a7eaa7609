"""Rows and completions that no benchmark should hold, for every domain whose answers are texts and not programs.

A row either gives a task that can be played or a RowError that says where it stands; a completion gets a reward within
the domain's bounds. The tests of single domains name the messages; here the input is random.
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collm import domains
from collm.common.errors import RowError
from collm.domains.base import Domain, Exchange, RawRow, Task

PROGRAMS = ("coophe", "humaneval", "mbpp")  # these have hostile programs of their own
NAMES = [name for name in domains.NAMES if name not in PROGRAMS]
GENERATED = {"str_build": {"generated": 16, "difficulty": [0, 1, 2]}, "house_build": {"generated": 8}}
COMPLETIONS = {
    "none": None,
    "empty": "",
    "1 MB": "Answer: A 5\n/fill 0 0 0 5 5 5 air\n/setblock 0 0 0 stone\nso ".ljust(60) * 17_000,
    "1 MB of blanks": " " * 1_000_000,
    "1 MB without a blank": "ab" * 500_000,
    "1 MB of fences": "`" * 1_000_000,
    "1 MB of brackets": "([{" * 333_333,
    "NUL": "\x00Answer: A 5\x00\n/kill\x00",
    "unpaired surrogates": "\ud800 Answer: \udfff A 5\n/fill 0 0 0 1 1 1 \udc80",
    "right to left": "\u202eمرحبا بالعالم\n٣ ٠ Answer: \u202dب 5",
    "other digits": "Answer: Ａ ５\n/fill ０ ０ ０ １ １ １ planks",
    "long number": f"/fill {'9' * 5000} 0 0 0 0 0 planks\n/setblock {'9' * 5000} 0 0 stone\nAnswer: A {'9' * 5000}",
    "odd line ends": "Answer: A 5\u2028\x85\x0b\x0c\x1c\r\n\r",
}


@functools.cache
def domain(name: str) -> Domain:
    return domains.get(name)(GENERATED.get(name, {}))


@functools.cache
def rows(name: str) -> list[RawRow]:
    return [row for split in domain(name).embedded(0).values() for row in split]


def play(played: Domain, task: Task, texts: list[str | None], turns: int = 2) -> None:
    """Some turns of these texts: prompts that can be encoded, rewards within bounds, all of it JSON."""
    world = played.start(task, 0)
    feedback = played.briefing(task, world)
    histories: list[list[Exchange]] = [[] for _ in played.roles]
    for turn in range(min(turns, played.max_turns or turns)):
        for agent, history in enumerate(histories):
            messages = played.observe(task, agent, turn, history, feedback[agent])
            json.dumps(messages, ensure_ascii=False).encode("utf-8")
            history.append(Exchange(tuple(messages), texts[agent] or ""))
        step = played.step(task, turn, texts, world)
        assert played.min_reward <= step.reward <= played.max_reward + 1e-12
        assert step.reward == pytest.approx(sum(step.parts.values()))
        json.dumps([step.feedback, step.world, step.record, step.metrics], allow_nan=False)
        world, feedback = step.world, step.feedback


# --- completions ---


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("text", COMPLETIONS.values(), ids=COMPLETIONS)
@pytest.mark.parametrize("name", NAMES)
def test_any_completion_has_a_reward(name, text, profile):
    instance = domains.get(name)({}, profile)
    task = instance.task(rows(name)[0], 0)
    good = [item.response for item in instance.demonstrations(task, random.Random(0), 0.0) if item.turn == 0]
    assert len(good) == instance.num_agents == instance.team_size()
    play(instance, task, [text] * len(good))
    for agent in range(len(good)):
        play(instance, task, [*good[:agent], text, *good[agent + 1 :]])


# --- rows ---

TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["\x00", "\ud800", "\u202eאב", "A", "air", "-1", " "])
NUMBERS = st.integers(-3, 9) | st.integers() | st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def change(row: dict[str, Any], draw: Any) -> None:
    """Take one thing out of the row, replace it, or edit it where it is a text."""
    paths = list(places(row))
    if not paths:
        return
    *above, key = draw(st.sampled_from(paths))
    parent = functools.reduce(lambda value, step: value[step], above, row)
    how = draw(st.sampled_from(["remove", "replace", "edit"]))
    if how == "remove":
        del parent[key]
    elif how == "edit" and isinstance(parent[key], str):
        place = draw(st.integers(0, len(parent[key])))
        parent[key] = parent[key][:place] + draw(TEXT) + parent[key][place + draw(st.integers(0, 3)) :]
    else:
        parent[key] = draw(JSON)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(data=st.data(), changes=st.integers(1, 3), seed=st.integers(0, 9))
def test_a_changed_row_is_played_or_refused_by_its_place(name, data, changes, seed):
    instance = domain(name)
    fields = copy.deepcopy(data.draw(st.sampled_from(rows(name))).fields)
    for _ in range(changes):
        change(fields, data.draw)
    try:
        task = instance.task(RawRow(fields, "here:7"), 3)
    except RowError as error:
        assert "here:7" in str(error)
        return
    instance.key(task)
    play(instance, task, [None, *[""] * (instance.num_agents - 1)])
    demonstrations = instance.demonstrations(task, random.Random(seed), 0.3)
    instance.corpus(task, random.Random(seed))
    if demonstrations:
        play(instance, task, [item.response for item in demonstrations if item.turn == 0], turns=1)
