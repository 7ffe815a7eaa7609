"""Decoding without padding (decoder.py): prompts in one row, then one token per row with as few operations as can be.

Rows stand grouped by adapter, every group of the same size. A step multiplies all rows with the A's of all adapters
and blanks what is not a row's own: for few adapters that is cheaper than one product per adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from collm.llm.packed.attention import Causal, Heads, Rows, by_key, from_key, rotate
from collm.llm.packed.decoder import Layer, PackedDecoder, token_ids, token_positions
from collm.llm.packed.lora_linear import FrozenLinear, Gate, StackedLinear


class PackedStepper:
    """Runs one batch of rows by a `PackedDecoder`; see `Stepper`. Without gradients."""

    def __init__(
        self,
        decoder: PackedDecoder,
        adapters: Sequence[str | None],
        room: int,
        device: torch.device,
        prompts: Sequence[int] | None = None,
    ):
        """A batch that is about to be read.

        Args:
            adapters: one per group of rows.
            room: tokens that will be appended at most.
            prompts: how many there are of each group, for groups that may differ in size and shrink apart; None: all
                are and stay of the same size.
        """
        self.decoder, self.adapters, self.room, self.device = decoder, list(adapters), room, device
        self.gate = Gate()
        decoder.refresh()
        self.dtype = decoder.layers[0].qkv.weight.dtype
        self._copies = 1
        self._groups: torch.Tensor | None = None  # [rows] the group of each, where they are of any size
        if prompts is not None:
            self._groups = torch.arange(len(prompts), device=device).repeat_interleave(torch.tensor(prompts).to(device))
        kind: type[_RowLinear] | type[_GroupedLinear] = _RowLinear if prompts is None else _GroupedLinear
        self._steps = [tuple(kind(linear, self.adapters) for linear in layer.linears) for layer in decoder.layers]

    # prompts

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Logits after each prompt, [prompts, vocabulary]; keys and values are kept."""
        lengths = [len(prompt) for prompt in prompts]
        rows = Rows(lengths, self.device)
        ends = [0, *rows.lengths.cumsum(0).tolist()]
        bounds = [ends[place] for place in self._bounds(len(prompts))]
        groups = list(zip(self.adapters, bounds[:-1], bounds[1:], strict=True))
        tables = self.decoder.tables(token_positions(lengths, [0] * len(lengths), self.device))
        states = functional.embedding(token_ids(prompts, self.device), self.decoder.transformer.embed_tokens.weight)
        caches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for layer in self.decoder.layers:
            states = self._prefill_layer(layer, states, rows, groups, tables, caches)
        last = self.decoder.norm.forward(states[rows.lengths.cumsum(0) - 1])
        self.length = rows.width
        self.positions = rows.lengths.clone()
        hidden = torch.zeros(len(prompts), rows.width + self.room, dtype=self.dtype, device=self.device)
        hidden[:, : rows.width].masked_fill_(~rows.valid, float("-inf"))
        self.hidden = None if rows.full else hidden[:, None, None]
        self._caches = [_Cache(*cache, self.room, self.decoder.layers[0].heads) for cache in caches]
        self._own(len(prompts))
        return self.decoder.output(last)

    def _prefill_layer(
        self,
        layer: Layer,
        states: torch.Tensor,
        rows: Rows,
        groups: list[tuple[str | None, int, int]],
        tables: tuple[torch.Tensor, torch.Tensor],
        caches: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        heads = layer.heads
        stacked = grouped_product(layer.qkv, layer.before_attention.forward(states), groups)
        query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in layer.heads_of(stacked))
        q, k, v = (by_key(rows, x, heads) for x in (rotate(query, *tables), rotate(key, *tables), value))
        mixed = from_key(rows, Causal(q, k, v, heads, keep=False).forward(), heads).flatten(1)
        caches.append((k.unflatten(0, (rows.rows, heads.keys)), v.unflatten(0, (rows.rows, heads.keys))))
        states = grouped_product(layer.out, mixed, groups).add_(states)
        stacked = grouped_product(layer.gate_up, layer.before_mlp.forward(states), groups)
        return grouped_product(layer.down, self.gate.forward(stacked), groups).add_(states)

    # rows

    def repeat(self, copies: int) -> None:
        """Let every row stand `copies` times in a row; keys and values of prompts stay where they are."""
        for cache in self._caches:
            cache.repeat(copies)
        self._copies = copies
        self._moved(torch.arange(len(self.positions), device=self.device).repeat_interleave(copies))

    def select(self, rows: torch.Tensor) -> None:
        """Keep the rows with the indices `rows` [kept]; groups stay in order and of equal size."""
        for cache in self._caches:
            cache.select(rows)
        self._copies = 1
        self._moved(rows)

    def _moved(self, rows: torch.Tensor) -> None:
        """Let the batch consist of the rows with the indices `rows`."""
        self.positions = self.positions[rows]
        self.hidden = None if self.hidden is None else self.hidden[rows]
        self._groups = None if self._groups is None else self._groups[rows]
        self._own(len(rows))

    def _bounds(self, rows: int) -> list[int]:
        """Where each group of the rows begins, and where the last one ends."""
        if self._groups is None:
            size = rows // len(self.adapters)
            return [group * size for group in range(len(self.adapters) + 1)]
        sizes = torch.bincount(self._groups, minlength=len(self.adapters))
        return [0, *sizes.cumsum(0).tolist()]

    def _own(self, rows: int) -> None:
        bounds = self._bounds(rows)
        for linears in self._steps:
            for linear in linears:
                linear.own_rows(bounds)

    # one token

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token per row, [rows]; returns the logits of the next, [rows, vocabulary]."""
        states = functional.embedding(tokens, self.decoder.transformer.embed_tokens.weight)
        tables = self.decoder.tables(self.positions)
        self.length += 1
        hidden = None if self.hidden is None else self.hidden[:: self._copies, ..., : self.length]
        for layer, cache, (qkv, out, gate_up, down) in zip(self.decoder.layers, self._caches, self._steps, strict=True):
            stacked = qkv(layer.before_attention.forward(states))
            mixed = cache.attend(*rotated(layer, stacked, tables), hidden)
            states = out(mixed).add_(states)
            stacked = gate_up(layer.before_mlp.forward(states))
            states = down(self.gate.forward(stacked)).add_(states)
        self.positions = self.positions + 1
        return self.decoder.output(self.decoder.norm.forward(states))


def rotated(
    layer: Layer, stacked: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value [rows, heads, width] of one token per row, with their rotary embedding."""
    heads = layer.heads
    if layer.query_norm is None:
        split = heads.queries + heads.keys
        whole = stacked.unflatten(-1, (-1, heads.width))
        turned = rotate(whole[:, :split], *tables)
        return turned[:, : heads.queries], turned[:, heads.queries :], whole[:, split:]
    query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in layer.heads_of(stacked))
    return rotate(query, *tables), rotate(key, *tables), value


