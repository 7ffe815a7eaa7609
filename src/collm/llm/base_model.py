"""A pretrained model with its tokenizer, the adapters on it, and the passes that run it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer

from collm.common.errors import ModelError
from collm.llm.encoding import Encoder
from collm.llm.memory_savers import load_causal, spread
from collm.llm.packed.decoder import obstacle
from collm.llm.packed.passes import PackedPasses
from collm.llm.padded.passes import PaddedPasses
from collm.llm.passes import Passes, PassSettings


class Base:
    """One pretrained model with its tokenizer.

    `model` is transformers' causal model; `adapted` is the same with PEFT's adapters, None before the first.
    `passes` run it with its adapters; they are there after `choose_passes`.
    """

    passes: Passes

    def __init__(
        self,
        name: str,
        folder: Path,
        dtype: torch.dtype,
        device: torch.device,
        device_map: str | None = None,
        template: Mapping[str, Any] | None = None,
    ):
        """Load the model in `dtype`, frozen, and its tokenizer; `device_map` spreads it over GPUs.

        Args:
            template: arguments of the chat template; None: prompts are plain text.
        Raises:
            ModelError: it is not there, never ends a response, or transforms its logits after the output layer.
        """
        if not (folder / "config.json").is_file():
            raise ModelError(f"no model {name!r} in {folder}; make it with: python src/make_model.py --model {name}")
        self.name, self.folder, self.device = name, folder, device
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.encoder = Encoder(name, self.tokenizer, template)
        self.model = load_causal(name, folder, dtype, device, device_map).eval()
        self.model.requires_grad_(False)
        self.context = int(self.model.config.max_position_embeddings)
        self.ends = self._ends()
        pad = self.tokenizer.pad_token_id
        self.pad = pad if pad is not None else min(self.ends)
        self._check_head()
        self.adapted: PeftModel | None = None

    def add_adapter(self, name: str, lora: LoraConfig) -> PeftModel:
        """Put a further adapter on this model, initialised by PEFT; returns the model with its adapters."""
        if self.adapted is None:
            self.adapted = get_peft_model(self.model, lora, adapter_name=name).eval()
        else:
            self.adapted.add_adapter(name, lora)
        return self.adapted

    def choose_passes(self, settings: PassSettings) -> None:
        """Take packed passes, or padded ones if the model needs them, which is announced with the reason.

        To be called when all adapters are there.
        """
        reason = spread(self.model) or obstacle(self.model)
        if reason is None:
            self.passes = PackedPasses(self.model, settings)
        else:
            print(f"model {self.name}: general passes of transformers, since {reason}", file=sys.stderr)
            self.passes = PaddedPasses(self.model, self.adapted, self.pad, settings)

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
