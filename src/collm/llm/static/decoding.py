"""The loop of decoding in fixed shapes: the draws of `sampling.decode`, with a look at the device every few tokens.

Rows of a batch are rounded up to a bucket, lengths of its cache to multiples of `BUCKET`; a step is the same sequence
of kernels on the same addresses for every token, so that on CUDA it is captured once and replayed. What it draws is
decided by the key of a response alone, as everywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch

from collm.llm.sampling import Generated, Request, Sampling, pick_blind, uniforms
from collm.llm.static.arena import Arena, Prompts, joined, rounded_up, row_bucket
from collm.llm.static.graphs import Steps

LOOK = 8  # tokens between two looks at which rows have ended
HEAD = (
    1024  # most probable tokens that top-p looks at; where they are too few, the tokens since the last look are redone
)
PREFILL = 1 << 14  # padded tokens of prompts that are read at once
KEPT = 0.1  # share of a GPU's memory that arenas may keep, with their graphs, for batches to come


class Model(Protocol):
    """What runs the layers of a model for `StaticDecoder`; one per set of adapters."""

    @property
    def version(self) -> Hashable:
        """Changes when captured steps are stale, because weights have other addresses."""
        ...

    def running(self) -> AbstractContextManager[Any]:
        """Around everything below; takes the adapters' numbers as they are now."""
        ...

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> Prompts:
        """Read prompts, grouped by adapter, the same number for each."""
        ...

    def step(self, arena: Arena, length: int) -> torch.Tensor:
        """Logits [rows, vocabulary] after `arena.token`, whose keys and values are kept; `length` columns are read."""
        ...


