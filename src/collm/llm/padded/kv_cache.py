"""Key and value cache for decoding that writes in place: a step costs one read of the cache, not a copy of it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


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
