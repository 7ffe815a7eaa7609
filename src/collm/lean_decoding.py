"""Decoding by the passes of lean.py: prompts without padding, then one token per row with as few operations as can be.

Rows stand grouped by adapter, every group of the same size. A step multiplies all rows with the A's of all adapters
and blanks what is not a row's own: for few adapters that is cheaper than one product per adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from collm.attention import Causal, Heads, Rows, by_key, from_key, rotate
from collm.lean import Layer, Lean, token_ids, token_positions
from collm.products import Gate, Product


class LeanStepper:
    """Runs one batch of rows: `prefill` once, then `step` for every further token."""

    def __init__(self, lean: Lean, adapters: Sequence[str | None], room: int, device: torch.device):
        """`room`: tokens that will be appended at most."""
        self.lean, self.adapters, self.room, self.device = lean, list(adapters), room, device
        self.gate = Gate()
        lean.refresh()
        self.dtype = lean.layers[0].qkv.weight.dtype
        self._steps = [
            tuple(_RowProduct(product, self.adapters) for product in layer.products) for layer in lean.layers
        ]

    # prompts

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Logits after each prompt, [prompts, vocabulary]; keys and values are kept."""
        lengths = [len(prompt) for prompt in prompts]
        rows = Rows(lengths, self.device)
        per_group = len(prompts) // len(self.adapters)
        ends = rows.lengths.cumsum(0).tolist()
        bounds = [0, *ends[per_group - 1 :: per_group]]
        groups = list(zip(self.adapters, bounds[:-1], bounds[1:], strict=True))
        tables = self.lean.tables(token_positions(lengths, [0] * len(lengths), self.device))
        states = functional.embedding(token_ids(prompts, self.device), self.lean.decoder.embed_tokens.weight)
        self.caches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for layer in self.lean.layers:
            states = self._prefill_layer(layer, states, rows, groups, tables)
        last = self.lean.norm.forward(states[rows.lengths.cumsum(0) - 1])
        self.length = rows.width
        self.positions = rows.lengths.clone()
        hidden = torch.zeros(len(prompts), rows.width + self.room, dtype=self.dtype, device=self.device)
        hidden[:, : rows.width].masked_fill_(~rows.valid, float("-inf"))
        self.hidden = None if rows.full else hidden[:, None, None]
        self._own(len(prompts))
        return self.lean.output(last)

    def _prefill_layer(
        self, layer: Layer, states: torch.Tensor, rows: Rows, groups: list[tuple[str | None, int, int]],
        tables: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        heads = layer.heads
        stacked = _grouped(layer.qkv, layer.before_attention.forward(states), groups)
        query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in layer.heads_of(stacked))
        q, k, v = (by_key(rows, x, heads) for x in (rotate(query, *tables), rotate(key, *tables), value))
        mixed = from_key(rows, Causal(q, k, v, heads, keep=False).forward(), heads).flatten(1)
        self.caches.append(tuple(self._roomy(x.unflatten(0, (rows.rows, heads.keys))) for x in (k, v)))
        states = _grouped(layer.out, mixed, groups).add_(states)
        stacked = _grouped(layer.gate_up, layer.before_mlp.forward(states), groups)
        return _grouped(layer.down, self.gate.forward(stacked), groups).add_(states)

    def _roomy(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, heads, tokens + room, width] from [rows, heads, tokens, width]."""
        rows, heads, held, width = states.shape
        found = states.new_empty(rows, heads, held + self.room, width)
        found[:, :, :held] = states
        return found

    # rows

    def repeat(self, copies: int) -> None:
        """Let every row stand `copies` times in a row."""
        self._pick(torch.arange(len(self.positions), device=self.device).repeat_interleave(copies))

    def select(self, rows: torch.Tensor) -> None:
        """Keep `rows`; groups stay in order and of equal size."""
        self._pick(rows)

    def _pick(self, rows: torch.Tensor) -> None:
        self.caches = [tuple(self._moved(buffer, rows) for buffer in cache) for cache in self.caches]
        self.positions = self.positions[rows]
        self.hidden = None if self.hidden is None else self.hidden[rows]
        self._own(len(rows))

    def _moved(self, buffer: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        found = buffer.new_empty(len(rows), *buffer.shape[1:])
        found[:, :, : self.length] = buffer[:, :, : self.length].index_select(0, rows)
        return found

    def _own(self, rows: int) -> None:
        for products in self._steps:
            for product in products:
                product.own_rows(rows)

    # one token

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token per row, [rows]; returns the logits of the next, [rows, vocabulary]."""
        states = functional.embedding(tokens, self.lean.decoder.embed_tokens.weight)
        tables = self.lean.tables(self.positions)
        length = self.length = self.length + 1
        hidden = None if self.hidden is None else self.hidden[..., :length]
        for layer, cache, (qkv, out, gate_up, down) in zip(self.lean.layers, self.caches, self._steps, strict=True):
            stacked = qkv(layer.before_attention.forward(states))
            mixed = _attend_one(layer, stacked, cache, tables, length, hidden)
            states = out(mixed).add_(states)
            stacked = gate_up(layer.before_mlp.forward(states))
            states = down(self.gate.forward(stacked)).add_(states)
        self.positions = self.positions + 1
        return self.lean.output(self.lean.norm.forward(states))


