"""Sampling of responses: one prefill per distinct prompt, one decode loop per batch, rows leave when they end.

A row's randomness comes from its own key alone (counter-based), so that a response depends neither on the batch
it was decoded in nor on what was sampled before; no generator state has to be saved to resume.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from the next-token distribution."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None

    @property
    def truncates(self) -> bool:
        """Whether improbable tokens are never drawn."""
        return self.top_k is not None or self.top_p < 1.0


@dataclass(frozen=True)
class Request:
    """One prompt of one group (adapter) and a key per response."""

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


class Stepper(Protocol):
    """Runs the model for `decode`: prompts once, then one token per row and call."""

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Logits after each prompt, [prompts, vocabulary]; a row for every prompt."""
        ...

    def repeat(self, copies: int) -> None:
        """Let every row stand `copies` times in a row."""
        ...

    def select(self, rows: torch.Tensor) -> None:
        """Keep the rows with the indices `rows` [kept]."""
        ...

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token to each row, [rows]; logits of the next one, [rows, vocabulary]."""
        ...


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
    if not sampling.truncates:
        cumulative = _sums(torch.softmax(scaled, -1))
        return _invert(cumulative, uniform)
    return _drawn(*_kept(scaled, sampling), uniform)


def pick_blind(
    logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling, count: int | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same without a look at the numbers from the host, which a captured step cannot have.

    Args:
        count: the most probable tokens that top-p looks at; None: all, which sorts the vocabulary.
    Returns:
        [rows] token ids; with `count` also [rows] whether these were too few for top-p, so that the draw is void.
    """
    if not sampling.truncates or sampling.top_k is not None:
        return pick(logits, uniform, sampling), None
    scaled = logits / sampling.temperature
    if count is None or count >= scaled.shape[-1]:
        values, order = scaled.sort(dim=-1, descending=True)
        return _drawn(_cut(values, sampling), order, uniform), None
    values, order, mass = _most(scaled, count, scaled.logsumexp(-1))
    return _drawn(_cut(values, sampling), order, uniform), mass <= sampling.top_p


