"""Which samples make up which optimiser step, on nodes without any model."""

from __future__ import annotations

import math
import random

import pytest
from support.toy import task

from collm.methods.signal import samples_of
from collm.training.minibatches import Batch, filling, joint_samples, paper_batches
from collm.training.released_rule import Buffers, Lesson, arrivals
from collm.training.rollout import Node


def node(index=0, turn=0, copies=1, children=()):
    made = Node(task(index), turn, (), 0, None, [[], []], [(), ()], None)
    made.prompts = [(1,), (2,)]
    made.actions = [(k, k) for k in range(copies)]
    made.rewards = [float(k) for k in range(copies)]
    made.children = list(children) or [None] * copies
    return made


def chain(index, turns):
    below = ()
    for turn in reversed(range(turns)):
        below = (node(index, turn, 1, below),)
    return list(below[0].walk())


def tree(index, copies, turns, turn=0):
    children = [tree(index, copies, turns, turn + 1) for _ in range(copies)] if turn + 1 < turns else ()
    return node(index, turn, copies, children)


def released(nodes, size, by_node, flush=True, agents=2):
    buffers = Buffers(agents)
    push(buffers, nodes, by_node)
    return drain(buffers, size, flush)


def push(buffers, nodes, by_node=False):
    for agent, samples in arrivals(nodes, len(buffers.waiting), by_node):
        buffers.push(agent, Lesson(samples, [0.0] * len(samples), []))


def drain(buffers, size, flush):
    return [
        Batch([sample for lesson in lessons for sample in lesson.samples], (agent,))
        for agent, lessons in buffers.drain(size, random.Random(0), flush)
    ]


@pytest.mark.parametrize(
    ("nodes", "size", "per_agent"),
    [
        ([node(i) for i in range(4)], 2, 2),
        ([n for i in range(4) for n in chain(i, 4)], 1, 16),
        ([n for i in range(2) for n in chain(i, 2)], 4, 2),  # a full buffer is split by turn
    ],
)
def test_released_actor_critic_counts(nodes, size, per_agent):
    batches = released(nodes, size, by_node=False)
    assert [sum(b.agents == (agent,) for b in batches) for agent in (0, 1)] == [per_agent, per_agent]
    assert sum(len(b.samples) for b in batches) == 2 * len(nodes)


def test_released_order_is_turn_by_turn_and_agent_by_agent():
    batches = released(chain(0, 3), 1, by_node=False)
    assert [(b.samples[0][0].turn, b.agents[0]) for b in batches] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_released_batches_hold_one_turn_in_ascending_order():
    nodes = [n for i in range(2) for n in chain(i, 2)]
    batches = [b for b in released(nodes, 4, by_node=False) if b.agents == (0,)]
    assert [{n.turn for n, _ in b.samples} for b in batches] == [{0}, {1}]


def test_released_magrpo_trains_one_agent_after_the_other_and_keeps_groups():
    nodes = list(tree(0, 2, 3).walk())
    batches = released(nodes, 1, by_node=True)
    assert [b.agents[0] for b in batches] == [0] * 7 + [1] * 7
    assert [b.samples[0][0].turn for b in batches[:7]] == [0, 1, 2, 2, 1, 2, 2]  # pre-order
    assert all([j for _, j in b.samples] == [0, 1] and len({n for n, _ in b.samples}) == 1 for b in batches)


def test_released_magrpo_goes_task_by_task():
    nodes = [n for i in range(2) for n in tree(i, 2, 2).walk()]
    batches = released(nodes, 1, by_node=True)
    order = [(b.samples[0][0].task.id, b.agents[0]) for b in batches]
    assert order == [("toy-0", 0)] * 3 + [("toy-0", 1)] * 3 + [("toy-1", 0)] * 3 + [("toy-1", 1)] * 3


def test_buffers_wait_until_full_and_flush_at_the_end():
    buffers = Buffers(2)
    push(buffers, [node(i) for i in range(3)])
    first = drain(buffers, 4, flush=False)
    assert first == []
    assert [len(waiting) for waiting in buffers.waiting] == [3, 3]
    push(buffers, [node(3)])
    full = drain(buffers, 4, flush=False)
    assert [(b.agents, len(b.samples)) for b in full] == [((0,), 4), ((1,), 4)]
    assert buffers.waiting == [[], []]
    push(buffers, [node(4)])
    left = drain(buffers, 4, flush=True)
    assert [(b.agents, len(b.samples)) for b in left] == [((0,), 1), ((1,), 1)]
    assert drain(buffers, 4, flush=True) == []


