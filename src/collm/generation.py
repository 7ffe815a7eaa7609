"""Sampling of responses: one prefill per distinct prompt, one decode loop per batch, rows leave when they end.

A row's randomness comes from its own key alone (counter-based), so that a response depends neither on the batch
it was decoded in nor on what was sampled before; no generator state has to be saved to resume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from the next-token distribution."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None


@dataclass(frozen=True)
class Request:
    """One prompt of one group (adapter) and a key per response wanted."""

    group: int
    prompt: tuple[int, ...]
    keys: tuple[int, ...]


@dataclass(frozen=True)
class Generated:
    """Tokens of one response up to and including the end token, if one was drawn, and their log-probability.

    `logprob` is the sum over tokens under the full, untempered softmax, as the decoder saw it.
    """

    tokens: tuple[int, ...]
    logprob: float
    ended: bool


Step = Callable[..., tuple[torch.Tensor, DynamicCache]]


def uniforms(key: int, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that depend on `key` only."""
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def pick(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Draw one token per row by inverting the cumulative distribution.

    Args:
        logits: [rows, vocabulary], float32.
        uniform: [rows], numbers in [0, 1).
    Returns:
        [rows] token ids.
    """
    scaled = logits / sampling.temperature
    if sampling.top_k is None and sampling.top_p >= 1.0:
        cumulative = torch.softmax(scaled, -1).cumsum(-1)
        return _invert(cumulative, uniform)
    values, order = _head(scaled, sampling)
    probabilities = torch.softmax(values, -1)
    if sampling.top_p < 1.0:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    place = _invert(probabilities.cumsum(-1), uniform)
    return order.gather(-1, place[:, None])[:, 0]


def _head(scaled: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable tokens, in order, that decide the draw: enough of them for top-k and top-p to be exact."""
    vocabulary = scaled.shape[-1]
    if sampling.top_k is not None:
        return scaled.topk(min(sampling.top_k, vocabulary), dim=-1)
    count = min(256, vocabulary)
    values, order = scaled.topk(count, dim=-1)
    mass = torch.exp(values.logsumexp(-1) - scaled.logsumexp(-1))
    if count < vocabulary and bool((mass <= sampling.top_p).any()):
        return scaled.sort(dim=-1, descending=True)
    rest = torch.log1p(-mass.clamp(max=1 - 1e-7)) + scaled.logsumexp(-1)
    return torch.cat([values, rest[:, None]], -1), torch.cat([order, order[:, :1]], -1)


def _invert(cumulative: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    total = cumulative[:, -1:]
    place = torch.searchsorted(cumulative, (uniform[:, None] * total).to(cumulative.dtype), right=True)[:, 0]
    last = (cumulative < total).sum(-1)
    return torch.minimum(place, last)


@torch.no_grad()
def decode(
    step: Step, requests: Sequence[Request], sampling: Sampling, ends: frozenset[int], pad: int, device: torch.device
) -> list[list[Generated]]:
    """Sample all responses of `requests` in one batch.

    Args:
        step: called as step(ids, mask, positions, cache, last) -> (logits [rows, vocabulary] of the last column,
            cache).
        requests: grouped by adapter, the same number of requests per adapter and of keys per request.
    Returns:
        For every request one `Generated` per key, in order.
    """
    rows = _Rows(requests, sampling, ends)
    width = max(len(request.prompt) for request in requests)
    ids = torch.full((len(requests), width), pad, dtype=torch.long)
    mask = torch.zeros((len(requests), width), dtype=torch.long)
    for row, request in enumerate(requests):
        ids[row, width - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, width - len(request.prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits, cache = step(ids, mask, positions, None)
    copies = len(requests[0].keys)
    if copies > 1:
        cache.batch_repeat_interleave(copies)
        logits, mask, positions = (part.repeat_interleave(copies, 0) for part in (logits, mask, positions))
    position = positions[:, -1:] + 1
    for count in range(sampling.max_new_tokens):
        tokens = rows.accept(logits.float(), count)
        if rows.finished or count + 1 == sampling.max_new_tokens:
            break
        keep = rows.compact(groups=len({request.group for request in requests}))
        if keep is not None:
            keep = keep.to(device)
            cache.batch_select_indices(keep)
            tokens, mask, position = tokens[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        logits, cache = step(tokens[:, None], mask, position, cache)
        position = position + 1
    return rows.results(copies)


class _Rows:
    """Book-keeping of the rows that are being decoded."""

    def __init__(self, requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]):
        keys = [key for request in requests for key in request.keys]
        self._uniform = torch.from_numpy(np.stack([uniforms(key, sampling.max_new_tokens) for key in keys])).float()
        self._sampling, self._ends = sampling, ends
        self._tokens: list[list[int]] = [[] for _ in keys]
        self._logprob = [0.0] * len(keys)
        self._ended = [False] * len(keys)
        self._live = list(range(len(keys)))  # batch row -> response

    @property
    def finished(self) -> bool:
        return all(self._ended[index] for index in self._live)

    def accept(self, logits: torch.Tensor, count: int) -> torch.Tensor:
        """Draw the next token of every batch row and record it where the response is still open."""
        uniform = self._uniform[self._live, count].to(logits.device)
        tokens = pick(logits, uniform, self._sampling)
        chosen = (logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)).tolist()
        for row, (index, token) in enumerate(zip(self._live, tokens.tolist(), strict=True)):
            if not self._ended[index]:
                self._tokens[index].append(token)
                self._logprob[index] += chosen[row]
                self._ended[index] = token in self._ends
        return tokens

    def compact(self, groups: int) -> torch.Tensor | None:
        """Rows to keep once at most half are open; groups keep equal sizes, padded with ended rows."""
        open_rows = [[] for _ in range(groups)]
        ended_rows = [[] for _ in range(groups)]
        size = len(self._live) // groups
        for row, index in enumerate(self._live):
            (ended_rows if self._ended[index] else open_rows)[row // size].append(row)
        need = max(map(len, open_rows))
        if need == 0 or need * 2 > size:
            return None
        keep = [row for group in range(groups) for row in (open_rows[group] + ended_rows[group])[:need]]
        self._live = [self._live[row] for row in keep]
        return torch.tensor(keep)

    def results(self, copies: int) -> list[list[Generated]]:
        flat = [
            Generated(tuple(tokens), logprob, ended)
            for tokens, logprob, ended in zip(self._tokens, self._logprob, self._ended, strict=True)
        ]
        return [flat[start : start + copies] for start in range(0, len(flat), copies)]
