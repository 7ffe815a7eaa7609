"""Small tokenizers built like those of the Qwen and Llama families, with chat templates; nothing is downloaded."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "You are a helpful assistant. Summarise the post below. system user assistant",
    "The quick brown fox jumps over the lazy dog: <|im_end|> and </s> are words here. one two three [...]",
]
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}<<SYS>>\n{{ message.content }}\n"
    "<</SYS>>\n\n{% elif message.role == 'user' %}[INST] {{ message.content.strip() }} [/INST]"
    "{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)


def qwen_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE; control tokens are special, the marks of thoughts are added but not special."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=64
    )
    fast.chat_template = QWEN_TEMPLATE
    return fast


def llama_like() -> PreTrainedTokenizerFast:
    """BPE over words that begin with "▁" (the first one too), bytes for the rest; a first token begins every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    control = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=160, special_tokens=control))
    written = json.loads(tokenizer.to_str())
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    written["model"]["vocab"] |= {piece: len(written["model"]["vocab"]) + place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer.from_str(json.dumps(written))
    first = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", first)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    fast.chat_template = LLAMA_TEMPLATE
    return fast