def test_paper_batches_train_all_agents_on_every_sample_once_per_pass():
    nodes = [node(i) for i in range(5)]
    batches = paper_batches(samples_of(nodes), 2, 3, random.Random(0), by_node=False)
    assert [len(b.samples) for b in batches] == [2, 2, 1] * 3
    assert all(b.agents == (0, 1) for b in batches)
    for start in (0, 3, 6):
        seen = sorted(n.task.id for b in batches[start : start + 3] for n, _ in b.samples)
        assert seen == [f"toy-{i}" for i in range(5)]
    orders = {tuple(n.task.id for b in batches[s : s + 3] for n, _ in b.samples) for s in (0, 3, 6)}
    assert len(orders) == 3  # shuffled anew


@pytest.mark.parametrize(("minibatch", "sizes"), [(4, [4, 4, 4, 2]), (6, [6, 6, 2]), (1, [2] * 7), (3, [2] * 7)])
def test_paper_minibatches_never_split_a_group(minibatch, sizes):
    batches = paper_batches(samples_of(list(tree(0, 2, 3).walk())), minibatch, 1, random.Random(0), by_node=True)
    assert [len(b.samples) for b in batches] == sizes
    for batch in batches:
        for member in {id(n) for n, _ in batch.samples}:
            assert sorted(j for n, j in batch.samples if id(n) == member) == [0, 1]


@pytest.mark.parametrize(("minibatch", "sizes"), [(1, [1] * 14), (3, [3] * 4 + [2]), (4, [4, 4, 4, 2]), (20, [14])])
def test_minibatches_of_critics_are_cut_anywhere(minibatch, sizes):
    """Actor-critic methods compare nothing within a node: a minibatch below K stays as small as configured."""
    nodes = list(tree(0, 2, 3).walk())
    batches = paper_batches(samples_of(nodes), minibatch, 1, random.Random(0), by_node=False)
    assert [len(b.samples) for b in batches] == sizes
    seen = [(id(n), j) for b in batches for n, j in b.samples]
    assert sorted(seen) == sorted((id(n), j) for n in nodes for j in (0, 1))
    assert all(first[0] == second[0] for first, second in zip(seen[::2], seen[1::2], strict=True))  # prompts together


@pytest.mark.parametrize(("tasks", "turns", "minibatch", "expected"), [(4, 1, 2, 2), (4, 4, 1, 16)])
def test_paper_counts(tasks, turns, minibatch, expected):
    nodes = [n for i in range(tasks) for n in chain(i, turns)]
    assert len(paper_batches(samples_of(nodes), minibatch, 1, random.Random(0), by_node=False)) == expected


def test_the_paper_counts_603_updates_of_its_9640_samples():
    """CoopHE with MAGRPO (appendix D.2): trees of 5 nodes with 4 joint samples, a buffer of 16, 9640 samples in all."""
    waiting, updates = [], 0
    for rollout in range(482):
        waiting += joint_samples(list(tree(rollout, 4, 2).walk()), by_node=True)
        count = filling(waiting, 16) if rollout < 481 else len(waiting)
        samples = [sample for group in waiting[:count] for sample in group]
        batches = paper_batches(samples, 16, 1, random.Random(rollout), by_node=True)
        assert all(len(batch.samples) == 16 for batch in batches[: None if rollout < 481 else -1])
        updates, waiting = updates + len(batches), waiting[count:]
    assert updates == math.ceil(9640 / 16) == 603


@pytest.mark.parametrize(
    ("groups", "size", "minibatch", "expected"), [(5, 4, 16, 4), (3, 2, 4, 2), (7, 1, 4, 4), (3, 4, 2, 3)]
)
def test_how_many_groups_fill_whole_minibatches(groups, size, minibatch, expected):
    nodes = [node(index, copies=size) for index in range(groups)]
    assert filling(joint_samples(nodes, by_node=True), minibatch) == expected
    assert filling([], minibatch) == 0
