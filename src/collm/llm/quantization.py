"""Frozen bases whose linear maps are kept in 4 bits (NF4, QLoRA: arXiv 2305.14314), by bitsandbytes on a GPU.

bitsandbytes is no dependency of ours: `pip install 'collm[quantized]'`. Adapters stay in float32 beside such a base;
products take its numbers back to `team.dtype` first.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import BITSANDBYTES_MIN_VERSION, is_bitsandbytes_available

from collm.common.errors import ConfigError


def check_quantization(name: str, device: torch.device) -> None:
    """Refuse bases in 4 bits where they cannot be, before anything is loaded.

    Args:
        name: `team.quantization`.
    Raises:
        ConfigError: there is no GPU to run them on, or bitsandbytes is missing or too old; says what to do.
    """
    if name == "none":
        return
    if device.type != "cuda":
        raise ConfigError(
            f"team.quantization is {name}, and this run is on {device}; bases in 4 bits need a CUDA device: use "
            "--device cuda on a machine that has one, or set team.quantization to none"
        )
    advice = "install it with: pip install 'collm[quantized]', or set team.quantization to none"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(f"team.quantization is {name}, and the package bitsandbytes is not installed; {advice}")
    if not is_bitsandbytes_available():
        found = importlib.metadata.version("bitsandbytes")
        raise ConfigError(
            f"team.quantization is {name}, which needs bitsandbytes {BITSANDBYTES_MIN_VERSION} or later, and {found} "
            f"is here; {advice}"
        )


def loading_options(name: str, dtype: torch.dtype, device: torch.device, device_map: str | None) -> dict[str, Any]:
    """What transformers' from_pretrained is given beside the dtype; {} without quantization.

    Args:
        dtype: of products, and of what stays as it is: embeddings, norms, the output layer.
        device: weights are put into 4 bits on their way there, since such a model is not moved afterwards.
        device_map: spreads the layers over GPUs; None: all on `device`.
    """
    if name == "none":
        return {}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=name,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": device_map or {"": str(device)}}


def quantized(causal: Any) -> str | None:
    """Why packed passes cannot run `causal`, whose linear maps are not matrices; None if they are."""
    return "its weights are in 4 bits" if getattr(causal, "is_loaded_in_4bit", False) else None
