"""A pretrained model with its tokenizer, the adapters on it, and the passes that run it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from collm.common.errors import ModelError
from collm.llm.adapters import outside_decoder
from collm.llm.encoding import Encoder
from collm.llm.memory_savers import load_causal, spread
from collm.llm.model_checks import check_config, check_vocabulary
from collm.llm.model_config import context_length
from collm.llm.packed.decoder import obstacle
from collm.llm.packed.passes import PackedPasses
from collm.llm.padded import probe, static
from collm.llm.padded.passes import PaddedPasses
from collm.llm.passes import Passes, PassSettings
from collm.llm.quantization import quantized
from collm.llm.tokenizer import end_tokens, first_line, load_tokenizer

LOGIT_SETTINGS = {"final_logit_softcapping": None, "logits_scaling": 1, "logit_scale": 1}  # what changes nothing


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
        quantization: str = "none",
    ):
        """Load the model in `dtype`, frozen, and its tokenizer; `device_map` spreads it over GPUs.

        Args:
            template: arguments of the chat template; None: prompts are plain text.
            quantization: none, or nf4 for linear maps in 4 bits (`quantization`).
        Raises:
            ModelError: it is not there, is damaged, never ends a response, does not say how much it can read, or
                transforms its logits after the output layer.
        """
        if not (folder / "config.json").is_file():
            raise ModelError(f"no model {name!r} in {folder}; make it with: python src/make_model.py --model {name}")
        self.name, self.folder, self.device = name, folder, device
        title = f"model {name!r}"
        self.context = context_length(check_config(title, folder).get_text_config(decoder=True), folder)
        self.tokenizer: Any = load_tokenizer(title, folder)
        self.encoder = Encoder(name, self.tokenizer, template)
        self.model = load_causal(name, folder, dtype, device, device_map, quantization).eval()
        self.model.requires_grad_(False)
        check_vocabulary(title, self.tokenizer, self.model)
        self.ends = end_tokens(title, self.tokenizer, self.model.generation_config)
        pad = self.tokenizer.pad_token_id
        self.pad = pad if pad is not None else min(self.ends)
        self._check_head()
        self.adapted: PeftModel | None = None

    def add_adapter(self, name: str, lora: LoraConfig) -> PeftModel:
        """Put a further adapter on this model, initialised by PEFT; returns the model with its adapters.

        Modules that no text passes, like those of an encoder of images, are left out.

        Raises:
            ModelError: PEFT has no adapter for the modules that `lora` names.
        """
        targets = lora.target_modules
        if self.adapted is None:
            self._outside = outside_decoder(self.model)
        lora.exclude_modules = self._outside
        try:
            if self.adapted is None:
                self.adapted = get_peft_model(self.model, lora, adapter_name=name).eval()
            else:
                self.adapted.add_adapter(name, lora)
        except ValueError as error:
            named = targets if isinstance(targets, str) else ", ".join(targets or ())
            raise ModelError(
                f"model {self.name!r} ({type(self.model).__name__}) takes no adapter with team.lora.targets {named}: "
                f"{first_line(error)}; name other modules there, or use team.adapter full"
            ) from error
        return self.adapted

    @property
    def ready(self) -> bool:
        """Whether its passes are chosen."""
        return hasattr(self, "passes")

    def choose_passes(self, settings: PassSettings) -> None:
        """Take packed passes, or padded ones if the model needs them, which is announced with the reason.

        To be called when all adapters are there, or one of each kind: further ones in the same modules are found.

        Raises:
            ModelError: padded passes do not give what the model gives.
        """
        reason = spread(self.model) or quantized(self.model) or obstacle(self.model)
        if reason is None:
            self.passes = PackedPasses(self.model, settings)
        else:
            print(f"model {self.name}: general passes of transformers, since {reason}", file=sys.stderr)
            self.passes = self._padded_passes(settings)

    def _padded_passes(self, settings: PassSettings) -> PaddedPasses:
        trouble = probe.trouble(self.model, self.pad, settings)
        if trouble is not None:
            raise ModelError(
                f"model {self.name!r} ({type(self.model).__name__}) is not supported: {trouble}; choose another one "
                "(docs/architectures.md)"
            )
        if settings.static:
            settings = self._decoding(settings)
        passes = PaddedPasses(self.model, self.adapted, self.pad, settings)
        if self.adapted is not None and len(self.adapted.peft_config) > 1 and not passes.mixes:
            print(
                f"model {self.name}: agents are decoded one after another, since adapters of these kinds do not mix in "
                f"a batch: {', '.join(passes.ungrouped)}",
                file=sys.stderr,
            )
        return passes

    def _decoding(self, settings: PassSettings) -> PassSettings:
        """The settings with a cache that the model can be decoded with, announced if it is not a static one.

        Raises:
            ModelError: it cannot be a static one, and that was asked for.
        """
        reason = static.obstacle(self.model) or probe.static_trouble(self.model, self.pad, settings)
        if reason is None:
            return settings
        if settings.cache == "static":
            raise ModelError(
                f"rollout.cache is static, and model {self.name!r} ({type(self.model).__name__}) cannot be decoded in "
                f"fixed shapes: {reason}; set it to auto or growing"
            )
        print(f"model {self.name}: decoding with a cache that grows, since {reason}", file=sys.stderr)
        return dataclasses.replace(settings, cache="growing")

    @torch.no_grad()
    def _check_head(self) -> None:
        """Scoring applies the output layer to chosen positions only: refuse models that do more than that.

        Small logits show no difference where large ones would be capped: settings that say so are refused as well.
        """
        text = self.model.config.get_text_config(decoder=True)
        for setting, nothing in LOGIT_SETTINGS.items():
            if getattr(text, setting, nothing) not in (nothing, None):
                raise ModelError(
                    f"model {self.name!r} transforms its logits after the output layer ({setting} is "
                    f"{getattr(text, setting)}); not supported"
                )
        ids = torch.tensor([[min(self.ends)] * 3], device=self.device)
        whole = self.model(input_ids=ids).logits
        parts = self.model.get_output_embeddings()(self.model.get_decoder()(input_ids=ids).last_hidden_state)
        if not torch.allclose(whole.float().to(parts.device), parts.float(), rtol=1e-2, atol=1e-2):
            raise ModelError(f"model {self.name!r} transforms its logits after the output layer; not supported")
