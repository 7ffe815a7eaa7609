"""A few tokens through the padded passes before anything depends on them, against plain passes of the whole model.

Architectures differ in what they do with padding, positions and caches; what transformers cannot decode or score in
batches is found here, and not in the first rollout, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from collm.llm.batching import Pair
from collm.llm.padded.decoding import PaddedStepper
from collm.llm.padded.kv_cache import shares_prompts
from collm.llm.padded.logprobs import logprobs
from collm.llm.padded.static import StaticPadded
from collm.llm.passes import PassSettings, rounding
from collm.llm.static.arena import BUCKET, Arena

LENGTHS = (5, 2)  # of the prompts: one is padded
STEPS = 3  # tokens after each


@torch.no_grad()
def trouble(causal: PreTrainedModel, pad: int, settings: PassSettings) -> str | None:
    """Why `causal` cannot take padded passes; None if they say the same as plain passes on one sequence at a time."""
    embedding: Any = causal.get_input_embeddings()
    pairs = _pairs(len(embedding.weight))
    with settings.autocast():
        plain = torch.stack([_plain(causal, *pair, settings.device) for pair in pairs])
        try:
            decoded = _decoded(causal, pairs, pad, settings)
            scored, _ = logprobs(causal, pairs, pad, settings.device, share=shares_prompts(causal.config))
        except Exception as error:  # of any kind: it is transformers' code that does not fit
            return f"it cannot be decoded and scored in batches ({type(error).__name__}: {error})"
    return _off("decoding in batches", decoded, plain, causal, settings) or _off(
        "scoring in batches", scored, plain, causal, settings
    )


@torch.no_grad()
def static_trouble(causal: PreTrainedModel, pad: int, settings: PassSettings) -> str | None:
    """Why `causal` cannot be decoded in fixed shapes; None if it then says the same. Needs `trouble` to be None."""
    embedding: Any = causal.get_input_embeddings()
    pairs = _pairs(len(embedding.weight))
    with settings.autocast():
        plain = torch.stack([_plain(causal, *pair, settings.device) for pair in pairs])
    try:
        decoded = _decoded_statically(causal, pairs, pad, settings)
    except Exception as error:  # of any kind: it is transformers' code that does not fit
        return f"it cannot be decoded in fixed shapes ({type(error).__name__}: {error})"
    return _off("decoding in fixed shapes", decoded, plain, causal, settings)


def _off(
    what: str, sums: torch.Tensor, plain: torch.Tensor, causal: PreTrainedModel, settings: PassSettings
) -> str | None:
    """In words by how much log-probabilities [pairs] differ from plain ones; None if it is rounding."""
    bound = max(rounding(causal.dtype), rounding(settings.product_dtype or causal.dtype))
    off = ((sums - plain).abs() / STEPS).max().item()
    if off <= bound:
        return None
    return f"{what} is off by {off:.3f} nats per token (at most {bound} is rounding)"  # NaN, too


def _pairs(vocabulary: int) -> list[Pair]:
    """Two responses to each of the prompts."""
    ids = [(37 * place + 11) % vocabulary for place in range(sum(LENGTHS) + 2 * STEPS * len(LENGTHS))]
    prompts = [tuple(ids[: LENGTHS[0]]), tuple(ids[LENGTHS[0] : sum(LENGTHS)])]
    rest = ids[sum(LENGTHS) :]
    responses = [tuple(rest[place : place + STEPS]) for place in range(0, len(rest), STEPS)]
    return [(prompts[place // 2], response) for place, response in enumerate(responses)]


def _chosen(logits: torch.Tensor, tokens: Sequence[int], device: torch.device) -> torch.Tensor:
    """[rows] log-probabilities of one token of each row of `logits`, in float32."""
    scores = torch.log_softmax(logits.float().to(device), -1)
    return scores.gather(-1, torch.tensor(list(tokens), device=device)[:, None])[:, 0]


def _plain(
    causal: PreTrainedModel, prompt: Sequence[int], response: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Log-probability of a response by one pass without padding and cache."""
    ids = torch.tensor([[*prompt, *response]], device=device)
    logits = causal(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return _chosen(logits, response, device).sum()


def _decoded(causal: PreTrainedModel, pairs: Sequence[Pair], pad: int, settings: PassSettings) -> torch.Tensor:
    """[pairs] the same by the decoder: prompts together, rows repeated, and chosen after the first step."""
    stepper = PaddedStepper(causal, STEPS, pad, settings.device)
    logits = stepper.prefill([prompt for prompt, _ in pairs[::2]]).repeat_interleave(2, 0)
    stepper.repeat(2)
    total = torch.zeros(len(pairs), device=settings.device)
    order = list(range(len(pairs)))
    for step in range(STEPS):
        tokens = [pairs[index][1][step] for index in order]
        total[order] += _chosen(logits, tokens, settings.device)
        if step == 0:
            order = order[::-1]
            stepper.select(torch.tensor(order, device=settings.device))
            tokens = tokens[::-1]
        logits = stepper.step(torch.tensor(tokens, device=settings.device))
    return total


def _decoded_statically(
    causal: PreTrainedModel, pairs: Sequence[Pair], pad: int, settings: PassSettings
) -> torch.Tensor:
    """[pairs] the same in fixed shapes."""
    model, device = StaticPadded(causal, pad, settings.device, None, settings.autocast), settings.device
    total = torch.zeros(len(pairs), device=device)
    with model.running():
        prompts = model.prefill([prompt for prompt, _ in pairs[::2]])
        arena, source = Arena(len(pairs), BUCKET, STEPS, prompts), torch.arange(len(pairs), device=device) // 2
        arena.begin(prompts, source, torch.zeros_like(arena.uniform), torch.zeros_like(arena.ended))
        logits = prompts.logits[source]
        for step in range(STEPS):
            tokens = [response[step] for _, response in pairs]
            total += _chosen(logits, tokens, device)
            arena.token.copy_(torch.tensor(tokens, device=device))
            arena.open_column()
            logits = model.step(arena, BUCKET)
            arena.advance()
    return total
