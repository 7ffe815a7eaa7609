"""Packed passes of one base: see collm.llm.passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from collm.llm.batching import Pair
from collm.llm.packed.decoder import PackedDecoder
from collm.llm.packed.decoding import PackedStepper
from collm.llm.packed.logprobs import last_states, logprobs
from collm.llm.packed.static import StaticPacked
from collm.llm.passes import PassSettings, evened
from collm.llm.sampling import Generated, Request, Sampling, decode
from collm.llm.static.decoding import StaticDecoder


class PackedPasses:
    """Sequences in one row without padding, adapters in the products; needs `obstacle(causal) is None`."""

    mixes = True

    def __init__(self, causal: PreTrainedModel, settings: PassSettings):
        """`causal` has all its adapters."""
        self._causal, self._settings = causal, settings
        self._decoder = PackedDecoder(causal, settings.recompute)
        self._static = StaticDecoder(settings.device) if settings.static else None
        self._models: dict[tuple[str | None, ...], StaticPacked] = {}  # by adapters, for `_static`

    @property
    def _dtype(self) -> torch.dtype:
        """Of products with gradients; asked for anew, since a base may be cast."""
        return self._settings.product_dtype or self._causal.dtype

    def decode(
        self, adapters: Sequence[str | None], requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]:
        """One batch, products in the dtype of the base; see `Passes.decode`."""
        device = self._settings.device
        if self._static is not None:
            model = self._models.setdefault(tuple(adapters), StaticPacked(self._decoder, adapters, device))
            return self._static.decode(model, requests, sampling, ends)
        stepper = PackedStepper(self._decoder, adapters, sampling.max_new_tokens, device)
        return decode(stepper, requests, sampling, ends, device)

    def decode_uneven(
        self, adapters: Sequence[str | None], requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]:
        """See `Passes.decode_uneven`."""
        if self._static is not None:
            return evened(self.decode, adapters, requests, sampling, ends)
        sizes = Counter(request.group for request in requests)
        each, device = [sizes[group] for group in range(len(adapters))], self._settings.device
        stepper = PackedStepper(self._decoder, adapters, sampling.max_new_tokens, device, each)
        return decode(stepper, requests, sampling, ends, device, uneven=True)

    def logprobs(
        self,
        adapter: str | None,
        pairs: Sequence[Pair],
        entropy_gradient: bool = False,
        sampling: Sampling | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Passes.logprobs`."""
        return logprobs(self._decoder, adapter, pairs, self._dtype, self._settings.device, entropy_gradient, sampling)

    def last_states(self, adapter: str | None, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Passes.last_states`."""
        return last_states(self._decoder, adapter, texts, self._dtype, self._settings.device)