def _attend_one(
    layer: Layer, stacked: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor],
    tables: tuple[torch.Tensor, torch.Tensor], length: int, hidden: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """Attention of one new token per row to all of its row, [rows, heads * width]; its key and value are kept."""
    heads: Heads = layer.heads
    if layer.query_norm is None:
        split = heads.queries + heads.keys
        whole = stacked.unflatten(-1, (-1, heads.width))
        rotated, value = rotate(whole[:, :split], *tables), whole[:, split:]
        query, key = rotated[:, : heads.queries], rotated[:, heads.queries :]
    else:
        query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in layer.heads_of(stacked))
        query, key = rotate(query, *tables), rotate(key, *tables)
    keys, values = cache
    keys[:, :, length - 1] = key
    values[:, :, length - 1] = value
    query = query.unflatten(1, (heads.keys, heads.groups))
    mixed = functional.scaled_dot_product_attention(
        query, keys[:, :, :length], values[:, :, :length], attn_mask=hidden, scale=heads.scale
    )
    return mixed.flatten(1)


def _grouped(product: Product, h: torch.Tensor, groups: list[tuple[str | None, int, int]]) -> torch.Tensor:
    """W h + s B A h, rows [start, stop) with the adapter of their group."""
    result = product(h)
    for name, start, stop in groups:
        adapters = product.adapters(name)
        if adapters is None:
            continue
        first, seconds = adapters.stacked(h.dtype)
        inner = functional.linear(h[start:stop], first).chunk(len(seconds), -1)
        for (left, right), part, second in zip(adapters.columns, inner, seconds, strict=True):
            result[start:stop, left:right].addmm_(part, second.t())
    return result


class _RowProduct:
    """W h + s B A h for few rows, grouped by adapter: one product for all A's, one for all B's."""

    def __init__(self, product: Product, names: Sequence[str | None]):
        self.product, self.own = product, None
        found = [product.adapters(name) for name in names]
        stacks = [None if adapters is None else adapters.stacked(product.weight.dtype) for adapters in found]
        firsts = [stack[0] for stack in stacks if stack is not None]
        self.first = torch.cat(firsts) if firsts else None
        self.second = product.weight.new_zeros(sum(map(len, firsts)), product.weight.shape[0])
        self._groups = product.weight.new_zeros(len(names), len(self.second))
        place = 0
        for group, (adapters, stack) in enumerate(zip(found, stacks, strict=True)):
            if adapters is None or stack is None:
                continue
            self._groups[group, place : place + len(stack[0])] = 1
            for (left, right), second in zip(adapters.columns, stack[1], strict=True):
                rank = second.shape[1]
                self.second[place : place + rank, left:right] = second.t()
                place += rank

    def own_rows(self, rows: int) -> None:
        """Expect `rows` rows, the same number for every adapter."""
        if len(self._groups) > 1:
            self.own = self._groups.repeat_interleave(rows // len(self._groups), 0)

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """[rows, out] from [rows, in]."""
        result = self.product(h)
        if self.first is None:
            return result
        inner = functional.linear(h, self.first)
        if self.own is not None:
            inner.mul_(self.own)
        return result.addmm_(inner, self.second)
