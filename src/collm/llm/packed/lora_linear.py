"""Products of tokens with frozen weights and trained adapters: layers that read the same input as one product.

y = W h + s B (A h) with W frozen. The backward pass is written out: no gradient of W, adapters cast once per pass, h
computed again instead of kept. Adapters and their gradients stay in float32, products are in the dtype asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

Pullback = Callable[[torch.Tensor], torch.Tensor]  # gradient of h -> gradient of x


class InputMap(Protocol):
    """What happens to the input of linear layers: h of x, row by row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """h of x."""
        ...

    def vjp(self, x: torch.Tensor) -> tuple[torch.Tensor, Pullback]:
        """h of x, computed anew in the backward pass, and its pullback."""
        ...


class Identity:
    """h = x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x itself."""
        return x

    def vjp(self, x: torch.Tensor) -> tuple[torch.Tensor, Pullback]:
        """x, and the gradient as it is."""
        return x, lambda gradient: gradient


class Norm:
    """h = w x / sqrt(mean x^2 + eps), computed in float32 at least (RMSNorm)."""

    def __init__(self, module: Any):
        self.module, self.eps = module, module.variance_epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, width] normalised and weighted."""
        return functional.rms_norm(x, x.shape[-1:], self.module.weight, self.eps)

    def vjp(self, x: torch.Tensor) -> tuple[torch.Tensor, Pullback]:
        """The same with its pullback."""
        return self.forward(x), functools.partial(self._back, x)

    def _back(self, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        wide = x.to(exact)
        inverse = torch.rsqrt(torch.linalg.vecdot(wide, wide)[:, None] / x.shape[-1] + self.eps)
        weighted = gradient.to(exact) * self.module.weight
        share = torch.linalg.vecdot(weighted, wide)[:, None] * inverse.pow(3) / -x.shape[-1]
        return weighted.mul_(inverse).addcmul_(wide, share).to(x.dtype)


class Gate:
    """h = silu(first half of x) * second half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, width] from [tokens, 2 width]."""
        gate, up = x.chunk(2, -1)
        return functional.silu(gate).mul_(up)

    def vjp(self, x: torch.Tensor) -> tuple[torch.Tensor, Pullback]:
        """The same with its pullback."""
        gate, up = x.chunk(2, -1)
        opened = functional.silu(gate)

        def back(gradient: torch.Tensor) -> torch.Tensor:
            of_x = torch.empty_like(x)
            of_gate, of_up = of_x.chunk(2, -1)
            torch.mul(gradient, opened, out=of_up)
            torch.ops.aten.silu_backward.grad_input(torch.mul(gradient, up, out=opened), gate, grad_input=of_gate)
            return of_x

        return opened * up, back


def packs(weight: torch.Tensor) -> bool:
    """Whether products with `weight` are faster after its numbers are put in oneDNN's order (bfloat16 on CPUs)."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class FrozenLinear:
    """x -> x W^T + b with W [out, in] and b [out] that take no gradient.

    W is kept a second time in oneDNN's order where products with that are faster.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, pack: bool):
        self.weight, self.bias = weight, bias
        packing = pack and packs(weight)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, 1024) if packing else None

    def __call__(self, h: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
        """[tokens, out] from [tokens, in], `onto` [tokens, out] added before the sum is rounded where W is packed."""
        if self.packed is not None and h.dtype == torch.bfloat16:
            if onto is None:
                return torch.ops.mkldnn._linear_pointwise(h, self.packed, self.bias, "none", [], "")
            return torch.ops.mkldnn._linear_pointwise.binary(h, onto, self.packed, self.bias, "add")
        bias = None if self.bias is None else self.bias.to(h.dtype)
        result = functional.linear(h, self.weight.to(h.dtype), bias)
        return result if onto is None else result.add_(onto)


@dataclass
class StackedLora:
    """One adapter's parts in stacked layers, layer by layer: output columns [start, stop), scaling s, A and B."""

    columns: list[tuple[int, int]]
    scalings: list[float]
    parameters: list[torch.Tensor]  # A [rank, in] and B [out, rank] in turn

    def stacked(self, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """All A's as one [layers * rank, in], and every s B as [out, rank]; without gradients."""
        firsts, seconds = self.parameters[::2], self.parameters[1::2]
        first = firsts[0] if len(firsts) == 1 else torch.cat(firsts)
        scaled = [(second * scale).to(dtype) for second, scale in zip(seconds, self.scalings, strict=True)]
        return first.detach().to(dtype), [second.detach() for second in scaled]


class StackedLinear:
    """One or more linear layers that read the same input; their frozen weights are kept as one."""

    def __init__(self, modules: Sequence[Any], pack: bool):
        """`modules` are PEFT layers or plain linear ones; their weights become views of one stacked weight.

        `pack`: keep a second copy of the weights in the order that products are fastest in, where that helps.
        """
        self.pack = pack
        self.modules = list(modules)
        self.bases: list[Any] = [
            module.get_base_layer() if hasattr(module, "get_base_layer") else module for module in modules
        ]
        self._key: tuple[Any, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Stack the weights again if somebody moved, cast or overwrote them."""
        key = tuple((base.weight.data_ptr(), base.weight._version, base.weight.dtype) for base in self.bases)
        if key == self._key:
            return
        if len(self.bases) > 1:
            weight = torch.cat([base.weight.detach() for base in self.bases])
            for base, part in zip(self.bases, weight.split([b.out_features for b in self.bases]), strict=True):
                base.weight.data = part
        else:
            weight = self.bases[0].weight.detach()
        biases = [base.bias for base in self.bases]
        bias = None
        if any(part is not None for part in biases):
            zeros = (weight.new_zeros(base.out_features) for base in self.bases)
            bias = torch.cat([z if part is None else part.detach() for z, part in zip(zeros, biases, strict=True)])
        self.linear = FrozenLinear(weight, bias, self.pack)
        self._key = tuple((base.weight.data_ptr(), base.weight._version, base.weight.dtype) for base in self.bases)

    @property
    def weight(self) -> torch.Tensor:
        """[out, in] of all layers, without adapters."""
        return self.linear.weight

    def __call__(self, h: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
        """[tokens, out] without adapters, see `FrozenLinear`."""
        return self.linear(h, onto)

    def lora(self, name: str | None) -> StackedLora | None:
        """Parts of adapter `name` in these layers; None if it has none here."""
        lora, start = StackedLora([], [], []), 0
        for module, base in zip(self.modules, self.bases, strict=True):
            if name is not None and base is not module and name in module.lora_A:
                lora.columns.append((start, start + base.out_features))
                lora.scalings.append(module.scaling[name])
                lora.parameters += [module.lora_A[name].weight, module.lora_B[name].weight]
            start += base.out_features
        return lora if lora.parameters else None

    def forward(
        self,
        x: torch.Tensor,
        input_map: InputMap,
        adapter: str | None,
        dtype: torch.dtype,
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """residual + W h + s B A h with h of x by `input_map`; gradients reach x, residual, A and B.

        Args:
            x: [tokens, in].
            adapter: its name; None for W h alone.
            dtype: of the products.
            residual: [tokens, out]; None for none.
        Returns:
            [tokens, out] in `dtype`, or in the dtype of the sum with `residual`.
        """
        lora = self.lora(adapter)
        parameters = lora.parameters if lora else []
        return _LoraProduct.apply(x, residual, (self, input_map, lora, dtype), *parameters)


Plan = tuple[StackedLinear, InputMap, StackedLora | None, torch.dtype]


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor | None, plan: Plan, *_: nn.Parameter) -> torch.Tensor:
        linear, input_map, lora, dtype = plan
        h = input_map.forward(x).to(dtype)
        result = linear(h)
        inner = first = seconds = None
        if lora is not None:
            first, seconds = lora.stacked(dtype)
            inner = functional.linear(h, first)
            for (start, stop), part, second in zip(lora.columns, inner.chunk(len(seconds), -1), seconds, strict=True):
                result[:, start:stop].addmm_(part, second.t())
        ctx.save_for_backward(x, inner)
        ctx.plan, ctx.first, ctx.seconds = plan, first, seconds
        if residual is None:
            return result
        return result.add_(residual) if residual.dtype == dtype else residual + result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        x, inner = ctx.saved_tensors
        linear, input_map, lora, dtype = ctx.plan
        of_residual = gradient if ctx.needs_input_grad[1] else None
        gradient = gradient.to(dtype)
        h, pullback = input_map.vjp(x)
        h = h.to(dtype)
        of_parameters: list[torch.Tensor | None] = []
        of_inner = None
        if lora is not None:
            parts = [gradient[:, start:stop] for start, stop in lora.columns]
            pieces = [part @ second for part, second in zip(parts, ctx.seconds, strict=True)]
            of_inner = pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)
            if any(ctx.needs_input_grad[3:]):
                firsts = (of_inner.t() @ h).to(lora.parameters[0].dtype).chunk(len(parts))
                for index, kept in enumerate(inner.chunk(len(parts), -1)):
                    second = (kept.t() @ parts[index]).t().to(lora.parameters[0].dtype)
                    of_parameters += [firsts[index], second * lora.scalings[index]]
            else:
                of_parameters = [None] * len(lora.parameters)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_h = gradient @ linear.weight.to(dtype)
            if of_inner is not None:
                of_h.addmm_(of_inner, ctx.first)
            of_x = pullback(of_h).to(x.dtype)
        return of_x, of_residual, None, *of_parameters
