"""Causal attention over sequences that stand one after another without padding, several responses sharing a prompt.

Query heads that share a key are stacked as rows of one product, blocks above the diagonal are not computed, and the
backward pass is written out: on CPUs it takes a fifth of the time of torch's fused kernel. On CUDA devices the fused
kernel of torch is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

BLOCK = 96  # queries per block: finer blocks leave out more of the upper triangle, coarser ones are faster products
KEPT = 256  # longest sequence whose attention weights are kept for the backward pass instead of computed again


class Rows:
    """Where the tokens of sequences, one after another, stand in a grid [rows, longest] padded on the right."""

    def __init__(self, lengths: Sequence[int], device: torch.device):
        self.rows, self.width = len(lengths), max(lengths)
        self.lengths = torch.tensor(lengths, device=device)
        self.valid = torch.arange(self.width, device=device) < self.lengths[:, None]
        self.full = min(lengths) == self.width
        self.places = self.valid.flatten().nonzero()[:, 0]
        starts = (self.lengths.cumsum(0) - self.lengths)[:, None]
        self._sources = (starts + torch.arange(self.width, device=device)).masked_fill_(~self.valid, 0).flatten()
        self._padding = (~self.valid).flatten().nonzero()[:, 0]

    def grid(self, flat: torch.Tensor, zero: bool = False) -> torch.Tensor:
        """[rows, longest, ...] from [tokens, ...]; padding holds some token's numbers, or zeros."""
        if self.full:
            return flat.unflatten(0, (self.rows, self.width))
        cells = flat.index_select(0, self._sources)
        return (cells.index_fill_(0, self._padding, 0) if zero else cells).unflatten(0, (self.rows, self.width))

    def flat(self, grid: torch.Tensor) -> torch.Tensor:
        """[tokens, ...] from [rows, longest, ...]."""
        return grid.flatten(0, 1) if self.full else grid.flatten(0, 1).index_select(0, self.places)


@dataclass
class Layout:
    """Order of the tokens of a pass: `first` sequences and then, if any, `copies` continuations of each of them."""

    first: Rows
    then: Rows | None = None
    copies: int = 1


@dataclass(frozen=True)
class Heads:
    """Numbers of query and key heads, width of a head, and what scores are multiplied by."""

    queries: int
    keys: int
    width: int
    scale: float

    @property
    def groups(self) -> int:
        """Query heads per key head."""
        return self.queries // self.keys


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of [tokens, heads, width]; `sine` with its first half negated, both [tokens, 1, width]."""
    return torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, -1), sine)


def rotate_back(gradient: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Gradient of `rotate`."""
    return torch.addcmul((gradient * sine).roll(gradient.shape[-1] // 2, -1), gradient, cosine)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tables: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
    heads: Heads,
) -> torch.Tensor:
    """Rotary embedding and causal attention.

    Args:
        query, key, value: [tokens, heads * width].
        tables: cosine and signed sine, [tokens, 1, width], see `rotate`.
    Returns:
        [tokens, query heads * width].
    """
    passes = fused if query.device.type == "cuda" else _Attention.apply
    return passes(query, key, value, tables, layout, heads)


def fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tables: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
    heads: Heads,
) -> torch.Tensor:
    """The same by torch's fused kernel and automatic gradients; see `attend`."""
    query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in (query, key, value))
    query, key = (rotate(x, *tables).to(x.dtype) for x in (query, key))
    rows, count = layout.first, len(layout.first.places)
    options: dict[str, Any] = {"scale": heads.scale, "enable_gqa": heads.groups > 1}
    q, k, v = (rows.grid(x[:count]).transpose(1, 2) for x in (query, key, value))
    mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
    parts = [rows.flat(mixed.transpose(1, 2))]
    if layout.then is not None:
        q, then_k, then_v = (layout.then.grid(x[count:]).transpose(1, 2) for x in (query, key, value))
        keys, values = (
            torch.cat([shared.repeat_interleave(layout.copies, 0), own], 2).repeat_interleave(heads.groups, 1)
            for shared, own in ((k, then_k), (v, then_v))
        )  # a key head per query head: with a mask and shared heads no fused kernel is left on Ada and Ampere
        width = layout.then.width
        own = torch.ones(width, width, dtype=torch.bool, device=q.device).tril().expand(len(q), 1, -1, -1)
        seen = rows.valid.repeat_interleave(layout.copies, 0)[:, None, None].expand(-1, -1, width, -1)
        mask = torch.cat([seen, own], -1)
        mixed = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=heads.scale)
        parts.append(layout.then.flat(mixed.transpose(1, 2)))
    return torch.cat(parts).flatten(1)


