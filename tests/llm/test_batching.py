"""Micro-batches: every sequence once, within the budget, prompts shared where they can be."""

from __future__ import annotations

import random

import pytest

from collm.llm.batching import by_length, by_prompt, copies_per_prompt, decoding_batches, merge_prompts


@pytest.mark.parametrize("budget", [1, 40, 100, 10_000])
def test_by_length(budget):
    lengths = [7, 30, 12, 12, 9, 50, 7, 7]
    groups = by_length(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(8))
    for group in groups:
        assert len(group) * max(lengths[index] for index in group) <= budget or len(group) == 1
    assert len(groups) == {1: 8, 40: 4, 100: 2, 10_000: 1}[budget]
    assert by_length([], budget) == []


def pairs_of(*counts, seed=0):
    draw = random.Random(seed)
    made = []
    for number, count in enumerate(counts):
        prompt = (number,) * draw.randrange(5, 30)
        made += [(prompt, (7,) * draw.randrange(1, 12)) for _ in range(count)]
    draw.shuffle(made)
    return made


@pytest.mark.parametrize("budget", [1, 45, 120, 10_000])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1, 1, 1), (3, 1, 4, 3), (16,)])
def test_by_prompt(counts, budget):
    pairs = pairs_of(*counts)
    groups = by_prompt(pairs, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(pairs)))
    for group in groups:
        prompts = [pairs[index][0] for index in group]
        runs = {prompt: prompts.count(prompt) for prompt in prompts}
        assert len(set(runs.values())) == 1
        assert prompts == [prompt for prompt in dict.fromkeys(prompts) for _ in range(runs[prompt])]
        copies, longest = runs[prompts[0]], max(len(pairs[index][1]) for index in group)
        cost = len(runs) * (max(map(len, prompts)) + copies * longest)
        assert cost <= budget or len(group) == 1
    if budget == 10_000:
        assert len(groups) == len(set(counts))


def test_a_prompt_is_split_only_where_it_does_not_fit():
    pairs = [((1,) * 10, (2,) * 5) for _ in range(8)]
    assert [len(group) for group in by_prompt(pairs, 50)] == [8]
    assert [len(group) for group in by_prompt(pairs, 49)] == [1, 7]
    assert [len(group) for group in by_prompt(pairs, 30)] == [4, 4]
    assert by_prompt([], 30) == []


def test_copies_per_prompt():
    first, second = (1, 2), (3,)
    assert copies_per_prompt([(first, (7,)), (first, (8,)), (second, (7,)), (second, (9,))]) == 2
    assert copies_per_prompt([(first, (7,)), (first, (8,)), (second, (7,))]) == 1
    assert copies_per_prompt([(first, (7,)), (second, (7,)), (first, (8,))]) == 1


def test_merge_prompts():
    prompts = [(0, (1, 2), [10, 11]), (1, (1, 2), [12]), (0, (3,), [13]), (0, (1, 2), [14])]
    assert merge_prompts(prompts, 9) == [(0, (1, 2), [10, 11, 14]), (1, (1, 2), [12]), (0, (3,), [13])]
    assert merge_prompts(prompts, 2) == [
        (0, (1, 2), [10, 11]),
        (0, (1, 2), [14]),
        (1, (1, 2), [12]),
        (0, (3,), [13]),
    ]


def test_decoding_batches():
    long, short = (5,) * 9, (5,)
    prompts = [(0, long, [1, 2]), (1, long, [3, 4]), (0, short, [5, 6]), (1, short, [7, 8]), (1, short, [9])]
    assert decoding_batches(prompts, ["base", "base"], 8) == [[2, 0, 3, 1], [4]]
    assert decoding_batches(prompts, ["base", "base"], 4) == [[2, 3], [0, 1], [4]]
    assert decoding_batches(prompts, [0, 1], 4) == [[2, 0], [3, 1], [4]]
    assert decoding_batches(prompts, [0, 1], 1) == [[2], [0], [3], [1], [4]]
