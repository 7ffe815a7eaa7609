"""Memory that a job needs, by part, before any model is loaded: from configurations alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig

from collm import config, models
from collm.errors import ModelError
from collm.lean import PACKED

RUNTIME = 450e6  # interpreter and libraries, measured on CPU
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}
TYPICAL_PROMPT = 256  # tokens
ACTIVATIONS_PER_LAYER = 34  # numbers kept for backward per token, layer and hidden unit, with LoRA on all linears


def linear_shapes(shape: Any) -> int:
    """Sum over a layer's linear maps of (inputs + outputs): LoRA numbers per unit of rank, one layer."""
    hidden, heads = shape.hidden_size, shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or hidden // heads
    keys = width * (getattr(shape, "num_key_value_heads", None) or heads)
    queries = width * heads
    attention = (hidden + queries) + 2 * (hidden + keys) + (queries + hidden)
    return attention + 3 * (hidden + shape.intermediate_size)


def estimate(job: config.Job, folders: Mapping[str, Path], critics: str | None) -> dict[str, float]:
    """Bytes by part: weights, adapters with gradients and optimiser states, activations, KV cache, logits."""
    team, rows = job.team, job.rollout.max_rows
    members = [*team.agents, *[team.critic] * {None: 0, "shared": 0, "joint": 1, "local": team.num_agents}[critics]]
    shapes = {name: AutoConfig.from_pretrained(path).get_text_config() for name, path in folders.items()}
    sizes = {name: models.describe(path)["parameters"] for name, path in folders.items()}
    full = team.adapter == "full"
    loaded = members if full else sorted(set(members))
    weights = sum(sizes[name] * (4 if full else DTYPE_BYTES[team.dtype]) for name in loaded)
    twice = [name for name in loaded if not full and team.dtype == "bfloat16" and sizes[name] * 2 <= PACKED]
    trained = 0
    for name in members:
        layers = shapes[name].num_hidden_layers
        trained += sizes[name] if full else team.lora["rank"] * linear_shapes(shapes[name]) * layers
    bytes_of_number = 2 if team.precision == "bf16" else 4
    largest = max(shapes.values(), key=lambda shape: shape.hidden_size * shape.num_hidden_layers)
    tokens = job.training.micro_batch_tokens
    activations = tokens * largest.hidden_size * largest.num_hidden_layers * ACTIVATIONS_PER_LAYER * bytes_of_number
    heads = getattr(largest, "num_key_value_heads", None) or largest.num_attention_heads
    width = getattr(largest, "head_dim", None) or largest.hidden_size // largest.num_attention_heads
    longest = min(largest.max_position_embeddings, (team.max_prompt_tokens or 512) + job.rollout.max_new_tokens)
    cache = rows * longest * largest.num_hidden_layers * heads * width * 2 * DTYPE_BYTES[team.dtype]
    new = job.rollout.max_new_tokens
    logits = tokens * new / (TYPICAL_PROMPT + new) * largest.vocab_size * 4 * 3  # of response tokens only
    return {
        "runtime": RUNTIME,
        "weights": weights,
        "packed weights": sum(sizes[name] * 2 for name in twice),  # on CPUs
        "adapters" if not full else "copies": trained * (4 if not full else 0),
        "gradients and optimiser": trained * 12,
        "activations": activations,
        "cache": cache,
        "logits": logits,
    }


def available(device: torch.device) -> float:
    """Free bytes of the device: CUDA memory, or what the operating system can give to this process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check(job: config.Job, folders: Mapping[str, Path], critics: str | None, device: torch.device) -> None:
    """Print the need against what is there.

    Generation and the update take turns, so the larger of the two counts.

    Raises:
        ModelError: it cannot fit; names the knobs to lower.
    """
    parts = estimate(job, folders, critics)
    update = parts.pop("activations") + parts.pop("logits")
    peak = sum(value for key, value in parts.items() if key != "cache") + max(update, parts["cache"])
    there = available(device)
    shown = ", ".join(f"{name} {value / 1e6:.0f}" for name, value in {**parts, "update": update}.items())
    print(
        f"memory: at most {peak / 1e6:.0f} MB needed ({shown}), {there / 1e6:.0f} MB free on {device}", file=sys.stderr
    )
    if peak > there:
        raise ModelError(
            f"{job.domain}/{job.method} needs up to {peak / 1e9:.1f} GB and {there / 1e9:.1f} GB are free on {device}; "
            "lower training.micro_batch_tokens or rollout.max_rows, use team.dtype bfloat16 or team.adapter lora, "
            "or choose a smaller model"
        )
