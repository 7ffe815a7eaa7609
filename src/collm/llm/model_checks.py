"""A saved model is looked at before it is used: settings, tokenizer, template, weights; errors are one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from collm.common.errors import ModelError
from collm.llm.model_config import context_length, read_json
from collm.llm.tokenizer import end_tokens, first_line, load_tokenizer


def check(title: str, folder: Path) -> None:
    """Check a saved model; no weights are kept in memory.

    Args:
        title: of the model, for messages.
    Raises:
        ModelError: something is missing, damaged or of a kind that cannot be used; says what to do.
    """
    config = check_config(title, folder)
    tokenizer = load_tokenizer(title, folder)
    context_length(config.get_text_config(decoder=True), folder)
    for file in sorted(folder.glob("*.safetensors")):
        _check_finite(title, file)
    model = load(title, folder, device_map="meta")
    check_vocabulary(title, tokenizer, model)
    end_tokens(title, tokenizer, model.generation_config)


def check_config(title: str, folder: Path) -> Any:
    """The configuration of a causal language model in `folder`.

    Raises:
        ModelError: there is none, it is damaged, or of another kind of model.
    """
    raw = read_json(folder / "config.json")
    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:  # of many kinds, by the checks of each architecture
        raise ModelError(
            f"{title}: config.json is of no model that transformers {transformers.__version__} can build without code "
            f"of its own (model_type {raw.get('model_type')!r}; {first_line(error)}); choose another model"
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{title} is a {raw.get('model_type')!r}, which is no causal language model of transformers; choose one "
            "that generates text (docs/architectures.md)"
        )
    return config


def load(title: str, folder: Path, **options: Any) -> Any:
    """A causal model by transformers, with `options` of from_pretrained, all of whose weights come from its files.

    Raises:
        ModelError: weights are missing, damaged or of other shapes; without this they would be random numbers.
    """
    loaded: Any
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{title} cannot be loaded from {folder} ({first_line(error)}); save or download it again"
        ) from error
    model, report = loaded
    _refuse(title, folder, "are missing", sorted(report["missing_keys"]))
    _refuse(title, folder, "have other shapes", sorted(str(key[0]) for key in report["mismatched_keys"]))
    return model


def _refuse(title: str, folder: Path, what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"{title}: weights in {folder} {what}: {', '.join(names[:3])}{more}; they would be random numbers: save or "
            "download the whole causal model again"
        )


def check_vocabulary(title: str, tokenizer: Any, model: Any) -> None:
    """ModelError if prompts can have ids that the model has no embedding for.

    Added tokens that no prompt is made with may be more than the model knows, as in some published models.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    added = set(tokenizer.added_tokens_decoder)
    ids = {token for token in tokenizer.get_vocab().values() if token not in added}
    ids |= {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
        ids |= set(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    largest = max(ids)
    if largest >= rows:
        raise ModelError(
            f"{title}: its tokenizer has ids up to {largest}, its embedding has {rows} rows; save the tokenizer that "
            "belongs to the model beside it, or resize the model's embedding"
        )


def _check_finite(title: str, file: Path) -> None:
    """ModelError if a file of weights is cut off or holds NaN or infinite numbers; one tensor at a time."""
    try:
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                tensor = weights.get_tensor(name)
                if tensor.is_floating_point() and tensor.element_size() > 1 and not torch.isfinite(tensor).all():
                    raise ModelError(f"{title}: {name} in {file} is not finite; save or download the model again")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{title}: weights in {file} are damaged ({first_line(error)}); save or download the model again"
        ) from error
