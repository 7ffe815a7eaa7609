"""Decoding by transformers' own passes: prompts padded on the left, one token per row and step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from collm.llm.padded.kv_cache import decoding_cache, repeat_rows, select_rows
from collm.llm.padded.logprobs import padded_left, takes_positions


class PaddedStepper:
    """Runs one batch of rows by any causal model of transformers; see `Stepper`.

    Adapters, if there are any, must be grouped by the caller (multi_lora.grouped).
    """

    def __init__(self, causal: PreTrainedModel, room: int, pad: int, device: torch.device):
        """`room`: tokens that will be appended at most; `pad`: id to pad with, never seen."""
        self.decoder, self.head = causal.get_decoder(), causal.get_output_embeddings()
        self.cache = decoding_cache(causal.config, room)
        self.positioned = takes_positions(self.decoder)
        self.pad, self.device = pad, device

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Logits after each prompt, [prompts, vocabulary]; keys and values are kept."""
        ids, self.mask, positions = padded_left(prompts, self.pad, self.device)
        self.position = positions[:, -1:]
        return self._run(ids, positions)

    def _run(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits after the last of the tokens `ids` [rows, tokens], which follow what is in the cache."""
        places = {"position_ids": positions} if self.positioned else {}
        out = self.decoder(
            input_ids=ids, attention_mask=self.mask, past_key_values=self.cache, use_cache=True, **places
        )
        return self.head(out.last_hidden_state[:, -1]).to(self.device)

    def repeat(self, copies: int) -> None:
        """Let every row stand `copies` times in a row."""
        repeat_rows(self.cache, copies)
        self.mask, self.position = (part.repeat_interleave(copies, 0) for part in (self.mask, self.position))

    def select(self, rows: torch.Tensor) -> None:
        """Keep the rows with the indices `rows` [kept]."""
        select_rows(self.cache, rows)
        self.mask, self.position = self.mask[rows], self.position[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token to each row, [rows]; logits of the next one, [rows, vocabulary]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], -1)
        self.position = self.position + 1
        return self._run(tokens[:, None], self.position)
