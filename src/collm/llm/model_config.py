"""What the config.json of a model says about its sizes, by whatever names; torch is imported for rare cases only."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from collm.common.errors import ModelError

NAMES: dict[str, tuple[str, ...]] = {
    "hidden size": ("hidden_size", "n_embd", "d_model"),
    "number of layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "number of attention heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "number of key heads": ("num_key_value_heads", "num_kv_heads"),
    "width of a head": ("head_dim",),
    "intermediate size": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
    "longest text": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length"),
}
NEEDED = ("hidden size", "number of layers", "number of attention heads", "vocabulary")
UNLIMITED = 1_000_000_000  # tokens; a tokenizer that says more than this knows no limit


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file of a model.

    Raises:
        ModelError: it is not there, or is no JSON object.
    """
    if not file.is_file():
        raise ModelError(f"no model in {file.parent}; make it with: python src/make_model.py (rule `model`)")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError too
        raise ModelError(f"{file} is damaged ({error}); save or download the model again") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{file} holds a {type(facts).__name__}, not an object; save or download the model again")
    return facts


def text_config(folder: Path) -> Any:
    """The settings of the text decoder of a saved model, as attributes.

    Multimodal models nest them, and leave out what is as by default in transformers, which then fills it in.

    Raises:
        ModelError: config.json is missing or damaged, or of a kind that transformers does not know.
    """
    raw = read_json(folder / "config.json")
    text = SimpleNamespace(**raw.get("text_config", raw))
    if all(size(text, what) is not None for what in NEEDED):
        return text
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder).get_text_config(decoder=True)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder / 'config.json'} cannot be read as a model ({reason})") from error


def size(config: Any, what: str) -> int | None:
    """A size (a key of `NAMES`) by any of its names in `config`; None if it has none of them."""
    values = (getattr(config, name, None) for name in NAMES[what])
    return next((value for value in values if isinstance(value, int)), None)


def needed_size(config: Any, what: str, folder: Path) -> int:
    """The same.

    Raises:
        ModelError: `config` has none of its names.
    """
    number = size(config, what)
    if number is None:
        raise ModelError(
            f"{folder / 'config.json'} names no {what} ({', '.join(NAMES[what])}): models without attention, such as "
            "Mamba and RWKV, are not supported; see docs/architectures.md"
        )
    return number


def context_length(config: Any, folder: Path) -> int:
    """Tokens that a model can read at once: as its text `config` says, or else its tokenizer.

    Raises:
        ModelError: neither says so, as with models without position embeddings (Bloom).
    """
    number = size(config, "longest text")
    if number is not None:
        return number
    file = folder / "tokenizer_config.json"
    limit = read_json(file).get("model_max_length") if file.is_file() else None
    if isinstance(limit, int) and 0 < limit < UNLIMITED:
        return limit
    raise ModelError(
        f"model in {folder} does not say how many tokens it can read: no {', '.join(NAMES['longest text'])} in "
        "config.json, no model_max_length in tokenizer_config.json; write the length that it was trained on as "
        "max_position_embeddings into config.json"
    )
