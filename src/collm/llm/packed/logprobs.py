"""Log-probabilities of responses and last states of texts by passes without padding (decoder.py)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from collm.llm.batching import Pair, copies_per_prompt
from collm.llm.packed.attention import Layout, Rows
from collm.llm.packed.decoder import PackedDecoder, PackedTokens, token_ids, token_positions
from collm.llm.packed.lora_linear import StackedLinear
from collm.llm.sampling import Sampling, as_sampled

CHUNK = 1 << 22  # logits computed at once: 16 MB in float32


def logprobs(
    decoder: PackedDecoder,
    adapter: str | None,
    pairs: Sequence[Pair],
    dtype: torch.dtype,
    device: torch.device,
    entropy_gradient: bool = False,
    sampling: Sampling | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """([batch] sums of token log-probabilities, [batch] mean entropy per token in nats) of responses.

    Args:
        adapter: the adapter's name; None scores with the bare base.
        pairs: (prompt ids, response ids); prompts that stand several times in a row are computed once.
        dtype: of the products.
        entropy_gradient: whether the entropy carries a gradient.
        sampling: score under the policy that draws so instead of the full softmax.
    """
    copies = copies_per_prompt(pairs)
    tokens = _prompts_shared(pairs, copies, device) if copies > 1 else _prompts_repeated(pairs, device)
    states = decoder.states(tokens, adapter, dtype)
    targets = token_ids([response for _, response in pairs], device)
    chosen, entropy = _TokenScores.apply(states.to(dtype), decoder.output, targets, entropy_gradient, sampling)
    lengths = torch.tensor([len(response) for _, response in pairs], device=device)
    rows = torch.repeat_interleave(torch.arange(len(pairs), device=device), lengths)
    zeros = torch.zeros(len(pairs), device=device, dtype=chosen.dtype)
    return zeros.index_add(0, rows, chosen), zeros.index_add(0, rows, entropy) / lengths.clamp(min=1)


def last_states(
    decoder: PackedDecoder,
    adapter: str | None,
    texts: Sequence[Sequence[int]],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """[batch, width] final hidden states of the last token of each text."""
    lengths = [len(text) for text in texts]
    layout = Layout(Rows(lengths, device))
    last = layout.first.lengths.cumsum(0) - 1
    positions = token_positions(lengths, [0] * len(lengths), device)
    return decoder.states(PackedTokens(token_ids(texts, device), positions, layout, last), adapter, dtype)


def _prompts_repeated(pairs: Sequence[Pair], device: torch.device) -> PackedTokens:
    """One sequence per pair; picked are the tokens that predict the response tokens."""
    sequences = [(*prompt, *response[:-1]) for prompt, response in pairs]
    lengths = [len(sequence) for sequence in sequences]
    starts = itertools.accumulate(lengths, initial=0)
    predicting = [
        index
        for start, (prompt, response) in zip(starts, pairs, strict=False)
        for index in range(start + len(prompt) - 1, start + len(prompt) + len(response) - 1)
    ]
    positions = token_positions(lengths, [0] * len(lengths), device)
    layout, picked = Layout(Rows(lengths, device)), torch.tensor(predicting, device=device)
    return PackedTokens(token_ids(sequences, device), positions, layout, picked)


def _prompts_shared(pairs: Sequence[Pair], copies: int, device: torch.device) -> PackedTokens:
    """The same where each prompt stands `copies` times in a row: it is computed once, gradients included."""
    prompts = [prompt for prompt, _ in pairs[::copies]]
    answers = [response[:-1] for _, response in pairs]
    before, after = [len(prompt) for prompt in prompts], [len(answer) for answer in answers]
    ends = [end - 1 for end in itertools.accumulate(before)]
    starts = itertools.accumulate(after, initial=sum(before))
    predicting = [
        index
        for place, (start, (_, response)) in enumerate(zip(starts, pairs, strict=False))
        for index in (ends[place // copies], *range(start, start + len(response) - 1))[: len(response)]
    ]
    follows = [len(prompt) for prompt, _ in pairs]
    layout = Layout(Rows(before, device), Rows(after, device) if any(after) else None, copies)
    positions = token_positions([*before, *after], [0] * len(before) + follows, device)
    picked = torch.tensor(predicting, device=device)
    return PackedTokens(token_ids([*prompts, *answers], device), positions, layout, picked)


class _TokenScores(torch.autograd.Function):
    """Log-probability of every target and entropy of its distribution, [tokens] each, in float32 at least.

    A token's loss is a number times its log-probability (and its entropy), so that the direction of the state's
    gradient is known in the forward pass: logits are looked at once, chunk by chunk, and never kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        output: StackedLinear,
        targets: torch.Tensor,
        with_entropy: bool,
        sampling: Sampling | None,
    ) -> Any:
        size = max(1, CHUNK // output.weight.shape[0])
        exact = torch.promote_types(states.dtype, torch.float32)
        ctx.directions = [] if ctx.needs_input_grad[0] else None
        ctx.with_entropy = with_entropy
        scores, entropies = [], []
        for part, drawn in zip(states.split(size), targets.split(size), strict=True):
            logits = output(part).to(exact)
            if sampling is not None:
                logits = as_sampled(logits, drawn, sampling)
            logits -= logits.amax(-1, keepdim=True)
            probabilities = logits.exp()
            mass = probabilities.sum(-1, keepdim=True)
            total = mass.log()
            probabilities /= mass
            entropy = total - torch.linalg.vecdot(probabilities, logits)[:, None]
            scores.append((logits.gather(-1, drawn[:, None]) - total)[:, 0])
            entropies.append(entropy[:, 0])
            if ctx.directions is not None:
                ctx.directions.append(_directions(output, drawn, logits, total, probabilities, entropy, with_entropy))
        if ctx.directions is not None and sampling is not None:  # logits there are these divided by the temperature
            ctx.directions = [[part / sampling.temperature for part in parts] for parts in ctx.directions]
        score, entropy = torch.cat(scores), torch.cat(entropies)
        if not with_entropy:
            ctx.mark_non_differentiable(entropy)
        return score, entropy

    @staticmethod
    def backward(ctx: Any, of_scores: torch.Tensor, of_entropies: torch.Tensor) -> Any:
        of_states = torch.cat([direction[0] for direction in ctx.directions])
        gradient = of_states * of_scores[:, None].to(of_states.dtype)
        if ctx.with_entropy:
            of_states = torch.cat([direction[1] for direction in ctx.directions])
            gradient += of_states * of_entropies[:, None].to(of_states.dtype)
        return gradient, None, None, None, None


def _directions(
    output: StackedLinear,
    targets: torch.Tensor,
    logits: torch.Tensor,
    total: torch.Tensor,
    probabilities: torch.Tensor,
    entropy: torch.Tensor,
    with_entropy: bool,
) -> list[torch.Tensor]:
    """Derivative of log-probability, and of entropy if asked for, by the state: [tokens, width] each."""
    of_entropy = []
    if with_entropy:
        slope = probabilities * (total - logits - entropy)
        of_entropy.append(slope.to(output.weight.dtype) @ output.weight)
    slope = probabilities.neg_().scatter_add_(-1, targets[:, None], torch.ones_like(total))
    return [slope.to(output.weight.dtype) @ output.weight, *of_entropy]
