"""Micro-batches: which sequences go through the model together so that padding and memory stay small."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[tuple[int, ...], tuple[int, ...]]  # prompt ids, response ids


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


Wanted = tuple[int, tuple[int, ...], Sequence[int]]  # agent, prompt ids, one key per response


def by_asker(wanted: Sequence[Wanted], most: int) -> list[Wanted]:
    """Requests with the same agent and prompt as one, with the keys of all in order, cut into at most `most` keys."""
    merged: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for agent, prompt, keys in wanted:
        merged.setdefault((agent, prompt), []).extend(keys)
    return [
        (agent, prompt, keys[start : start + most])
        for (agent, prompt), keys in merged.items()
        for start in range(0, len(keys), most)
    ]