class StaticDecoder:
    """Decodes batch after batch; arenas and graphs of recent shapes stay."""

    def __init__(self, device: torch.device):
        self.device, self.steps = device, Steps(device)
        self._arenas: OrderedDict[Hashable, Arena] = OrderedDict()
        self._ends: dict[frozenset[int], torch.Tensor] = {}  # captured steps read them
        self._most = int(KEPT * torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else 0  # bytes

    @torch.no_grad()
    def decode(
        self, model: Model, requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]:
        """Sample all responses of `requests` in one batch; see `sampling.decode`."""
        with model.running():
            prompts = self._prompts(model, requests)
            batch = _Batch(requests, sampling, ends, self._end_ids(ends))
            capacity = rounded_up(prompts.width + sampling.max_new_tokens)
            arena = self._arena(model, len(batch.response), capacity, sampling.max_new_tokens, prompts)
            arena.begin(prompts, batch.source, batch.uniform, batch.idle)
            batch.draw(arena, prompts.logits.index_select(0, batch.source))
            self._continue(model, batch, arena, prompts)
        self._forget()
        return batch.results(requests)

    def _continue(self, model: Model, batch: _Batch, arena: Arena, prompts: Prompts) -> None:
        """Draw tokens until all rows have ended or are full."""
        drawn, room = 1, arena.room
        while drawn < room:  # after the first token, too: whole batches of one token are common
            ended = arena.ended.tolist()
            if all(ended):
                break
            filled = prompts.width + drawn - 1
            keep = batch.compact(ended)
            if keep is not None:
                batch.leave(arena, keep)
                smaller = self._arena(model, len(keep), arena.capacity, room, prompts)
                smaller.take(arena, torch.tensor(keep, device=self.device), filled)
                arena = smaller
            count = min(LOOK, room - drawn)
            self._until_look(model, batch, arena, range(filled + 1, filled + count + 1))
            drawn += count
        batch.leave(arena, [])

    def _until_look(self, model: Model, batch: _Batch, arena: Arena, filled: Sequence[int]) -> None:
        """One token for every number of columns in `filled`, the column that the token takes included."""
        if batch.head is not None:
            before = arena.remembered()
            self._run(model, batch, arena, filled)
            if not bool(arena.void):
                return
            arena.recall(before)
            batch.head = None  # a flat distribution: from here on all tokens are sorted
        self._run(model, batch, arena, filled)

    def _run(self, model: Model, batch: _Batch, arena: Arena, filled: Sequence[int]) -> None:
        for columns in filled:
            length = min(arena.capacity, rounded_up(columns))
            key = (length, batch.sampling, batch.ends, batch.head, model.version)
            self.steps.run(arena.graphs, key, _Step(model, batch, arena, length, batch.head))

    def _prompts(self, model: Model, requests: Sequence[Request]) -> Prompts:
        """All prompts, read in parts of at most `PREFILL` padded tokens, every part with its share of every group."""
        groups = len({request.group for request in requests})
        size = len(requests) // groups
        longest = max(len(request.prompt) for request in requests)
        share = max(1, PREFILL // (groups * longest))
        parts, rows = [], []
        for start in range(0, size, share):
            part = [group * size + i for group in range(groups) for i in range(start, min(start + share, size))]
            parts.append(model.prefill([requests[index].prompt for index in part]))
            rows += part
        return joined(parts, [rows.index(index) for index in range(len(requests))])

    def _arena(self, model: Model, rows: int, capacity: int, room: int, like: Prompts) -> Arena:
        """An arena of this shape, one that is there already if possible."""
        shapes = tuple((part[0].shape[1], part[0].shape[3], part[0].dtype) for part in like.layers)
        key = (rows, capacity, room, shapes)
        if key not in self._arenas:
            self._arenas[key] = Arena(rows, capacity, room, like)
        self._arenas.move_to_end(key)
        arena = self._arenas[key]
        arena.graphs = {kept: graph for kept, graph in arena.graphs.items() if not _stale(kept[-1], model.version)}
        return arena

    def _forget(self) -> None:
        """Let go of the arenas that were used longest ago, until the others are small enough to stay."""
        while sum(arena.bytes for arena in self._arenas.values()) > self._most:
            self._arenas.popitem(last=False)

    def _end_ids(self, ends: frozenset[int]) -> torch.Tensor:
        if ends not in self._ends:
            self._ends[ends] = torch.tensor(sorted(ends), device=self.device)
        return self._ends[ends]


def _stale(then: Hashable, now: Hashable) -> bool:
    """Whether a graph was captured with the same adapters at other addresses."""
    return isinstance(then, tuple) and isinstance(now, tuple) and then[0] == now[0] and then != now


class _Step:
    """One token for every row: the body of a captured graph."""

    def __init__(self, model: Model, batch: _Batch, arena: Arena, length: int, head: int | None):
        self.model, self.batch, self.arena, self.length, self.head = model, batch, arena, length, head

    def __call__(self) -> None:
        self.arena.open_column()
        logits = self.model.step(self.arena, self.length)
        self.arena.advance()
        self.batch.draw(self.arena, logits, self.head)


class _Batch:
    """Which response a row is, and what was drawn for responses that have left."""

    def __init__(self, requests: Sequence[Request], sampling: Sampling, ends: frozenset[int], end_ids: torch.Tensor):
        self.sampling, self.ends, self._end_ids, device = sampling, ends, end_ids, end_ids.device
        self.groups = len({request.group for request in requests})
        copies = len(requests[0].keys)
        size = len(requests) // self.groups * copies
        self.response: list[int | None] = []  # of every row; None: it only fills the shape
        for group in range(self.groups):
            own = list(range(group * size, (group + 1) * size))
            self.response += [*own, *[None] * (row_bucket(size) - size)]
        firsts = [group * size for group in range(self.groups) for _ in range(row_bucket(size))]
        source = [(first if r is None else r) // copies for r, first in zip(self.response, firsts, strict=True)]
        self.source = torch.tensor(source, device=device)
        keys = [key for request in requests for key in request.keys]
        drawn = np.stack([uniforms(key, sampling.max_new_tokens) for key in keys])
        rows = [first if r is None else r for r, first in zip(self.response, firsts, strict=True)]
        self.uniform = torch.from_numpy(drawn[rows]).float().to(device)
        self.idle = torch.tensor([r is None for r in self.response], device=device)
        self._texts: dict[int, Generated] = {}
        guesses = sampling.top_k is None and sampling.top_p < 1.0
        self.head = HEAD if guesses else None  # tokens that a draw looks at; None: as many as it needs

    def draw(self, arena: Arena, logits: torch.Tensor, head: int | None = None) -> None:
        """Draw a token for every row from its logits [rows, vocabulary], without a look at the device."""
        logits = logits.float()
        uniform = arena.uniform.index_select(1, arena.count)[:, 0]
        tokens, void = pick_blind(logits, uniform, self.sampling, head)
        if void is not None:
            arena.void.logical_or_((void & ~arena.ended).any())
        scores = logits.gather(-1, tokens[:, None]) - logits.logsumexp(-1, keepdim=True)
        arena.drawn.index_copy_(1, arena.count, tokens[:, None])
        arena.scores.index_copy_(1, arena.count, scores)
        arena.ended.logical_or_((tokens[:, None] == self._end_ids).any(-1))
        arena.token.copy_(tokens)
        arena.count += 1

    def compact(self, ended: Sequence[bool]) -> list[int] | None:
        """Rows to keep if a smaller bucket holds all that are open; groups keep equal sizes, padded with ended rows."""
        size = len(self.response) // self.groups
        groups = [range(group * size, (group + 1) * size) for group in range(self.groups)]
        need = row_bucket(max(sum(not ended[row] for row in rows) for rows in groups))
        if need * 2 > size:
            return None
        return [row for rows in groups for row in sorted(rows, key=lambda row: ended[row])[:need]]

    def leave(self, arena: Arena, keep: Sequence[int]) -> None:
        """Note what was drawn for the rows that are not kept; the others become the batch."""
        count = int(arena.count.item())
        drawn, scores = arena.drawn[:, :count].tolist(), arena.scores[:, :count].tolist()
        kept = set(keep)
        for row, response in enumerate(self.response):
            if response is not None and row not in kept:
                self._texts[response] = self._generated(drawn[row], scores[row])
        self.response = [self.response[row] for row in keep]

    def _generated(self, tokens: Sequence[int], scores: Sequence[float]) -> Generated:
        """A response up to its first end token."""
        count = next((place + 1 for place, token in enumerate(tokens) if token in self.ends), len(tokens))
        return Generated(tuple(tokens[:count]), sum(scores[:count]), tokens[count - 1] in self.ends)

    def results(self, requests: Sequence[Request]) -> list[list[Generated]]:
        """For every request one `Generated` per key, in order."""
        responses = iter([self._texts[index] for index in range(len(self._texts))])
        return [[next(responses) for _ in request.keys] for request in requests]