class _Cache:
    """Keys and values of one layer: [rows, heads, tokens, width] with room for more, or, as long as every prompt has
    its rows beside each other, those of prompts once and those of rows [prompts, heads, copies, room, width]."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int, heads: Heads):
        self.shared: tuple[torch.Tensor, torch.Tensor] | None = None
        self.prompt, self.room, self.heads, self.held = keys.shape[2], room, heads, 0
        self.own = (keys, values)
        self._roomy = False

    def repeat(self, copies: int) -> None:
        """From now on `copies` rows stand for every row there was."""
        prompts, heads, _, width = self.own[0].shape
        self.shared = self.own
        keys, values = (part.new_empty(prompts, heads, copies, self.room, width) for part in self.own)
        self.own, self._roomy = (keys, values), True

    def select(self, rows: torch.Tensor) -> None:
        """Keep `rows`."""
        filled = self.prompt + self.held
        if self.shared is None:
            self.own = self._with_room(*(part[:, :, :filled].index_select(0, rows) for part in self.own))
            return
        prompts, shared = rows // self.own[0].shape[2], self.shared
        drawn = (part.transpose(1, 2).flatten(0, 1)[:, :, : self.held].index_select(0, rows) for part in self.own)
        whole = (torch.cat([part.index_select(0, prompts), new], 2) for part, new in zip(shared, drawn, strict=True))
        self.shared = None
        self.own = self._with_room(*whole)

    def _with_room(self, *parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._roomy = True
        keys, values = (part.new_empty(*part.shape[:2], self.prompt + self.room, part.shape[3]) for part in parts)
        for roomy, part in zip((keys, values), parts, strict=True):
            roomy[:, :, : part.shape[2]] = part
        return keys, values

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor | None
    ) -> torch.Tensor:
        """Keep a new token's key and value and attend to all of its row.

        Args:
            query, key, value: [rows, heads, width].
            hidden: [rows or prompts, 1, 1, tokens], minus infinity where there is padding; None if there is none.
        Returns:
            [rows, query heads * width].
        """
        self.held += 1
        if self.shared is not None:
            return self._attend_shared(query, key, value, hidden, self.shared)
        if not self._roomy:
            self.own = self._with_room(*self.own)
        keys, values = (part[:, :, : self.prompt + self.held] for part in self.own)
        keys[:, :, -1], values[:, :, -1] = key, value
        query = query.unflatten(1, (self.heads.keys, self.heads.groups))
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=hidden, scale=self.heads.scale)
        return mixed.flatten(1)

    def _attend_shared(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        hidden: torch.Tensor | None,
        of_prompts: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """The same, the copies of a prompt as rows of one product with the prompt's keys and values `of_prompts`."""
        prompts, heads, copies = self.own[0].shape[:3]
        keys, values = (part[:, :, :, : self.held] for part in self.own)
        keys[:, :, :, -1] = key.unflatten(0, (prompts, copies)).transpose(1, 2)
        values[:, :, :, -1] = value.unflatten(0, (prompts, copies)).transpose(1, 2)
        query = query.unflatten(1, (heads, -1)).unflatten(0, (prompts, copies)).transpose(1, 2) * self.heads.scale
        wide = query.flatten(2, 3).flatten(0, 1)
        before = torch.bmm(wide, of_prompts[0].flatten(0, 1).transpose(1, 2)).unflatten(0, (prompts, heads))
        if hidden is not None:
            before += hidden[..., : self.prompt]
        own = torch.bmm(query.flatten(0, 2), keys.flatten(0, 2).transpose(1, 2))
        weights = torch.softmax(torch.cat([before.view(*own.shape[:2], -1), own], -1), -1)
        shared = weights.view(prompts * heads, -1, weights.shape[-1])[..., : self.prompt]
        mixed = torch.bmm(shared, of_prompts[1].flatten(0, 1)).view(*own.shape[:2], -1)
        mixed = torch.baddbmm(mixed, weights[..., self.prompt :], values.flatten(0, 2))
        return mixed.view(prompts, heads, copies, -1).transpose(1, 2).flatten(2).flatten(0, 1)


