"""Padded passes of one base: see collm.llm.passes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from collm.common.errors import ModelError
from collm.llm.adapters import activate
from collm.llm.batching import Pair
from collm.llm.memory_savers import recomputing
from collm.llm.padded.decoding import PaddedStepper
from collm.llm.padded.kv_cache import shares_prompts
from collm.llm.padded.logprobs import last_states, logprobs
from collm.llm.padded.multi_lora import Grouping, grouped, ungrouped
from collm.llm.padded.static import StaticPadded
from collm.llm.passes import PassSettings, evened
from collm.llm.sampling import Generated, Request, Sampling, decode
from collm.llm.static.decoding import StaticDecoder


class PaddedPasses:
    """Sequences padded to one length, run by transformers' own forward pass with PEFT's adapters."""

    def __init__(self, causal: PreTrainedModel, adapted: PeftModel | None, pad: int, settings: PassSettings):
        """`adapted`: `causal` with its adapters; None of a whole copy. `pad`: id to pad with."""
        self._causal, self._adapted, self._pad, self._settings = causal, adapted, pad, settings
        self._shares = shares_prompts(causal.config)
        self._static = StaticDecoder(settings.device) if settings.static else None
        self._models: dict[tuple[str | None, ...], StaticPadded] = {}  # by adapters, for `_static`
        self.ungrouped = [] if adapted is None else ungrouped(adapted)
        """Kinds of adapted modules because of which agents are decoded one after another."""

    @property
    def mixes(self) -> bool:
        """See `Passes.mixes`."""
        return not self.ungrouped

    def decode(
        self, adapters: Sequence[str | None], requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]:
        """One batch: adapters in the dtype of the base, a whole copy in the autocast one; see `Passes.decode`."""
        if self._static is not None:
            return self._static.decode(self._static_model(adapters), requests, sampling, ends)
        with self._grouped(adapters):
            stepper = PaddedStepper(self._causal, sampling.max_new_tokens, self._pad, self._settings.device)
            return decode(stepper, requests, sampling, ends, self._settings.device)

    def decode_uneven(
        self, adapters: Sequence[str | None], requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]:
        """See `Passes.decode_uneven`."""
        return evened(self.decode, adapters, requests, sampling, ends)

    def _grouped(self, adapters: Sequence[str | None]) -> contextlib.AbstractContextManager[Any]:
        if self._adapted is None:
            return self._settings.autocast()
        names = self._activated(adapters, self._adapted)
        return grouped(self._adapted, names) if self.mixes else contextlib.nullcontext()

    def _static_model(self, adapters: Sequence[str | None]) -> StaticPadded:
        """What runs the model for `StaticDecoder` with these adapters; it keeps their numbers where they are."""
        names = [] if self._adapted is None else self._activated(adapters, self._adapted)
        key = tuple(adapters)
        if key not in self._models:
            grouping = Grouping(self._adapted, names) if self._adapted is not None and self.mixes else None
            around = contextlib.nullcontext if names else self._settings.autocast
            self._models[key] = StaticPadded(self._causal, self._pad, self._settings.device, grouping, around)
        return self._models[key]

    def _activated(self, adapters: Sequence[str | None], adapted: PeftModel) -> list[str]:
        """Names of the adapters, of which the first becomes the active one."""
        names = [adapter for adapter in adapters if adapter is not None]
        activate(adapted, names[0])
        if self.mixes:
            return names
        if len(set(names)) > 1:
            raise ModelError(
                f"adapters {', '.join(names)} cannot be decoded in one batch: {', '.join(self.ungrouped)}; "
                "decode them one after another"
            )
        return names

    def logprobs(
        self,
        adapter: str | None,
        pairs: Sequence[Pair],
        entropy_gradient: bool = False,
        sampling: Sampling | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Passes.logprobs`."""
        share = self._shares and not self._recomputes  # sharing prompts needs the cache
        with self._pass_of(adapter):
            return logprobs(self._causal, pairs, self._pad, self._settings.device, entropy_gradient, share, sampling)

    def last_states(self, adapter: str | None, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """See `Passes.last_states`."""
        with self._pass_of(adapter):
            return last_states(self._causal, texts, self._pad, self._settings.device)

    @property
    def _recomputes(self) -> bool:
        return self._settings.recompute and torch.is_grad_enabled()

    @contextlib.contextmanager
    def _pass_of(self, adapter: str | None) -> Any:
        """Adapters off if `adapter` is None, autocast and recomputation as settled."""
        with contextlib.ExitStack() as stack:
            if adapter is None and self._adapted is not None:
                stack.enter_context(self._adapted.disable_adapter())
            stack.enter_context(self._settings.autocast())
            if self._recomputes:
                stack.enter_context(recomputing(self._causal))
            yield
