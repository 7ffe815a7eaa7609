"""Teacher-forced passes: log-probabilities of responses and last states of texts, padded, with gradients.

Only positions that predict a response token reach the output layer; prompts that several responses share are computed
once, gradients included.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from collm.llm.batching import Pair, copies_per_prompt
from collm.llm.sampling import Sampling, as_sampled


def logprobs(
    causal: PreTrainedModel,
    pairs: Sequence[Pair],
    pad: int,
    device: torch.device,
    entropy_gradient: bool = False,
    share: bool = True,
    sampling: Sampling | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """([batch] sums of token log-probabilities, [batch] mean entropy per token in nats) of responses.

    Args:
        causal: model with an output layer on its decoder; the adapter to use is active.
        pairs: (prompt ids, response ids); padding is never seen or counted.
        pad: id to pad with.
        entropy_gradient: whether the entropy carries a gradient.
        share: compute prompts that stand several times in a row once, by way of the model's cache.
        sampling: score under the policy that draws so instead of the full softmax.
    """
    copies = copies_per_prompt(pairs) if share else 1
    if copies > 1:
        hidden = _hidden_shared(causal.get_decoder(), pairs, copies, pad, device)
    else:
        hidden = _hidden(causal.get_decoder(), pairs, pad, device)
    logits = exact(causal.get_output_embeddings()(hidden)).to(device)
    rows = torch.cat([torch.full((len(r),), i) for i, (_, r) in enumerate(pairs)]).to(device)
    targets = torch.tensor([token for _, response in pairs for token in response], device=device)
    if sampling is not None:
        logits = as_sampled(logits, targets, sampling)
    total = logits.logsumexp(-1)
    chosen = logits.gather(-1, targets[:, None])[:, 0] - total
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        probabilities = torch.exp(logits - total[:, None])
        entropy = total - (probabilities * logits).sum(-1)
    lengths = torch.tensor([len(response) for _, response in pairs], device=device)
    zeros = torch.zeros(len(pairs), device=device, dtype=chosen.dtype)
    sums = zeros.index_add(0, rows, chosen)
    return sums, zeros.index_add(0, rows, entropy) / lengths.clamp(min=1)


def last_states(
    causal: PreTrainedModel, texts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> torch.Tensor:
    """[batch, width] final hidden states of the last token of each text."""
    ids = padded(texts, pad, device)
    hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.to(device)
    last = torch.tensor([len(text) - 1 for text in texts], device=device)
    return hidden[torch.arange(len(texts), device=device), last]


def takes_positions(decoder: nn.Module) -> bool:
    """Whether a decoder is told positions; one with ALiBi (Bloom, MPT) reads them off the mask."""
    return "position_ids" in inspect.signature(decoder.forward).parameters


def exact(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32 at least: sums over a vocabulary need it."""
    return logits if logits.dtype == torch.float64 else logits.float()


def padded(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> torch.Tensor:
    """[rows, longest] token ids, padded right."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids.to(device)


def padded_left(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids padded left, 1 where a token stands and 0 elsewhere, and positions: [rows, longest] integers each."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    mask = mask.to(device)
    return ids.to(device), mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _hidden(decoder: nn.Module, pairs: Sequence[Pair], pad: int, device: torch.device) -> torch.Tensor:
    """States that predict the response tokens, [all response tokens, width]; one row per pair."""
    ids = padded([prompt + response for prompt, response in pairs], pad, device)
    states = decoder(input_ids=ids, use_cache=False).last_hidden_state.to(device)
    rows = torch.cat([torch.full((len(r),), i) for i, (_, r) in enumerate(pairs)])
    columns = torch.cat([torch.arange(len(p) - 1, len(p) + len(r) - 1) for p, r in pairs])
    return states[rows.to(device), columns.to(device)]


def _hidden_shared(
    decoder: nn.Module, pairs: Sequence[Pair], copies: int, pad: int, device: torch.device
) -> torch.Tensor:
    """The same where each prompt stands `copies` times in a row: it is computed once, gradients included."""
    ids, mask, positions = padded_left([prompt for prompt, _ in pairs[::copies]], pad, device)
    positioned = takes_positions(decoder)
    first = decoder(
        input_ids=ids, attention_mask=mask, use_cache=True, **({"position_ids": positions} if positioned else {})
    )
    states = first.last_hidden_state[:, -1:].to(device).repeat_interleave(copies, 0)
    answers = padded([response[:-1] for _, response in pairs], pad, device)
    if answers.shape[1]:
        cache = first.past_key_values
        cache.batch_repeat_interleave(copies)
        mask = torch.cat([mask.repeat_interleave(copies, 0), torch.ones_like(answers)], -1)
        start = positions[:, -1:].repeat_interleave(copies, 0) + 1
        places = start + torch.arange(answers.shape[1], device=device)
        following = {"position_ids": places} if positioned else {}
        then = decoder(input_ids=answers, attention_mask=mask, past_key_values=cache, **following)
        states = torch.cat([states, then.last_hidden_state.to(device)], 1)
    rows = torch.cat([torch.full((len(r),), i) for i, (_, r) in enumerate(pairs)])
    columns = torch.cat([torch.arange(len(r)) for _, r in pairs])
    return states[rows.to(device), columns.to(device)]
