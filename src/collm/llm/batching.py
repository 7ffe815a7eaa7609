"""Batches: which sequences go through the model together so that padding and memory stay small."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

Pair = tuple[tuple[int, ...], tuple[int, ...]]  # prompt ids, response ids
PromptKeys = tuple[int, tuple[int, ...], Sequence[int]]  # agent, prompt ids, one key per response


def by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in groups of similar length; rows x longest row of a group stays within `budget` tokens.

    A row longer than the budget gets a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def by_prompt(pairs: Sequence[Pair], budget: int) -> list[list[int]]:
    """Indices in groups in which every prompt has the same number of responses, standing one after another.

    The prompt is computed once for all its responses, so that a group of n prompts with k responses each costs
    n x (longest prompt + k x longest response) tokens, which stays within `budget`. A prompt with more responses than
    fit is computed several times; one response alone may exceed the budget.
    """
    of_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, _) in enumerate(pairs):
        of_prompt.setdefault(prompt, []).append(index)
    by_count: dict[int, list[list[int]]] = {}
    for prompt, indices in of_prompt.items():
        longest = max(len(pairs[index][1]) for index in indices)
        fitting = max(1, (budget - len(prompt)) // max(longest, 1))
        for start in range(0, len(indices), fitting):
            unit = indices[start : start + fitting]
            by_count.setdefault(len(unit), []).append(unit)
    groups: list[list[int]] = []
    for count, units in sorted(by_count.items()):
        sizes = [(len(pairs[unit[0]][0]), max(len(pairs[index][1]) for index in unit)) for unit in units]
        members: list[int] = []
        width = response = 0
        for place in sorted(range(len(units)), key=lambda place: (sum(sizes[place]), units[place][0])):
            width, response = max(width, sizes[place][0]), max(response, sizes[place][1])
            if members and (len(members) // count + 1) * (width + count * response) > budget:
                groups.append(members)
                members, (width, response) = [], sizes[place]
            members += units[place]
        groups.append(members)
    return groups


def copies_per_prompt(pairs: Sequence[Pair]) -> int:
    """How often every prompt stands in a row, if all stand equally often; 1 otherwise."""
    runs = [len(list(run)) for _, run in itertools.groupby(prompt for prompt, _ in pairs)]
    return runs[0] if len(set(runs)) == 1 else 1


def merge_prompts(prompts: Sequence[PromptKeys], most: int) -> list[PromptKeys]:
    """Requests with the same agent and prompt as one, with the keys of all in order, cut into at most `most` keys."""
    merged: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for agent, prompt, keys in prompts:
        merged.setdefault((agent, prompt), []).extend(keys)
    return [
        (agent, prompt, keys[start : start + most])
        for (agent, prompt), keys in merged.items()
        for start in range(0, len(keys), most)
    ]


def decoding_batches(prompts: Sequence[PromptKeys], pools: Sequence[Hashable], max_rows: int) -> list[list[int]]:
    """Indices of prompts that are decoded together: equally many keys each, lengths alike, agent after agent.

    Args:
        pools: for every agent what it may share a batch with: agents of the same pool can.
        max_rows: responses decoded at once; each agent of a batch may use its share, and one prompt in any case.
    """
    by_pool: dict[tuple[int, Hashable], list[int]] = {}
    for index, (agent, _, keys) in enumerate(prompts):
        by_pool.setdefault((len(keys), pools[agent]), []).append(index)
    batches = []
    for (copies, _), pool in by_pool.items():
        per_agent: dict[int, list[int]] = {}
        for index in sorted(pool, key=lambda index: (len(prompts[index][1]), index)):
            per_agent.setdefault(prompts[index][0], []).append(index)
        size = max(1, max_rows // (copies * len(per_agent)))
        while any(per_agent.values()):
            batches.append([index for agent in sorted(per_agent) for index in per_agent[agent][:size]])
            per_agent = {agent: rest[size:] for agent, rest in per_agent.items() if rest[size:]}
    return batches
