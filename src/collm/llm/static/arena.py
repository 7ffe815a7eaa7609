"""The tensors of a batch that is decoded in fixed shapes; their addresses never change, as captured steps need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

BUCKET = 128  # lengths of caches, and what a step reads of them, are multiples of this

KeyValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Prompts:
    """Prompts after their prefill, one row each.

    The last `held` columns of a layer's keys and values [prompts, heads, held, width] are those of the prompts' last
    columns; `valid` says where a token stands.
    """

    logits: torch.Tensor  # [prompts, vocabulary] of the next token
    layers: list[KeyValues]
    valid: torch.Tensor  # [prompts, columns]
    positions: torch.Tensor  # [prompts] of the next token

    @property
    def width(self) -> int:
        """Columns that prompts take."""
        return self.valid.shape[1]


def joined(parts: Sequence[Prompts], order: Sequence[int]) -> Prompts:
    """Prompts that were read in parts as one, right-aligned, in `order` (indices into all rows of the parts)."""
    if len(parts) == 1 and list(order) == list(range(len(order))):
        return parts[0]
    place = torch.tensor(list(order), device=parts[0].positions.device)
    width = max(part.width for part in parts)
    layers = [
        (
            _stacked([part.layers[layer][0] for part in parts], place),
            _stacked([p.layers[layer][1] for p in parts], place),
        )
        for layer in range(len(parts[0].layers))
    ]
    valid = torch.cat([torch.nn.functional.pad(part.valid, (width - part.width, 0)) for part in parts])
    logits, positions = (torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "positions"))
    return Prompts(logits[place], layers, valid[place], positions[place])


def _stacked(parts: Sequence[torch.Tensor], place: torch.Tensor) -> torch.Tensor:
    """Keys or values of several parts as one, with zeros before the shorter ones."""
    held = max(part.shape[2] for part in parts)
    padded = [torch.nn.functional.pad(part, (0, 0, held - part.shape[2], 0)) for part in parts]
    return torch.cat(padded).index_select(0, place)


class Arena:
    """Cache and state of `rows` responses with room for `capacity` columns and `room` new tokens."""

    def __init__(self, rows: int, capacity: int, room: int, like: Prompts):
        """Everything is zero: what is never written to must be finite, masked as it is."""
        device = like.positions.device
        self.rows, self.capacity, self.room = rows, capacity, room
        self.layers: list[KeyValues] = [
            (_zeros(key, rows, capacity), _zeros(value, rows, capacity)) for key, value in like.layers
        ]
        whole: dict[str, Any] = {"dtype": torch.long, "device": device}
        self.visible = torch.zeros(rows, capacity, dtype=torch.bool, device=device)
        self.columns = torch.arange(capacity, device=device)
        self.column = torch.zeros(1, **whole)  # that the next token's key and value go to
        self.positions = torch.zeros(rows, **whole)
        self.token = torch.zeros(rows, **whole)  # drawn last
        self.count = torch.zeros(1, **whole)  # tokens drawn
        self.uniform = torch.zeros(rows, room, dtype=torch.float32, device=device)
        self.drawn = torch.zeros(rows, room, **whole)
        self.scores = torch.zeros(rows, room, dtype=torch.float32, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.void = torch.zeros(1, dtype=torch.bool, device=device)  # a draw looked at too few tokens
        self.graphs: dict[Any, Any] = {}  # captured steps on these tensors

    @property
    def bytes(self) -> int:
        """Size of the cache."""
        return sum(part.numel() * part.element_size() for layer in self.layers for part in layer)

    @property
    def state(self) -> list[torch.Tensor]:
        """What rows carry beside keys and values, [rows, ...] each."""
        return [self.visible, self.positions, self.token, self.uniform, self.drawn, self.scores, self.ended]

    def begin(self, prompts: Prompts, source: torch.Tensor, uniform: torch.Tensor, idle: torch.Tensor) -> None:
        """Start a batch.

        Args:
            source: [rows] the prompt of every row.
            uniform: [rows, room] the numbers that draw its tokens.
            idle: [rows] rows that only fill the shape.
        """
        for kept, new in zip(self.layers, prompts.layers, strict=True):
            for buffer, part in zip(kept, new, strict=True):
                buffer[:, :, prompts.width - part.shape[2] : prompts.width] = part.index_select(0, source)
        self.visible.zero_()
        self.visible[:, : prompts.width] = prompts.valid.index_select(0, source)
        self.positions.copy_(prompts.positions.index_select(0, source))
        self.column.fill_(prompts.width)
        self.count.zero_()
        self.void.zero_()
        self.uniform.copy_(uniform)
        self.ended.copy_(idle)

    def take(self, other: Arena, rows: torch.Tensor, filled: int) -> None:
        """Continue `rows` [rows of this one] of another batch, of whose columns `filled` are in use."""
        for kept, given in zip(self.layers, other.layers, strict=True):
            for buffer, part in zip(kept, given, strict=True):
                buffer[:, :, :filled] = part[:, :, :filled].index_select(0, rows)
        for own, theirs in zip(self.state, other.state, strict=True):
            own.copy_(theirs.index_select(0, rows))
        self.column.copy_(other.column)
        self.count.copy_(other.count)

    def remembered(self) -> list[torch.Tensor]:
        """Copies of what `recall` needs to go back to here: keys, values and draws are then written over."""
        return [part.clone() for part in self._moving]

    def recall(self, before: list[torch.Tensor]) -> None:
        """Go back to where `remembered` was called."""
        for part, old in zip(self._moving, before, strict=True):
            part.copy_(old)

    @property
    def _moving(self) -> list[torch.Tensor]:
        return [self.visible, self.positions, self.token, self.ended, self.column, self.count, self.void]

    # within a step

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor, length: int) -> KeyValues:
        """Keep a token's key and value [rows, heads, 1, width]; the layer's first `length` columns."""
        keys, values = self.layers[layer]
        keys.index_copy_(2, self.column, key)
        values.index_copy_(2, self.column, value)
        return keys[:, :, :length], values[:, :, :length]

    def open_column(self) -> None:
        """Let the next token's column be seen by every row."""
        self.visible.index_fill_(1, self.column, True)

    def advance(self) -> None:
        """Go on to the next column."""
        self.column += 1
        self.positions += 1

    def mask(self, length: int, window: int | None = None) -> torch.Tensor:
        """[rows, 1, 1, length]: whether a column is seen; with `window` only the last so many columns are."""
        seen = self.visible[:, :length]
        if window is not None:
            seen = seen & (self.columns[:length] > self.column - window)
        return seen[:, None, None]


def _zeros(like: torch.Tensor, rows: int, capacity: int) -> torch.Tensor:
    """Room for keys or values [rows, heads, capacity, width] like those of prompts."""
    return like.new_zeros(rows, like.shape[1], capacity, like.shape[3])


def rounded_up(number: int, step: int = BUCKET) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def row_bucket(rows: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: few shapes, and at most a third of a batch that does nothing."""
    size = 1
    while size < rows:
        if size * 3 // 2 >= rows and size > 1:
            return size * 3 // 2
        size *= 2
    return size
