"""Decoding in fixed shapes by transformers' own passes: prompts padded on the left, a cache that is an arena.

Masks are made here, one for layers that see everything and one for sliding windows, and handed over as they are; a
model that takes no such masks, or whose layers keep something else than keys and values, cannot be run so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from collm.llm.padded.decoding import PaddedStepper
from collm.llm.padded.multi_lora import Grouping, applied
from collm.llm.static.arena import Arena, Prompts

FULL, SLIDING = "full_attention", "sliding_attention"  # kinds of layers, as transformers names them
Context = Callable[[], contextlib.AbstractContextManager[Any]]


def obstacle(causal: PreTrainedModel) -> str | None:
    """Why the layers of a model cannot keep their states in an arena; None if they can."""
    if len({part.device for part in causal.parameters()}) > 1:
        return "its layers stand on several devices (device_map)"
    kinds = {type(layer) for layer in DynamicCache(config=causal.config).layers}
    other = sorted(kind.__name__ for kind in kinds - {DynamicLayer, DynamicSlidingWindowLayer})
    return f"its layers keep more than keys and values ({', '.join(other)})" if other else None


class StaticPadded:
    """Runs a model for `StaticDecoder`; see `Model`. Needs `obstacle(causal) is None`."""

    def __init__(
        self, causal: PreTrainedModel, pad: int, device: torch.device, grouping: Grouping | None, around: Context
    ):
        """`grouping`: of several adapters; None if one is active, or none is there. `around`: every pass."""
        self.causal, self.pad, self.device, self.grouping, self.around = causal, pad, device, grouping, around
        self.decoder, self.head = causal.get_decoder(), causal.get_output_embeddings()
        self.windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=causal.config).layers]

    @property
    def version(self) -> Hashable:
        """See `Model`."""
        names = None if self.grouping is None else tuple(self.grouping.adapters)
        return (id(self), names), self.head.weight.data_ptr(), self.causal.dtype

    @contextlib.contextmanager
    def running(self) -> Any:
        """See `Model`; no cast of a weight outlives its pass, for a captured step would read it for ever."""
        cached = torch.is_autocast_cache_enabled()
        with contextlib.ExitStack() as stack:
            if self.grouping is not None:
                self.grouping.refresh()
                stack.enter_context(applied(self.grouping))
            stack.enter_context(self.around())
            torch.set_autocast_cache_enabled(False)
            try:
                yield
            finally:
                torch.set_autocast_cache_enabled(cached)

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> Prompts:
        """See `Model`."""
        stepper = PaddedStepper(self.causal, 0, self.pad, self.device)
        logits = stepper.prefill(prompts)
        caches: list[Any] = stepper.cache.layers
        layers = [(layer.keys, layer.values) for layer in caches]
        return Prompts(logits, layers, stepper.mask.bool(), stepper.position[:, 0] + 1)

    def step(self, arena: Arena, length: int) -> torch.Tensor:
        """See `Model`."""
        masks = {window: self._additive(arena.mask(length, window)) for window in set(self.windows)}
        if len(masks) == 1:
            mask: Any = next(iter(masks.values()))
        else:
            mask = {FULL if window is None else SLIDING: part for window, part in masks.items()}
        cache = DynamicCache()
        cache.layers = [_ArenaLayer(arena, index, length) for index in range(len(self.windows))]
        out = self.decoder(
            input_ids=arena.token[:, None],
            attention_mask=mask,
            position_ids=arena.positions[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        return self.head(out.last_hidden_state[:, -1])

    def _additive(self, seen: torch.Tensor) -> torch.Tensor:
        """A mask [rows, 1, 1, length] that every kind of attention takes: 0 where a column is seen, else the least."""
        dtype = torch.get_autocast_dtype(self.device.type) if torch.is_autocast_enabled(self.device.type) else None
        dtype = dtype or self.causal.dtype
        return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)


class _ArenaLayer(DynamicLayer):
    """A layer of an arena as transformers' attention sees it, for one token."""

    def __init__(self, arena: Arena, index: int, length: int):
        super().__init__()
        self.arena, self.index, self.length = arena, index, length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep [rows, heads, 1, width]; all keys and values that a step of this length reads."""
        return self.arena.write(self.index, key_states, value_states, self.length)

    def get_seq_length(self) -> int:
        """Nobody may ask: a captured step would keep the answer."""
        raise RuntimeError("a layer asked for the length of its cache, which a fixed step does not know")
