"""Decoding in fixed shapes without padding between prompts, by the few kernels of decoder.py; on any device.

Rows stand grouped by adapter, every group of the same size, as in decoding.py; adapters are copied into tensors that
stay where they are, and every step reads the first columns of an arena.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch.nn import functional

from collm.llm.packed.attention import Rows, rotate
from collm.llm.packed.decoder import Layer, PackedDecoder, token_ids, token_positions
from collm.llm.packed.decoding import grouped_product, rotated
from collm.llm.packed.lora_linear import Gate, StackedLinear
from collm.llm.static.arena import Arena, KeyValues, Prompts

Group = tuple[str | None, int, int]  # an adapter and its tokens [start, stop)


class StaticPacked:
    """Runs a `PackedDecoder` for `StaticDecoder`; see `Model`. Without gradients."""

    def __init__(self, decoder: PackedDecoder, adapters: Sequence[str | None], device: torch.device):
        """`adapters`: one per group of rows."""
        self.decoder, self.adapters, self.device = decoder, list(adapters), device
        self.gate = Gate()
        self._linears: list[list[_FixedLinear]] = []
        self._version: Hashable = None

    @property
    def version(self) -> Hashable:
        """See `Model`."""
        return self._version

    @contextlib.contextmanager
    def running(self) -> Any:
        """See `Model`."""
        self.decoder.refresh()
        weights = [linear.weight for layer in self.decoder.layers for linear in layer.linears]
        places = tuple(weight.data_ptr() for weight in [*weights, self.decoder.output.weight])
        version = (id(self), tuple(self.adapters)), places, weights[0].dtype
        if version != self._version:
            layers = self.decoder.layers
            self._linears = [[_FixedLinear(linear, self.adapters) for linear in layer.linears] for layer in layers]
            self._version = version
        for linears in self._linears:
            for linear in linears:
                linear.refresh()
        yield

    # prompts

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> Prompts:
        """See `Model`."""
        lengths = [len(prompt) for prompt in prompts]
        rows = Rows(lengths, self.device)
        size, ends = len(prompts) // len(self.adapters), [sum(lengths[: i + 1]) for i in range(len(lengths))]
        bounds = [0, *ends[size - 1 :: size]]
        groups = list(zip(self.adapters, bounds[:-1], bounds[1:], strict=True))
        tables = self.decoder.tables(token_positions(lengths, [0] * len(lengths), self.device))
        states = functional.embedding(token_ids(prompts, self.device), self.decoder.transformer.embed_tokens.weight)
        layers: list[KeyValues] = []
        for layer in self.decoder.layers:
            states, kept = self._prefill_layer(layer, states, rows, groups, tables)
            layers.append(kept)
        last = self.decoder.norm.forward(states[rows.lengths.cumsum(0) - 1])
        return Prompts(self.decoder.output(last), layers, rows.valid, rows.lengths)

    def _prefill_layer(
        self,
        layer: Layer,
        states: torch.Tensor,
        rows: Rows,
        groups: list[Group],
        tables: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, KeyValues]:
        heads = layer.heads
        stacked = grouped_product(layer.qkv, layer.before_attention.forward(states), groups)
        query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in layer.heads_of(stacked))
        query, key = (rotate(x, *tables).to(value.dtype) for x in (query, key))
        q, k, v = (rows.grid(x).transpose(1, 2) for x in (query, key, value))
        mixed = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=heads.scale, enable_gqa=heads.groups > 1
        )
        states = grouped_product(layer.out, rows.flat(mixed.transpose(1, 2)).flatten(1), groups).add_(states)
        stacked = grouped_product(layer.gate_up, layer.before_mlp.forward(states), groups)
        return grouped_product(layer.down, self.gate.forward(stacked), groups).add_(states), (k, v)

    # one token

    def step(self, arena: Arena, length: int) -> torch.Tensor:
        """See `Model`."""
        states = functional.embedding(arena.token, self.decoder.transformer.embed_tokens.weight)
        tables = self.decoder.tables(arena.positions)
        seen = arena.mask(length)
        for index, (layer, linears) in enumerate(zip(self.decoder.layers, self._linears, strict=True)):
            qkv, out, gate_up, down = linears
            heads = layer.heads
            query, key, value = rotated(layer, qkv(layer.before_attention.forward(states)), tables)
            keys, values = arena.write(index, key[:, :, None].to(value.dtype), value[:, :, None], length)
            query = query.to(value.dtype).unflatten(1, (heads.keys, heads.groups))  # a key's queries as rows
            mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=heads.scale)
            states = out(mixed.flatten(1)).add_(states)
            stacked = gate_up(layer.before_mlp.forward(states))
            states = down(self.gate.forward(stacked)).add_(states)
        return self.decoder.output(self.decoder.norm.forward(states))


class _FixedLinear:
    """W h + s B A h for rows grouped by adapter: one product for all A's, one for all B's, in tensors that stay."""

    def __init__(self, linear: StackedLinear, names: Sequence[str | None]):
        self.linear, self.names = linear, names
        loras = [linear.lora(name) for name in names]
        weight = linear.weight
        ranks = [0 if lora is None else sum(len(part) for part in lora.parameters[::2]) for lora in loras]
        self.first = weight.new_zeros(sum(ranks), weight.shape[1])
        self.second = weight.new_zeros(weight.shape[0], sum(ranks))
        self._own = weight.new_zeros(len(names), sum(ranks))  # 1 where a group's own adapter stands
        for group in range(len(names)):
            self._own[group, sum(ranks[:group]) : sum(ranks[: group + 1])] = 1

    def refresh(self) -> None:
        """Take the adapters' numbers as they are now."""
        place = 0
        for name in self.names:
            lora = self.linear.lora(name)
            if lora is None:
                continue
            first, seconds = lora.stacked(self.first.dtype)
            self.first[place : place + len(first)] = first
            for (left, right), part in zip(lora.columns, seconds, strict=True):
                self.second[left:right, place : place + part.shape[1]] = part
                place += part.shape[1]

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """[rows, out] from [rows, in]."""
        result = self.linear(h)
        if not len(self.first):
            return result
        inner = functional.linear(h, self.first)
        if len(self.names) > 1:
            inner = (inner.unflatten(0, (len(self.names), -1)) * self._own[:, None]).flatten(0, 1)
        return result.addmm_(inner, self.second.t())