def grouped_product(linear: StackedLinear, h: torch.Tensor, groups: list[tuple[str | None, int, int]]) -> torch.Tensor:
    """[tokens, out] W h + s B A h of h [tokens, in], rows [start, stop) with the adapter of their group."""
    result = linear(h)
    for name, start, stop in groups:
        lora = linear.lora(name)
        if lora is None:
            continue
        first, seconds = lora.stacked(h.dtype)
        inner = functional.linear(h[start:stop], first).chunk(len(seconds), -1)
        for (left, right), part, second in zip(lora.columns, inner, seconds, strict=True):
            result[start:stop, left:right].addmm_(part, second.t())
    return result


class _RowLinear:
    """W h + s B A h for few rows, grouped by adapter: one product for all A's, one for all B's.

    Both are kept in oneDNN's order like W, so that no call has to put them in order again.
    """

    def __init__(self, linear: StackedLinear, names: Sequence[str | None]):
        self.linear = linear
        self.own: torch.Tensor | None = None  # [rows, all ranks]: 1 where a row's own adapter stands, 0 elsewhere
        loras = [linear.lora(name) for name in names]
        weight = linear.weight
        stacks = [None if lora is None else lora.stacked(weight.dtype) for lora in loras]
        firsts = [stack[0] for stack in stacks if stack is not None]
        self.first = FrozenLinear(torch.cat(firsts), None, linear.pack) if firsts else None
        second = weight.new_zeros(weight.shape[0], sum(map(len, firsts)))
        self._groups = weight.new_zeros(len(names), second.shape[1])
        place = 0
        for group, (lora, stack) in enumerate(zip(loras, stacks, strict=True)):
            if lora is None or stack is None:
                continue
            self._groups[group, place : place + len(stack[0])] = 1
            for (left, right), part in zip(lora.columns, stack[1], strict=True):
                second[left:right, place : place + part.shape[1]] = part
                place += part.shape[1]
        self.second = FrozenLinear(second, None, linear.pack and self.first is not None)

    def own_rows(self, bounds: Sequence[int]) -> None:
        """Expect the rows of a group from one of `bounds` to the next, the same number for every adapter."""
        if len(self._groups) > 1:
            self.own = self._groups.repeat_interleave(bounds[1], 0)

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """[rows, out] from [rows, in]."""
        if self.first is None:
            return self.linear(h)
        inner = self.first(h)
        if self.own is not None:
            inner.mul_(self.own)
        return self.linear(h, self.second(inner))


class _GroupedLinear:
    """The same for rows of many adapters, in groups of any size: two products per group.

    A product with all A's would cost as many times more as there are groups.
    """

    def __init__(self, linear: StackedLinear, names: Sequence[str | None]):
        self.linear = linear
        self._parts = [self._stacked(name) for name in names]
        self._groups: list[tuple[int, int, torch.Tensor, torch.Tensor]] = []  # rows that are there

    def _stacked(self, name: str | None) -> tuple[torch.Tensor, torch.Tensor] | None:
        """A's of all layers [ranks, in], and their s B [ranks, out] with zeros at the columns of other layers."""
        lora, weight = self.linear.lora(name), self.linear.weight
        if lora is None:
            return None
        first, seconds = lora.stacked(weight.dtype)
        second = weight.new_zeros(len(first), weight.shape[0])
        place = 0
        for (left, right), part in zip(lora.columns, seconds, strict=True):
            second[place : place + part.shape[1], left:right] = part.t()
            place += part.shape[1]
        return first.t(), second

    def own_rows(self, bounds: Sequence[int]) -> None:
        """Expect the rows of a group from one of `bounds` to the next."""
        ranges = zip(self._parts, bounds[:-1], bounds[1:], strict=True)
        self._groups = [(start, stop, *part) for part, start, stop in ranges if part is not None and start < stop]

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """[rows, out] from [rows, in]."""
        result = self.linear(h)
        for start, stop, first, second in self._groups:
            result[start:stop].addmm_(h[start:stop] @ first, second)
        return result
