"""Tokenizers of base models, checked, with a chat template that takes a system message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from collm.common.errors import ModelError

# Stands before a template that refuses (Gemma) or loses a system message: its text goes before that of the user.
FOLD_SYSTEM = (
    "{%- if messages and messages[0]['role'] == 'system' -%}"
    "{%- if messages | length > 1 -%}"
    "{%- set messages = [{'role': messages[1]['role'], "
    "'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] -%}"
    "{%- else -%}"
    "{%- set messages = [{'role': 'user', 'content': messages[0]['content']}] -%}"
    "{%- endif -%}"
    "{%- endif -%}"
)
SYSTEM, USER = "collm-system-text", "collm-user-text"


def load_tokenizer(title: str, folder: Path) -> Any:
    """The tokenizer in `folder`; if its chat template takes no system message, that is mended and said on stderr.

    Args:
        title: of the model, for messages.
    Raises:
        ModelError: there is none, it is damaged, it encodes nothing, or its chat template fails.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(USER, add_special_tokens=False)["input_ids"]
    except Exception as error:  # of many kinds: transformers passes on what tokenizers and sentencepiece raise
        raise ModelError(
            f"{title}: its tokenizer in {folder} cannot be loaded ({first_line(error)}); save it there with "
            "tokenizer.save_pretrained, or download the model again"
        ) from error
    unknown = tokenizer.unk_token_id
    if not ids or all(token == unknown for token in ids):
        raise ModelError(
            f"{title}: there is no working tokenizer in {folder}, it encodes {USER!r} as {ids}; save it there with "
            "tokenizer.save_pretrained, or download the model again"
        )
    if tokenizer.chat_template:
        _mend_template(title, tokenizer)
    return tokenizer


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__


def _mend_template(title: str, tokenizer: Any) -> None:
    trouble = _trouble(tokenizer)
    if trouble is None:
        return
    tokenizer.chat_template = FOLD_SYSTEM + tokenizer.get_chat_template()
    remaining = _trouble(tokenizer)
    if remaining is not None:
        raise ModelError(
            f"{title}: its chat template cannot be used ({remaining}); mend it in chat_template.jinja or "
            "tokenizer_config.json, or remove it there to use plain prompts"
        )
    print(
        f"{title}: its chat template takes no system message ({trouble}); the system text goes before the first user "
        "message",
        file=sys.stderr,
    )


def _trouble(tokenizer: Any) -> str | None:
    """What is wrong with the prompt that a template makes of a system and a user message; None if nothing."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template may raise anything
        return first_line(error)
    lost = [part for part in (SYSTEM, USER) if part not in text]
    return f"it loses the {lost[0].split('-')[1]} text" if lost else None


def end_tokens(title: str, tokenizer: Any, generation: Any) -> frozenset[int]:
    """Ids that end a response: of the tokenizer, and of the model's `generation` settings.

    Raises:
        ModelError: there are none.
    """
    of_model = getattr(generation, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(of_model if isinstance(of_model, (list, tuple)) else [of_model])}
    ends = frozenset(int(token) for token in ids if token is not None)
    if not ends:
        raise ModelError(
            f"{title} has no end token; responses could never end: set eos_token in its tokenizer_config.json"
        )
    return ends
