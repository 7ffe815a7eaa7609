"""Forward and backward passes of decoders of the Llama family, without what transformers and PEFT do around them.

Tokens of all sequences stand one after another without padding; projections of one input are one product
(lora_linear.py); attention is in attention.py. The modules, weights and adapters are those of transformers and PEFT,
nothing is copied.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from collm.llm.adapters import adapted_modules, is_plain_lora
from collm.llm.packed.attention import Heads, Layout, attend
from collm.llm.packed.lora_linear import Gate, Identity, Norm, StackedLinear

FAMILY = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
STACKS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))

PACKED = 1 << 30  # bytes of a model up to which its weights are kept a second time, in the order products want


def obstacle(causal: PreTrainedModel) -> str | None:
    """Why `causal` (adapters included) cannot take the passes of this module; None if it can."""
    name = type(causal).__name__
    shape: Any = causal.config
    if name not in FAMILY:
        return f"architecture {name} is none of {', '.join(FAMILY)}"
    if shape.hidden_act != "silu":
        return f"activation {shape.hidden_act} is not silu"
    kinds = set(getattr(shape, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"layers of kinds {', '.join(sorted(kinds))}, not full_attention alone"
    projections = {name for stack in STACKS for name in stack}
    adapted = dict(adapted_modules(causal))
    for path, module in adapted.items():
        if path.split(".")[-1] not in projections:
            return f"an adapter on {path}, which is no projection of a layer"
        tuner: Any = module
        dropped = is_plain_lora(module) and any(not isinstance(p, nn.Identity) for p in tuner.lora_dropout.values())
        if dropped or not is_plain_lora(module):
            return f"the adapter on {path} is more than LoRA without dropout"
    for path, module in causal.named_modules():
        own = path not in adapted and path.split(".")[-1] in projections
        if own and type(module) is not nn.Linear:
            return f"{path} is a {type(module).__name__}, not a Linear"
    if any(parameter.requires_grad for name, parameter in causal.named_parameters() if ".lora_" not in name):
        return "its own weights are trained"
    return None


class Layer:
    """Projections, norms and heads of one decoder layer; the weights are those of transformers' module."""

    def __init__(self, module: Any, pack: bool):
        owners = (module.self_attn, module.self_attn, module.mlp, module.mlp)
        self.qkv, self.out, self.gate_up, self.down = (
            StackedLinear([getattr(owner, name) for name in names], pack)
            for owner, names in zip(owners, STACKS, strict=True)
        )
        self.linears = (self.qkv, self.out, self.gate_up, self.down)
        self.before_attention, self.before_mlp = Norm(module.input_layernorm), Norm(module.post_attention_layernorm)
        attention = module.self_attn
        self.query_norm = getattr(attention, "q_norm", None)
        self.key_norm = getattr(attention, "k_norm", None)
        queries, keys = (part.out_features // attention.head_dim for part in self.qkv.bases[:2])
        self.heads = Heads(queries, keys, attention.head_dim, attention.scaling)
        self.split = [part.out_features for part in self.qkv.bases]

    def heads_of(self, stacked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value [tokens, heads * width] from the stacked projection [tokens, all of them], normed where
        the model does."""
        query, key, value = stacked.split(self.split, -1)
        if self.query_norm is not None:
            query, key = self._normed(self.query_norm, query), self._normed(self.key_norm, key)
        return query, key, value

    def _normed(self, norm: Any, states: torch.Tensor) -> torch.Tensor:
        grouped = states.unflatten(-1, (-1, self.heads.width))
        weight = norm.weight.to(states.dtype)
        return functional.rms_norm(grouped, (self.heads.width,), weight, norm.variance_epsilon).flatten(-2)


@dataclass(frozen=True)
class PackedTokens:
    """Tokens of one pass in the order of `layout`: ids and positions, [tokens] each, and which states are asked for."""

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    picked: torch.Tensor  # [picked] indices of tokens; the last layer does no more than they need


class PackedDecoder:
    """A causal model of the family, run over tokens in one row instead of a padded batch."""

    def __init__(self, causal: PreTrainedModel, recompute: bool = False):
        """`recompute`: layers again in the backward pass, instead of keeping what is inside them."""
        self.transformer: Any = causal.get_decoder()
        size = sum(part.numel() * part.element_size() for part in causal.parameters())
        self.layers = [Layer(module, size <= PACKED) for module in self.transformer.layers]
        self.norm = Norm(self.transformer.norm)
        self.output = StackedLinear([causal.get_output_embeddings()], size <= PACKED)
        self.recompute = recompute
        self._identity, self._gate = Identity(), Gate()

    def refresh(self) -> None:
        """Notice weights that were moved, cast or overwritten since the last pass."""
        for layer in self.layers:
            for linear in layer.linears:
                linear.refresh()
        self.output.refresh()

    def tables(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine of the rotary embedding at `positions` [tokens], each [tokens, 1, width]."""
        cosine, sine = self.transformer.rotary_emb(self.transformer.embed_tokens.weight[:1], positions[None])
        half = sine.shape[-1] // 2
        sine = torch.cat([-sine[0, :, :half], sine[0, :, half:]], -1)
        return cosine[0][:, None], sine[:, None]

    def states(self, tokens: PackedTokens, adapter: str | None, dtype: torch.dtype) -> torch.Tensor:
        """Final hidden states of the picked tokens, with gradients of the adapter.

        Args:
            adapter: name of the LoRA adapter; None for the bare base.
            dtype: of the products.
        Returns:
            [picked, width] in the dtype of the base.
        """
        self.refresh()
        tables = self.tables(tokens.positions)
        states = functional.embedding(tokens.ids, self.transformer.embed_tokens.weight).detach()
        again = self.recompute and torch.is_grad_enabled() and adapter is not None
        if again:
            states.requires_grad_()  # else reentrant checkpoints see nothing to differentiate
        for layer in self.layers:
            picked = tokens.picked if layer is self.layers[-1] else None
            run = functools.partial(self._layer, layer, tables, tokens.layout, adapter, dtype, picked)
            # Reentrant: attention keeps its parts in the node of the graph, which must not outlive the pass.
            states = checkpoint(run, states, use_reentrant=True, preserve_rng_state=False) if again else run(states)
        return _Normed.apply(states, self.norm)

    def _layer(
        self,
        layer: Layer,
        tables: tuple[torch.Tensor, torch.Tensor],
        layout: Layout,
        adapter: str | None,
        dtype: torch.dtype,
        picked: torch.Tensor | None,
        states: torch.Tensor,
    ) -> torch.Tensor:
        """`states` [tokens, width] after one layer, of the tokens `picked` or of all."""
        stacked = layer.qkv.forward(states, layer.before_attention, adapter, dtype)
        query, key, value = layer.heads_of(stacked)
        mixed = attend(query, key, value, tables, layout, layer.heads)
        if picked is not None:
            mixed, states = mixed.index_select(0, picked), states.index_select(0, picked)
        states = layer.out.forward(mixed, self._identity, adapter, dtype, states)
        stacked = layer.gate_up.forward(states, layer.before_mlp, adapter, dtype)
        return layer.down.forward(stacked, self._gate, adapter, dtype, states)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, norm: Norm) -> torch.Tensor:
        ctx.save_for_backward(states)
        ctx.norm = norm
        return norm.forward(states)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return ctx.norm.vjp(*ctx.saved_tensors)[1](gradient), None


def token_ids(sequences: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """[tokens] all ids of `sequences`, one after another."""
    return torch.tensor([token for sequence in sequences for token in sequence], device=device)


def token_positions(lengths: Sequence[int], starts: Sequence[int], device: torch.device) -> torch.Tensor:
    """[tokens] positions of sequences of `lengths` that begin at positions `starts`, one after another."""
    return torch.cat([torch.arange(start, start + n) for n, start in zip(lengths, starts, strict=True)]).to(device)
