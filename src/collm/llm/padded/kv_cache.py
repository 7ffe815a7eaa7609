"""Cache for decoding. Keys and values are written in place: a step costs one read of them, not a copy of them.

Layers of linear attention, convolutions and state spaces (Qwen3-Next, Qwen3.5, LFM2, Bamba) keep states of a fixed size
instead; transformers can reorder their rows, and rows are repeated and chosen by that.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin


class RoomyLayer(DynamicLayer):
    """A growing cache layer with room for `room` tokens beyond what it holds; without gradients only."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [rows, heads, new tokens, width]; returns all keys and values so far as views."""
        if self.keys is None or self.values is None or not self.keys.numel():
            return super().update(key_states, value_states)
        held, new = self.keys.shape[-2], key_states.shape[-2]
        if self._buffers is None or held + new > self._buffers[0].shape[-2]:
            self._buffers = (self._grown(self.keys), self._grown(self.values))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, held : held + new] = states
        self.keys, self.values = (buffer[:, :, : held + new] for buffer in self._buffers)
        return self.keys, self.values

    def _grown(self, states: torch.Tensor) -> torch.Tensor:
        """`states` [rows, heads, tokens, width] at the start of a buffer with more room."""
        rows, heads, held, width = states.shape
        buffer = states.new_empty(rows, heads, held + self.room, width)
        buffer[:, :, :held] = states
        return buffer

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; the next update makes a new buffer."""
        super().batch_repeat_interleave(repeats)
        self._buffers = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep rows `indices`; the next update makes a new buffer."""
        super().batch_select_indices(indices if self.keys is None else indices.to(self.keys.device))
        self._buffers = None


def decoding_cache(config: PretrainedConfig, room: int) -> DynamicCache:
    """A cache for prefill and decoding; layers of other kinds (sliding windows) stay as the library makes them."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def repeat_rows(cache: Any, copies: int) -> None:
    """Let every row of a cache with layers of any kind stand `copies` times in a row."""
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            rows: Any = torch.arange(_rows_of(layer), device=layer.device)
            layer.reorder_cache(rows.repeat_interleave(copies))
        else:
            layer.batch_repeat_interleave(copies)


def select_rows(cache: Any, rows: torch.Tensor) -> None:
    """Keep the rows with the indices `rows` [kept] of a cache with layers of any kind."""
    chosen: Any = rows  # transformers asks for a LongTensor, which is a name of the past
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.reorder_cache(chosen)
        else:
            layer.batch_select_indices(rows)


def _rows_of(layer: LinearAttentionCacheLayerMixin) -> int:
    states = [*layer.conv_states.values(), *layer.recurrent_states.values()]
    return next((len(state) for state in states if state is not None), 0)


def shares_prompts(config: PretrainedConfig) -> bool:
    """Whether a cache of prompts may be continued with gradients: states of a fixed size are overwritten in place."""
    layers = DynamicCache(config=config).layers
    return not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)
