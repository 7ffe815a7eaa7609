"""Tiny random models of many architectures, with the tokenizer of the tests' model."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from collm.common.errors import ModelError
from collm.common.files import write_json
from collm.common.seeds import derive
from collm.llm.packed.passes import PackedPasses
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from support.toy import team_settings

PLAIN: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
OLD: dict[str, Any] = {"vocab_size": 320, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
GPT: dict[str, Any] = {**OLD, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
EXPERTS: dict[str, Any] = {**PLAIN, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DELTA: dict[str, Any] = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
STATES: dict[str, Any] = {
    **OLD,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "expand": 2,
    "conv_kernel": 4,
}
MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "mamba_expand": 2,
}
SIZES: dict[str, dict[str, Any]] = {
    "llama": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
    "mistral": {**PLAIN, "sliding_window": 8},
    "phi3": PLAIN,
    "smollm3": PLAIN,
    "olmo2": PLAIN,
    "gemma": PLAIN,
    "gemma2": PLAIN,
    "gemma3_text": {**PLAIN, "sliding_window": 8},
    "granite": {**PLAIN, "logits_scaling": 8.0},
    "cohere2": PLAIN,
    "glm4": PLAIN,
    "stablelm": PLAIN,
    "starcoder2": PLAIN,
    "gpt2": GPT,
    "gpt_neox": {**PLAIN, "rotary_pct": 1.0},
    "gpt_neo": {
        **OLD,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 256,
        "attention_types": [[["global", "local"], 1]],
    },
    "gptj": {**GPT, "rotary_dim": 4},
    "opt": {
        **OLD,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "word_embed_proj_dim": 32,
    },
    "bloom": {**OLD, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {**OLD, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256},
    "falcon": {**OLD, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mixtral": {**PLAIN, "num_local_experts": 4, "sliding_window": None},
    "qwen3_moe": EXPERTS,
    "olmoe": {**PLAIN, "num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {
        **PLAIN,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "deepseek_v3": {
        **PLAIN,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "qwen3_next": {**EXPERTS, **DELTA, "shared_expert_intermediate_size": 16},
    "qwen3_5_text": {**PLAIN, **DELTA},
    "lfm2": {
        **PLAIN,
        "layer_types": ["conv", "full_attention"],
        "conv_L_cache": 3,
        "block_ff_dim": 48,
        "block_auto_adjust_ff_dim": False,
    },
    "falcon_h1": {**PLAIN, **MAMBA2, "mamba_d_ssm": 64},
    "bamba": {**PLAIN, **MAMBA2, "attn_layer_indices": [1]},
    "mamba": STATES,
    "mamba2": {**STATES, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "rwkv": {**OLD, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256},
    "gemma3": {
        "text_config": {**PLAIN, "sliding_window": 8, "model_type": "gemma3_text"},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
        "tie_word_embeddings": False,
        "eos_token_id": 1,
    },
    "qwen3_5": {
        "text_config": {**PLAIN, **DELTA},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "depth": 1,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
        "tie_word_embeddings": False,
    },
}  # by model_type


def make(kind: str, tokenizer: Path, out: Path, seed: int = 0) -> Path:
    """Save a random model of `kind` in `out`, with the tokenizer of the folder `tokenizer`, as `make_model` would."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES[kind]))
    with torch.no_grad():
        for name, part in model.named_parameters():
            if part.dim() > 1 and "conv" not in name:
                part.normal_(0, 0.15)
    out.mkdir(parents=True)
    model.save_pretrained(out)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / file, out / file)
    write_json(out / "model.json", {"name": out.name, "spec": {}, "parameters": model.num_parameters()})
    return out


ADAPTED = {"falcon_h1": ["q_proj", "v_proj"], "mamba": ["in_proj", "x_proj"], "mamba2": ["in_proj"]}
"""Targets of adapters where `all-linear` is refused."""
REQUESTS = [
    (agent, tuple(range(20, 20 + n)), [derive(agent, n, k) for k in range(2)]) for n in (3, 9) for agent in (0, 1)
]


def team_of(
    kind: str,
    folder: Path,
    critics: str | None = None,
    deviation: float = 0.3,
    cache: str = "growing",
    **changes: Any,
) -> Team:
    """Two LoRA agents on the model in `folder`, whose adapters differ by much."""
    lora = {"rank": 4, "alpha": 8, "targets": ADAPTED.get(kind, "all-linear")}
    settings = team_settings(**{"agents": (kind, kind), "critic": kind, "lora": lora, **changes})
    team = Team(settings, {kind: folder}, 0, critics, cache=cache)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for member in team.members:
            for name, part in member.parameters():
                if "lora_B" in name or "lora_embedding_A" in name:
                    part.copy_(deviation * torch.randn(part.shape, generator=draw))
    return team


def tokens_of(team: Team, mode: str) -> list[list[tuple[int, ...]]]:
    """What the agents say to `REQUESTS`, two responses each."""
    answers = team.respond(REQUESTS, Sampling(12), mode, 64)
    return [[response.tokens for response in group] for group in answers]


def largest_difference(team: Team, mode: str = "mixed") -> float:
    """Nats per token between decoding and scoring, the largest of all responses; scored by twos with their prompt."""
    worst = 0.0
    for (agent, _, _), group in zip(REQUESTS, team.respond(REQUESTS, Sampling(12), mode, 64), strict=True):
        with torch.no_grad():
            scores, _ = team.logprobs(agent, [(response.prompt, response.tokens) for response in group])
        pairs = zip(scores.tolist(), group, strict=True)
        worst = max(worst, *(abs(score - response.logprob) / len(response.tokens) for score, response in pairs))
    return worst


def table_row(kind: str, tokenizer: Path, root: Path) -> str:
    """What a team on a random model of `kind` does, as a line of docs/architectures.md.

    Raises:
        AssertionError: agents do not say the same decoded together and alone, or are scored otherwise than decoded.
    """
    folder = make(kind, tokenizer, root / kind)
    targets = ", ".join(ADAPTED.get(kind, ["all-linear"]))
    try:
        team = team_of(kind, folder)
    except ModelError as error:
        reason = re.sub(rf"^model '{kind}' (\(\w+\) is not supported: )?", "", str(error))
        reason = re.split(r" by \d| \(\w+Error|;", reason)[0]
        return f"| `{kind}` | {targets} | refused | {reason} |"
    assert tokens_of(team, "mixed") == tokens_of(team, "sequential"), kind
    assert largest_difference(team) < 1e-4, kind
    passes = team.agents[0].base.passes
    way = "packed" if isinstance(passes, PackedPasses) else "padded"
    together = "together" if passes.mixes else "one after another"
    return f"| `{kind}` | {targets} | {way} | agents decode {together} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for kind in SIZES:
            print(table_row(kind, Path(sys.argv[1]), Path(name)))
