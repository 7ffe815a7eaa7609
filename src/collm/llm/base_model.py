"""A pretrained model with its tokenizer, and which passes run it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer

from collm.common.errors import ModelError
from collm.llm.memory_savers import load_causal, spread
from collm.llm.packed.decoder import Lean, obstacle

Message = Mapping[str, str]


class Base:
    """One pretrained model with its tokenizer."""

    def __init__(
        self, name: str, folder: Path, dtype: torch.dtype, device: torch.device, device_map: str | None = None
    ):
        if not (folder / "config.json").is_file():
            raise ModelError(f"no model {name!r} in {folder}; make it with: python src/make_model.py --model {name}")
        self.name, self.folder, self.device = name, folder, device
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = load_causal(name, folder, dtype, device, device_map).eval()
        self.model.requires_grad_(False)
        self.context = int(self.model.config.max_position_embeddings)
        self.ends = self._ends()
        pad = self.tokenizer.pad_token_id
        self.pad = pad if pad is not None else min(self.ends)
        self._check_head()
        self._lean: Lean | None = None
        self._general = False

    def lean(self) -> Lean | None:
        """The lean passes of this model with its adapters; None, told once, where transformers' own are needed."""
        if self._lean is None and not self._general:
            reason = spread(self.model) or obstacle(self.model)
            if reason is None:
                self._lean = Lean(self.model)
            else:
                self._general = True
                print(f"model {self.name}: general passes of transformers, since {reason}", file=sys.stderr)
        return self._lean

    def _ends(self) -> frozenset[int]:
        ids = {self.tokenizer.eos_token_id}
        generation = self.model.generation_config.eos_token_id
        ids |= set(generation) if isinstance(generation, (list, tuple)) else {generation}
        ends = frozenset(int(token) for token in ids if token is not None)
        if not ends:
            raise ModelError(f"model {self.name!r} has no end token; responses could never end")
        return ends

    @torch.no_grad()
    def _check_head(self) -> None:
        """Scoring applies the output layer to chosen positions only: refuse models that do more than that."""
        ids = torch.tensor([[min(self.ends)] * 3], device=self.device)
        whole = self.model(input_ids=ids).logits
        parts = self.model.get_output_embeddings()(self.model.get_decoder()(input_ids=ids).last_hidden_state)
        if not torch.allclose(whole.float().to(parts.device), parts.float(), rtol=1e-2, atol=1e-2):
            raise ModelError(f"model {self.name!r} transforms its logits after the output layer; not supported")

    def encode(self, messages: Sequence[Message], chat: bool, limit: int | None) -> tuple[tuple[int, ...], int]:
        """Token ids of a prompt and how many were cut from its left to fit `limit`."""
        if chat and self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer("\n\n".join(message["content"] for message in messages))["input_ids"]
        cut = max(0, len(ids) - limit) if limit is not None else 0
        return tuple(ids[cut:]), cut
