"""Decoding with several agents' LoRA adapters in one batch.

PEFT can mix adapters in a batch too, but it gathers and scatters rows in every layer; here rows stand grouped by
adapter, every group is of the same size, and one batched product serves all adapters of a layer.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PeftModel

from collm.llm.adapters import adapted_modules, is_plain_lora

ROUTED = re.compile(r"(^|\.)\w*experts\.\d+(\.|$)")  # modules that see the tokens a router sends them, not rows


def ungrouped(model: PeftModel) -> list[str]:
    """Kinds of the adapted modules that `grouped` cannot serve, each with one module's path; empty if it serves all."""
    places: dict[str, str] = {}
    for path, module in adapted_modules(model):
        if not is_plain_lora(module) or (ROUTED.search(path) and "shared" not in path):
            places.setdefault(type(module).__name__, path.removeprefix("base_model.model."))
    return [f"{kind} ({path})" for kind, path in places.items()]


class Grouping:
    """Rows of the batch: `adapters` in order, each with the same number of consecutive rows.

    Every adapted module of the model must be one that `ungrouped` does not name.
    """

    def __init__(self, model: PeftModel, adapters: Sequence[str]):
        self.adapters = list(adapters)
        self.layers: list[Any] = [module for _, module in adapted_modules(model)]
        dtype = next(iter(self.layers)).base_layer.weight.dtype
        self._weights = [self._stack(layer, dtype) for layer in self.layers]

    def refresh(self) -> None:
        """Take the adapters' numbers as they are now, into the tensors that hold them already."""
        for layer, kept in zip(self.layers, self._weights, strict=True):
            for own, new in zip(kept, self._stack(layer, kept[0].dtype), strict=True):
                own.copy_(new)

    def _stack(self, layer: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """A of all adapters [groups, in, rank] and their s B [groups, rank, out]."""
        first = torch.stack([layer.lora_A[name].weight.detach().T for name in self.adapters])
        second = torch.stack([layer.lora_B[name].weight.detach().T * layer.scaling[name] for name in self.adapters])
        return first.to(dtype).contiguous(), second.to(dtype).contiguous()

    def forward(self, index: int, states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """Output of layer `index` for `states` [groups * rows, tokens, features]: base plus own adapter."""
        first, second = self._weights[index]
        result = self.layers[index].base_layer(states)
        grouped = states.reshape(len(self.adapters), -1, states.shape[-1])
        inner = torch.bmm(grouped, first)
        outer = result.view(len(self.adapters), -1, result.shape[-1])
        return torch.baddbmm(outer, inner, second).view_as(result)


def grouped(model: PeftModel, adapters: Sequence[str]) -> contextlib.AbstractContextManager[None]:
    """Within the block, forward passes of `model` take rows grouped by `adapters`, without gradients."""
    return applied(Grouping(model, adapters))


@contextlib.contextmanager
def applied(grouping: Grouping) -> Iterator[None]:
    """Within the block, forward passes of its model take rows as the grouping says, without gradients."""
    for index, layer in enumerate(grouping.layers):
        layer.forward = functools.partial(grouping.forward, index)
    try:
        yield
    finally:
        for layer in grouping.layers:
            del layer.forward