def by_key(rows: Rows, x: torch.Tensor, heads: Heads, copies: int = 1, zero: bool = False) -> torch.Tensor:
    """[sequences * key heads (* copies), tokens * query heads per key, width] from [tokens, heads, width].

    Sequences, key heads and copies are ordered so that the copies of a sequence stand together below a key head.
    """
    grid = rows.grid(x, zero).unflatten(2, (heads.keys, -1)).unflatten(0, (-1, copies))
    return grid.permute(0, 3, 1, 2, 4, 5).flatten(0, 2).flatten(1, 2).contiguous()


def from_key(rows: Rows, x: torch.Tensor, heads: Heads, copies: int = 1) -> torch.Tensor:
    """[tokens, heads, width] from what `by_key` makes."""
    grid = x.unflatten(1, (rows.width, -1)).unflatten(0, (-1, heads.keys, copies)).permute(0, 2, 3, 1, 4, 5)
    return rows.flat(grid.flatten(0, 1).flatten(2, 3))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, tables: Any, layout: Layout, heads: Heads) -> torch.Tensor:
        query, key, value = (x.unflatten(-1, (-1, heads.width)) for x in (query, key, value))
        query, key = (rotate(x, *tables).to(x.dtype) for x in (query, key))
        count = len(layout.first.places)
        rows = layout.first
        q, k, v = (by_key(rows, x[:count], heads) for x in (query, key, value))
        keep = any(ctx.needs_input_grad[:3])
        causal = Causal(q, k, v, heads, keep)
        mixed = [from_key(rows, causal.forward(), heads)]
        saved: list[Causal | Continued] = [causal]
        if layout.then is not None:
            q, then_k, then_v = (by_key(layout.then, x[count:], heads, layout.copies) for x in (query, key, value))
            continued = Continued(q, then_k, then_v, Prefixes(k, v, rows.valid, layout.copies), heads, keep)
            mixed.append(from_key(layout.then, continued.forward(), heads, layout.copies))
            saved.append(continued)
        ctx.saved, ctx.tables, ctx.layout, ctx.heads = saved, tables, layout, heads
        return (mixed[0] if len(mixed) == 1 else torch.cat(mixed)).flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        layout, heads, rows = ctx.layout, ctx.heads, ctx.layout.first
        gradient, count = gradient.unflatten(-1, (-1, heads.width)), len(layout.first.places)
        parts = ctx.saved[0].backward(by_key(rows, gradient[:count], heads, zero=True))
        then = None
        if layout.then is not None:
            of_then = by_key(layout.then, gradient[count:], heads, layout.copies, zero=True)
            *then, of_key, of_value = ctx.saved[1].backward(of_then)
            parts[1] += of_key
            parts[2] += of_value
        ctx.saved = None
        gradients = [from_key(rows, part, heads) for part in parts]
        if then is not None:
            more = (from_key(layout.then, part, heads, layout.copies) for part in then)
            gradients = [torch.cat(pair) for pair in zip(gradients, more, strict=True)]
        gradients[:2] = [rotate_back(part, *ctx.tables).to(part.dtype) for part in gradients[:2]]
        return *(part.flatten(1) for part in gradients), None, None, None


def triangle(size: int, groups: int, like: torch.Tensor) -> torch.Tensor:
    """[size * groups, size]: minus infinity where a query must not see a key, else 0."""
    hidden = torch.full((size, size), float("-inf"), dtype=like.dtype, device=like.device).triu_(1)
    return hidden.repeat_interleave(groups, 0) if groups > 1 else hidden


