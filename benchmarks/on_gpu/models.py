"""Models of given shapes with random weights, made where they are used, and teams on them without accelerate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from collm.common.files import read_jsonl, write_json
from collm.config.job import TeamConfig
from collm.domains.base import embedded_path
from collm.llm import base_model, sources
from collm.llm.team import Team

COMMON: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
QWEN: dict[str, Any] = {**COMMON, "vocab_size": 151_936, "head_dim": 128, "tie_word_embeddings": True}


def _shape(hidden: int, layers: int, heads: int, keys: int, inner: int, **more: Any) -> dict[str, Any]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    sizes = dict(zip(names, (hidden, layers, heads, keys, inner), strict=True))
    return {**QWEN, "max_position_embeddings": 32_768, **sizes, **more}


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {  # by name: kind of model, sizes; those of the published config.json
    "qwen3-0.6b": ("qwen3", _shape(1024, 28, 16, 8, 3072)),
    "qwen3-1.7b": ("qwen3", _shape(2048, 28, 16, 8, 6144)),
    "qwen3-4b": ("qwen3", _shape(2560, 36, 32, 8, 9728)),
    "qwen2.5-3b": ("qwen2", _shape(2048, 36, 16, 2, 11_008)),
}
SPREAD = 0.3  # of adapters
PEAKED = 8.0  # factor of all logits: of random weights they are so alike that top-p would keep most of a vocabulary
TINY: dict[str, Any] = {
    **COMMON,
    "vocab_size": 1024,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
GPT2: dict[str, Any] = {**COMMON, "vocab_size": 1024, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 2048}
EXPERTS: dict[str, Any] = {**TINY, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {  # tiny ones
    "llama": TINY,
    "qwen3": TINY,
    "qwen2": TINY,
    "gemma3_text": {**TINY, "sliding_window": 8},
    "mistral": {**TINY, "sliding_window": 8},
    "phi3": TINY,
    "gpt2": GPT2,
    "qwen3_moe": EXPERTS,
}


class Place:
    """What a team asks of accelerate, for one device: two devices can then be had in one process."""

    def __init__(self, device: torch.device, mixed_precision: str = "no"):
        self.device, self.mixed_precision = device, mixed_precision

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 products where they are asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision == "bf16")

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients."""
        loss.backward()


def folder(name: str, root: Path, kind: str, sizes: Mapping[str, Any], weights: bool, deviation: float = 0.02) -> Path:
    """A model's folder: config.json, a tokenizer of embedded posts and model.json; with `weights` also random ones."""
    out = root / name
    if (out / "model.json").is_file():
        return out
    config = AutoConfig.for_model(kind, **sizes)
    out.mkdir(parents=True, exist_ok=True)
    config.architectures = [type(_made(config, torch.float32, torch.device("meta"))).__name__]
    config.save_pretrained(out)
    texts = [row["prompt"] for row in read_jsonl(embedded_path("tldr.jsonl"))]
    sources.train_tokenizer(texts, min(sizes["vocab_size"], 4096), 32_768).save_pretrained(out)
    if weights:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for part in model.parameters():
                if part.dim() > 1:
                    part.normal_(0, deviation)
        model.save_pretrained(out)
    write_json(out / "model.json", {"name": name, "spec": {}, "parameters": sources.count_parameters(out)})
    return out


def _made(config: Any, dtype: torch.dtype, device: torch.device) -> Any:
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


@contextlib.contextmanager
def random_weights() -> Iterator[None]:
    """A block in which bases are made on their device from their configuration: 14 GB need not go over a disk."""
    real = base_model.load_causal

    def make(name: str, folder: Path, dtype: torch.dtype, device: torch.device, *spread_or_stored: Any) -> Any:
        torch.manual_seed(0)
        model = _made(AutoConfig.from_pretrained(folder), dtype, device)
        with torch.no_grad():
            model.get_decoder().norm.weight.mul_(PEAKED)
        return model

    base_model.load_causal = make
    try:
        yield
    finally:
        base_model.load_causal = real


def team(
    agents: Sequence[str],
    folders: Mapping[str, Path],
    place: Place,
    critics: str | None = None,
    cache: str = "growing",
    dtype: str = "float32",
    rank: int = 16,
) -> Team:
    """A team of LoRA agents whose adapters differ by much."""
    settings = TeamConfig(
        num_agents=len(agents),
        agents=tuple(agents),
        critic=agents[-1],
        adapter="lora",
        adapters="per_agent",
        lora={"rank": rank, "alpha": 2 * rank, "targets": "all-linear"},
        dtype=dtype,
        states="float32",
        quantization="none",
        precision="bf16" if place.mixed_precision == "bf16" else "fp32",
        tf32=False,
        deterministic=False,
        chat_template=False,
        chat_template_arguments={},
        max_prompt_tokens=None,
    )
    place_of: Any = place
    made = Team(settings, folders, 0, critics, place_of, cache=cache)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for member in made.members:
            for name, part in member.parameters():
                if "lora_" in name:  # both parts: PEFT may draw them where they are used
                    part.copy_(torch.randn(part.shape, generator=draw) / part.shape[1] ** 0.5 * SPREAD)
    return made
