"""The real sets at full size: every row of every domain is read, shown to every agent at every turn, and scored.

Nothing is sampled. Rows that cannot be used are printed with the reason. The domains are those of `collm.domains`,
with the options of the default configuration, so that a new one joins by itself once the collection has rows of it.
"""

from __future__ import annotations

import functools
import random
import re
from collections import Counter
from collections.abc import Iterable

import pytest
from support.collection import COLLECTION, needs_collection
from support.places import ROOT

from collm import domains
from collm.common.errors import DataError, UnusableRow
from collm.config.job import Job
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.data import prepare
from collm.domains import readers
from collm.domains.base import Domain, Exchange, RawRow, Task

DEFAULT = ROOT / "config" / "config.yaml"
FIRST_CELLS = re.compile(r"\| [^|]+ \| (\S+/\S+\.\S+) \| (\d+) \|")
# What `data` drops besides rows that the domain refuses: rows that repeat an earlier one of their split.
UNUSABLE = {"arxiv": 1, "house_build": 5, "arc_challenge": 1, "physics": 19}
# What it drops from the training split alone: CoopHE's rows that are functions of HumanEval.
WITHHELD = {"coophe": 16}
# Rows from whose text no scripted answer can be made: a post that is a single star, CoopHE's rows without a reference.
UNSCRIPTED = {"tldr": 1, "coophe": 82}
# Scripted answers of these earn the greatest reward on every row; those of the others depend on the text.
PERFECT = {"str_build", "house_build", "arc_challenge", "algebra", "physics", "medicine", "navigate"}


@functools.cache
def settings(name: str) -> Job:
    return resolve_job(load_config([DEFAULT]), name)


@functools.cache
def domain(name: str) -> Domain:
    job = settings(name)
    return domains.get(name)(job.options, job.profile, job.team.num_agents)


@functools.cache
def rows(name: str) -> dict[str, list[RawRow]]:
    """Rows of the collection by split, without those that are generated."""
    splits = domain(name).read(COLLECTION, 0)
    return {split: rows for split, rows in splits.items() if not rows[0].origin.startswith("generated")}


@pytest.fixture(params=domains.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Every domain; passed over is only one that has no hub set and no folder in the collection's manifest."""
    try:
        rows(request.param)
    except DataError as error:
        if domain(request.param).hub is not None or any(file.startswith(f"{request.param}/") for file in counted()):
            raise
        pytest.skip(f"{request.param} has no public set and the collection no rows of it: {error}")
    return request.param


def counted() -> dict[str, int]:
    """Rows of every file by its path, as the collection's manifest states them."""
    lines = (COLLECTION / "MANIFEST.md").read_text(encoding="utf-8").splitlines()
    return {match[1]: int(match[2]) for match in map(FIRST_CELLS.match, lines) if match}


def usable(name: str) -> tuple[list[Task], list[str]]:
    """Tasks of all splits, and the reason for each row that gives none."""
    tasks, reasons = [], []
    for split in rows(name).values():
        seen: dict[str, str] = {}
        for number, row in enumerate(split):
            try:
                task = domain(name).task(row, number)
            except UnusableRow as error:
                assert row.origin in str(error)
                reasons.append(str(error))
                continue
            first = seen.setdefault(domain(name).key(task), row.origin)
            if first != row.origin:
                reasons.append(f"{row.origin}: the same content as {first}")
            tasks.append(task)  # also where the content repeats: it must not crash either
    return tasks, reasons


def silent_episode(name: str, task: Task) -> Iterable[tuple[str, float]]:
    """All prompts of an episode whose agents answer nothing, each with the reward of its turn."""
    instance, turns = domain(name), settings(name).rollout.turns
    world = instance.start(task, 0)
    feedback, histories = instance.briefing(task, world), [[] for _ in instance.roles]
    for turn in range(turns):
        seen = [
            instance.observe(task, agent, turn, history, feedback[agent]) for agent, history in enumerate(histories)
        ]
        step = instance.step(task, turn, [""] * len(instance.roles), world)
        for messages, history in zip(seen, histories, strict=True):
            yield "\n".join(message["content"] for message in messages), step.reward
            history.append(Exchange(tuple(messages), ""))
        world, feedback = step.world, step.feedback


@needs_collection
def test_the_manifest_counts_the_rows_of_every_file():
    numbers = {}
    for file in counted():
        read = readers.read_rows(COLLECTION / file)
        nested = read[0].fields.get("examples") if len(read) == 1 else None
        numbers[file] = len(nested or read)
    assert numbers == counted() and len(numbers) > 20


@needs_collection
def test_a_domain_reads_whole_files(name):
    origins = Counter(row.origin.split(":")[0] for split in rows(name).values() for row in split)
    assert origins and origins == {file: counted()[file] for file in origins}


@needs_collection
def test_every_row_is_shown_and_scored(name, capsys):
    instance = domain(name)
    tasks, reasons = usable(name)
    prompts, unscripted, rewards = 0, [], []
    for task in tasks:
        silent = []
        for prompt, reward in silent_episode(name, task):
            assert len(prompt.encode("utf-8")) > 60
            assert instance.min_reward <= reward <= instance.max_reward
            silent.append(reward)
        prompts += len(silent)
        examples = [item for item in instance.demonstrations(task, random.Random(0), 0.0) if item.turn == 0]
        if not examples:
            unscripted.append(f"{task.id}: its text gives no scripted answer, the empty one was scored")
        else:
            result = instance.step(task, 0, [item.response for item in examples], instance.start(task, 0))
            assert silent[0] < result.reward <= instance.max_reward + 1e-9, task.id
            rewards.append(result.reward)
    assert prompts == len(tasks) * len(instance.roles) * settings(name).rollout.turns
    assert len(reasons) == UNUSABLE.get(name, 0)
    assert len(unscripted) <= UNSCRIPTED.get(name, 0)
    if name in PERFECT:
        assert min(rewards) == pytest.approx(instance.max_reward) and not unscripted
    with capsys.disabled():
        scored = f"{len(rewards)} scripted answers, mean reward {sum(rewards) / max(1, len(rewards)):.3f}"
        print(f"\n{name}: {len(tasks)} rows, {prompts} prompts, {scored}")
        for line in [f"not used: {reason}" for reason in reasons] + unscripted:
            print(f"  {line}")


@needs_collection
def test_default_slices_give_disjoint_splits_and_list_what_they_drop(name, tmp_path):
    instance = domain(name)
    chosen = {"source": "path", "path": str(COLLECTION), "train": None, "test": None, "revision": None}
    manifest = prepare.prepare(instance, chosen, tmp_path / name, 0, tmp_path / "lock.json")
    kept = [prepare.load_tasks(tmp_path / name / f"{split}.jsonl") for split in prepare.SPLITS]
    assert not {instance.key(task) for task in kept[0]} & {instance.key(task) for task in kept[1]}
    assert all(entry["reason"] and entry["origin"] for entry in manifest["dropped"])
    assert len(manifest["dropped"]) <= UNUSABLE.get(name, 0) + WITHHELD.get(name, 0)
