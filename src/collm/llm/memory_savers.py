"""Switches that trade time for memory and leave the numbers as they are: each is one key of the configuration.

training.gradient_checkpointing: layers are computed again in the backward pass instead of keeping what is inside them.
training.offload_optimiser: moments of AdamW live in main memory; on a GPU they visit it parameter by parameter.
models.<name>.device_map: layers of one base stand on several GPUs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from collm.common.errors import ModelError
from collm.llm.model_checks import load
from collm.llm.quantization import loading_options

HOME = torch.device("cpu")


@contextlib.contextmanager
def recomputing(causal: nn.Module) -> Iterator[None]:
    """Within the block, layers of transformers' models keep their inputs alone; their caches cannot be used meanwhile.

    Raises:
        ModelError: the model has no layers that know how.
    """
    layers: list[Any] = [module for module in causal.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"{type(causal).__name__} has no layers that can be computed again; set training.gradient_checkpointing "
            "to false"
        )
    for layer in layers:
        layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
        # A layer's own flag, not its parts': no dropout is switched on.
        layer.gradient_checkpointing = layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW whose moments are on the parameter's device only while that parameter takes its step."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step parameter by parameter; same numbers as AdamW. A closure is not supported."""
        if closure is not None:
            raise ValueError("OffloadedAdamW takes no closure")
        groups = self.param_groups
        try:
            for group in groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.param_groups = [{**group, "params": [parameter]}]
                        self._move(parameter, parameter.device)
                        super().step()
                        self._move(parameter, HOME)
        finally:
            self.param_groups = groups

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of AdamW; moments stay in main memory."""
        super().load_state_dict(state_dict)
        for parameter in self.state:
            self._move(parameter, HOME)

    def _move(self, parameter: torch.Tensor, device: torch.device) -> None:
        state = self.state[parameter]
        for name in ("exp_avg", "exp_avg_sq"):
            if name in state:
                state[name] = state[name].to(device)


def load_causal(
    name: str,
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    device_map: str | None = None,
    quantization: str = "none",
) -> PreTrainedModel:
    """A causal model on `device`, or with `device_map` "auto" spread over all GPUs.

    Args:
        quantization: "nf4" puts its linear maps into 4 bits as they are read.
    Raises:
        ModelError: weights are missing or damaged, there is no GPU to spread it over, or they do not hold it.
    """
    model: Any
    options = loading_options(quantization, dtype, device, device_map)
    if device_map is None:
        model = load(f"model {name!r}", folder, dtype=dtype, **options)
        return model if options else model.to(device)
    if device.type != "cuda":
        raise ModelError(
            f"models.{name}.device_map is {device_map}, which spreads a model over GPUs, and this run is on {device}; "
            "set it to null"
        )
    model = load(f"model {name!r}", folder, dtype=dtype, **{"device_map": device_map, **options})
    left = sorted(part for part, place in model.hf_device_map.items() if str(place) in ("cpu", "disk"))
    if left:
        raise ModelError(
            f"model {name!r} does not fit the GPUs of this machine even with models.{name}.device_map {device_map}: "
            f"{', '.join(left[:3])} would stay outside; use team.dtype bfloat16 or more GPUs"
        )
    return model


def spread(causal: nn.Module) -> str | None:
    """Why packed passes cannot run `causal` where it stands; None if it stands on one device."""
    if len(set(map(str, getattr(causal, "hf_device_map", {}).values()))) > 1:
        return "its layers stand on several devices (device_map)"
    return None