class Causal:
    """Attention of sequences to themselves: q [batch, length * groups, width], k and v [batch, length, width]."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: Heads, keep: bool):
        self.q, self.k, self.v, self.heads = q * heads.scale, k, v, heads
        length = k.shape[1]
        count = max(1, round(length / BLOCK))
        edges = [length * i // count for i in range(count + 1)]
        self.blocks = list(zip(edges[:-1], edges[1:], strict=True))
        self._kept: list[torch.Tensor] | None = [] if keep and length <= KEPT else None
        self._masks: dict[int, torch.Tensor] = {}

    def _weights(self, start: int, stop: int) -> torch.Tensor:
        groups = self.heads.groups
        scores = torch.bmm(self.q[:, start * groups : stop * groups], self.k[:, :stop].transpose(1, 2))
        size = stop - start
        if size not in self._masks:
            self._masks[size] = triangle(size, groups, scores)
        scores[:, :, start:] += self._masks[size]
        return torch.softmax(scores, -1)

    def forward(self) -> torch.Tensor:
        """[batch, length * groups, width]."""
        groups, mixed = self.heads.groups, torch.empty_like(self.q)
        for start, stop in self.blocks:
            weights = self._weights(start, stop)
            mixed[:, start * groups : stop * groups] = torch.bmm(weights, self.v[:, :stop])
            if self._kept is not None:
                self._kept.append(weights)
        return mixed

    def backward(self, gradient: torch.Tensor) -> list[torch.Tensor]:
        """Gradients of q, k and v."""
        groups = self.heads.groups
        of_q, of_k, of_v = torch.empty_like(self.q), torch.zeros_like(self.k), torch.zeros_like(self.v)
        for index, (start, stop) in enumerate(self.blocks):
            part = slice(start * groups, stop * groups)
            weights = self._weights(start, stop) if self._kept is None else self._kept[index]
            of_v[:, :stop] += torch.bmm(weights.transpose(1, 2), gradient[:, part])
            of_scores = torch.bmm(gradient[:, part], self.v[:, :stop].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_scores, weights, -1, weights.dtype)
            of_q[:, part] = torch.bmm(of_scores, self.k[:, :stop])
            of_k[:, :stop] += torch.bmm(of_scores.transpose(1, 2), self.q[:, part])
        return [of_q.mul_(self.heads.scale), of_k, of_v]


@dataclass
class Prefixes:
    """Keys and values [sequences * key heads, longest, width] of sequences that are continued, which of their places
    hold a token [sequences, longest], and how many continuations each has."""

    k: torch.Tensor
    v: torch.Tensor
    valid: torch.Tensor
    copies: int


class Continued:
    """Attention of continuations to the sequence that they continue and to themselves.

    q: [sequences * key heads * copies, length * groups, width], k and v of the continuations without groups.
    """

    def __init__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, prefixes: Prefixes, heads: Heads, keep: bool):
        """`keep`: the weights for the backward pass, where sequences are short enough."""
        self.q, self.k, self.v, self.heads = q * heads.scale, k, v, heads
        self.shared_k, self.shared_v, copies, valid = prefixes.k, prefixes.v, prefixes.copies, prefixes.valid
        self._wide = (len(self.shared_k), copies * q.shape[1], -1)  # all copies of a sequence as rows of one product
        hidden = torch.zeros(valid.shape, dtype=q.dtype, device=q.device).masked_fill_(~valid, float("-inf"))
        self._hidden = hidden.repeat_interleave(heads.keys * copies, 0)[:, None]
        self._kept = self._weights() if keep and self.shared_k.shape[1] + k.shape[1] <= KEPT else None

    def _weights(self) -> torch.Tensor:
        before = torch.bmm(self.q.view(self._wide), self.shared_k.transpose(1, 2)).view(*self.q.shape[:2], -1)
        own = torch.bmm(self.q, self.k.transpose(1, 2))
        own += triangle(self.k.shape[1], self.heads.groups, own)
        return torch.softmax(torch.cat([before.add_(self._hidden), own], -1), -1)

    def forward(self) -> torch.Tensor:
        """[sequences * key heads * copies, length * groups, width]."""
        weights = self._weights() if self._kept is None else self._kept
        before, own = weights.split([self.shared_k.shape[1], self.k.shape[1]], -1)
        mixed = torch.bmm(before.reshape(self._wide), self.shared_v).view(self.q.shape)
        return mixed.baddbmm_(own, self.v)

    def backward(self, gradient: torch.Tensor) -> list[torch.Tensor]:
        """Gradients of q, k, v, shared k and shared v."""
        weights = self._weights() if self._kept is None else self._kept
        split = [self.shared_k.shape[1], self.k.shape[1]]
        wide = gradient.view(self._wide)
        before = torch.bmm(wide, self.shared_v.transpose(1, 2)).view(*self.q.shape[:2], -1)
        of_scores = torch.cat([before, torch.bmm(gradient, self.v.transpose(1, 2))], -1)
        of_scores = torch._softmax_backward_data(of_scores, weights, -1, weights.dtype)
        of_before, of_own = of_scores.split(split, -1)
        before, own = weights.split(split, -1)
        of_before, before = of_before.reshape(self._wide), before.reshape(self._wide)
        of_q = torch.bmm(of_before, self.shared_k).view(self.q.shape).baddbmm_(of_own, self.k)
        of_k = torch.bmm(of_own.transpose(1, 2), self.q)
        of_v = torch.bmm(own.transpose(1, 2), gradient)
        of_shared_k = torch.bmm(of_before.transpose(1, 2), self.q.view(self._wide))
        of_shared_v = torch.bmm(before.transpose(1, 2), wide)
        return [of_q.mul_(self.heads.scale), of_k, of_v, of_shared_k, of_shared_v]