def as_sampled(logits: torch.Tensor, drawn: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits of the policy that samples: tempered, and next to minus infinity where top-k or top-p cuts a token off.

    Which tokens are kept is no matter of differentiation: between two jumps it does not change. The drawn token counts
    as kept, also if a policy that has moved since would cut it off; its importance ratio stays finite.

    Args:
        logits: [rows, vocabulary], float32 at least.
        drawn: [rows] ids of the tokens that are scored.
    """
    scaled = logits / sampling.temperature
    if not sampling.truncates:
        return scaled
    probabilities, order = _kept(scaled.detach(), sampling)
    kept = torch.zeros_like(scaled, dtype=torch.int8).scatter_add_(-1, order, (probabilities > 0).to(torch.int8)) > 0
    kept.scatter_(-1, drawn[:, None], True)
    return scaled.masked_fill(~kept, torch.finfo(scaled.dtype).min / 4)


def _kept(scaled: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the most probable tokens, 0 where top-p cuts one off, and their ids: [rows, tokens] each."""
    values, order = _head(scaled, sampling)
    return _cut(values, sampling), order


def _cut(values: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities of tokens with scaled logits `values` [rows, tokens] in order, 0 where top-p cuts one off."""
    probabilities = torch.softmax(values, -1)
    if sampling.top_p < 1.0:
        before = _sums(probabilities) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    return probabilities


def _drawn(probabilities: torch.Tensor, order: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """[rows] ids drawn from the tokens `order` [rows, tokens] with these probabilities."""
    place = _invert(_sums(probabilities), uniform)
    return order.gather(-1, place[:, None])[:, 0]


def _head(scaled: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable tokens that decide the draw, enough of them for top-k and top-p to be exact: their scaled
    logits and ids in order, [rows, tokens] each."""
    vocabulary = scaled.shape[-1]
    if sampling.top_k is not None:
        return scaled.topk(min(sampling.top_k, vocabulary), dim=-1)
    whole = scaled.logsumexp(-1)
    for count in (256, 4096):
        if count >= vocabulary:
            break
        values, order, mass = _most(scaled, count, whole)
        if bool((mass > sampling.top_p).all()):
            return values, order
    return scaled.sort(dim=-1, descending=True)


def _most(scaled: torch.Tensor, count: int, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `count` most probable tokens and one for all others: scaled logits and ids, [rows, count + 1] each, and the
    [rows] probability of the former; `whole` is the logarithm of all mass."""
    values, order = scaled.topk(count, dim=-1)
    mass = torch.exp(values.logsumexp(-1) - whole)
    rest = torch.log1p(-mass.clamp(max=1 - 1e-7)) + whole
    return torch.cat([values, rest[:, None]], -1), torch.cat([order, order[:, :1]], -1), mass


def _sums(probabilities: torch.Tensor) -> torch.Tensor:
    """[rows, tokens] sums over each token and those before it."""
    if probabilities.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _sums_by_doubling(probabilities)  # torch has no cumsum there that is sure to give the same bits again
    return probabilities.cumsum(-1)


def _sums_by_doubling(probabilities: torch.Tensor) -> torch.Tensor:
    """The same in as many element-wise steps as the number of tokens has bits."""
    sums, reach = probabilities, 1
    while reach < probabilities.shape[-1]:
        sums = sums + torch.nn.functional.pad(sums[..., :-reach], (reach, 0))
        reach *= 2
    return sums


def _invert(cumulative: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """[rows] places in `cumulative` [rows, tokens] where it passes `uniform` [rows] of its total."""
    total = cumulative[:, -1:]
    place = torch.searchsorted(cumulative, (uniform[:, None] * total).to(cumulative.dtype), right=True)[:, 0]
    last = (cumulative < total).sum(-1)
    return torch.minimum(place, last)


@torch.no_grad()
def decode(
    stepper: Stepper,
    requests: Sequence[Request],
    sampling: Sampling,
    ends: frozenset[int],
    device: torch.device,
    uneven: bool = False,
) -> list[list[Generated]]:
    """Sample all responses of `requests` in one batch.

    Args:
        requests: grouped by adapter, the same number of requests per adapter and of keys per request.
        uneven: the stepper takes groups of any sizes, also when rows leave.
    Returns:
        For every request one `Generated` per key, in order.
    """
    rows = _Rows(requests, sampling, ends)
    groups = len({request.group for request in requests})
    copies = len(requests[0].keys)
    logits = stepper.prefill([request.prompt for request in requests])
    if copies > 1:
        stepper.repeat(copies)
        logits = logits.repeat_interleave(copies, 0)
    for count in range(sampling.max_new_tokens):
        tokens = rows.accept(logits.float(), count)
        if rows.finished or count + 1 == sampling.max_new_tokens:
            break
        keep = rows.open() if uneven else rows.compact(groups)
        if keep is not None:
            keep = keep.to(device)
            stepper.select(keep)
            tokens = tokens[keep]
        logits = stepper.step(tokens)
    return rows.results(copies)


class _Rows:
    """Book-keeping of the rows that are being decoded."""

    def __init__(self, requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]):
        keys = [key for request in requests for key in request.keys]
        self._uniform = torch.from_numpy(np.stack([uniforms(key, sampling.max_new_tokens) for key in keys])).float()
        self._sampling, self._ends = sampling, ends
        self._tokens: list[list[int]] = [[] for _ in keys]
        self._scores: list[tuple[list[tuple[int, int]], torch.Tensor]] = []  # per token: (row, response), [rows]
        self._ended = [False] * len(keys)
        self._live = list(range(len(keys)))  # batch row -> response

    @property
    def finished(self) -> bool:
        return all(self._ended[index] for index in self._live)

    def accept(self, logits: torch.Tensor, count: int) -> torch.Tensor:
        """Draw the next token of every batch row, [rows], from its logits [rows, vocabulary], and record it where the
        response is still open."""
        uniform = self._uniform[self._live, count].to(logits.device)
        tokens = pick(logits, uniform, self._sampling)
        open_rows = [(row, index) for row, index in enumerate(self._live) if not self._ended[index]]
        self._scores.append((open_rows, logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)))
        drawn = tokens.tolist()
        for row, index in open_rows:
            self._tokens[index].append(drawn[row])
            self._ended[index] = drawn[row] in self._ends
        return tokens

    def _logprobs(self) -> list[float]:
        """Log-probability of every response; they are read from the device once, at the end."""
        sums = [0.0] * len(self._tokens)
        of_rows = iter(torch.cat([scores for _, scores in self._scores]).tolist())
        for open_rows, scores in self._scores:
            of_token = list(itertools.islice(of_rows, len(scores)))
            for row, index in open_rows:
                sums[index] += of_token[row]
        return sums

    def compact(self, groups: int) -> torch.Tensor | None:
        """Rows to keep as soon as at most half are open; groups keep equal sizes, padded with ended rows."""
        open_rows: list[list[int]] = [[] for _ in range(groups)]
        ended_rows: list[list[int]] = [[] for _ in range(groups)]
        size = len(self._live) // groups
        for row, index in enumerate(self._live):
            (ended_rows if self._ended[index] else open_rows)[row // size].append(row)
        need = max(map(len, open_rows))
        if need == 0 or need * 2 > size:
            return None
        keep = [row for group in range(groups) for row in (open_rows[group] + ended_rows[group])[:need]]
        self._live = [self._live[row] for row in keep]
        return torch.tensor(keep)

    def open(self) -> torch.Tensor | None:
        """Rows to keep as soon as at most half are open: those that are."""
        keep = [row for row, index in enumerate(self._live) if not self._ended[index]]
        if len(keep) * 2 > len(self._live):
            return None
        self._live = [self._live[row] for row in keep]
        return torch.tensor(keep)

    def results(self, copies: int) -> list[list[Generated]]:
        flat = [
            Generated(tuple(tokens), logprob, ended)
            for tokens, logprob, ended in zip(self._tokens, self._logprobs(), self._ended, strict=True)
        ]
        return [flat[start : start + copies] for start in range(0, len(flat), copies)]
