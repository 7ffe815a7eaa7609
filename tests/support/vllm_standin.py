"""A stand-in for vLLM 0.33.0: checks every argument as that release would, and serves the tokens of the real model.

It keeps adapters by their integer id and knows prompts by their adapter's name, as vLLM does, so that a stale id gives
stale tokens and a stale name is refused. Logits come from transformers and plain PEFT, one sequence at a time.
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from collm.llm.sampling import Sampling, pick, uniforms

NUMBER = (int, float)
ENGINE = {
    "model": str,
    "dtype": str,
    "max_model_len": int,
    "max_num_seqs": int,
    "gpu_memory_utilization": float,
    "enable_lora": bool,
    "max_loras": int,
    "max_cpu_loras": int,
    "max_lora_rank": int,
    "enable_prefix_caching": bool,
    "generation_config": str,
    "logprobs_mode": str,
    "seed": int,
}  # the arguments of vllm.LLM (and EngineArgs) that may be used here, with their types
PARAMETERS = {
    "n": int,
    "seed": int,
    "max_tokens": int,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": int,
    "stop_token_ids": list,
    "logprobs": int,
    "detokenize": bool,
}  # the same of vllm.SamplingParams
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def check(what: str, given: dict[str, Any], allowed: dict[str, Any]) -> None:
    """TypeError for an unknown name or a wrong type; a bool is no int."""
    for name, value in given.items():
        if name not in allowed:
            raise TypeError(f"{what} got an unexpected keyword argument {name!r}")
        kinds = allowed[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise TypeError(f"{what}: {name} is {value!r}, expected {kinds}")


class SamplingParams:
    def __init__(self, **given: Any):
        check("SamplingParams", given, PARAMETERS)
        self.__dict__ |= {"n": 1, "seed": None, "top_k": 0, "logprobs": None, "detokenize": True, **given}
        if not 0 <= self.temperature <= 2 or not 0 < self.top_p <= 1 or self.top_k < -1 or self.max_tokens < 1:
            raise ValueError(f"SamplingParams out of range: {given}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed} does not fit a 64-bit integer")
        if not all(type(token) is int for token in self.stop_token_ids):
            raise TypeError("stop_token_ids holds something else than int")


class TokensPrompt(dict):
    def __init__(self, *, prompt_token_ids: list[int]):
        if type(prompt_token_ids) is not list or not all(type(token) is int for token in prompt_token_ids):
            raise TypeError(f"prompt_token_ids is no list of int: {prompt_token_ids!r}")
        if not prompt_token_ids:
            raise ValueError("the prompt is empty")
        super().__init__(prompt_token_ids=prompt_token_ids)


class LoRARequest:
    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str = ""):
        given = {"lora_name": lora_name, "lora_int_id": lora_int_id, "lora_path": lora_path}
        check("LoRARequest", given, {"lora_name": str, "lora_int_id": int, "lora_path": str})
        if lora_int_id < 1 or not lora_path:
            raise ValueError(f"bad LoRARequest {given}")
        self.__dict__ |= given


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: Any
    finish_reason: str | None
    stop_reason: int | None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


class LLM:
    made: list[LLM] = []

    def __init__(self, model: str, **given: Any):
        check("LLM", {"model": model, **given}, ENGINE)
        assert (Path(model) / "config.json").is_file()
        assert given["max_lora_rank"] in RANKS and 0 < given["gpu_memory_utilization"] <= 1
        assert given["max_cpu_loras"] >= given["max_loras"] >= 1 and given["enable_lora"]
        assert given["dtype"] in ("auto", "bfloat16", "float16", "float32")
        assert given["logprobs_mode"] in ("raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits")
        assert given["generation_config"] in ("auto", "vllm")
        self.given, self.model = {"model": model, **given}, model
        self.adapters: dict[int, Any] = {}  # by id: loaded once, whatever the folder says later
        self.prompts: dict[tuple[str, str], int] = {}  # id that a name and path stood for first
        self.calls: list[list[LoRARequest]] = []
        LLM.made.append(self)

    def generate(
        self,
        prompts: list[TokensPrompt],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool = True,
        lora_request: list[LoRARequest] | None = None,
    ) -> list[RequestOutput]:
        assert lora_request is not None and len(prompts) == len(sampling_params) == len(lora_request)
        assert len({request.lora_int_id for request in lora_request}) <= self.given["max_loras"]
        assert use_tqdm is False
        self.calls.append(lora_request)
        return [self._answer(*item) for item in zip(prompts, sampling_params, lora_request, strict=True)]

    def _adapter(self, request: LoRARequest) -> Any:
        key = (request.lora_name, request.lora_path)
        assert self.prompts.setdefault(key, request.lora_int_id) == request.lora_int_id, f"{key} has cached prompts"
        if request.lora_int_id not in self.adapters:
            settings = json.loads((Path(request.lora_path) / "adapter_config.json").read_text())
            assert settings["r"] <= self.given["max_lora_rank"] and settings["bias"] == "none"
            assert not settings["modules_to_save"] and not settings["use_dora"]
            base = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32)
            self.adapters[request.lora_int_id] = PeftModel.from_pretrained(base, request.lora_path).eval()
        return self.adapters[request.lora_int_id]

    @torch.no_grad()
    def _answer(self, prompt: TokensPrompt, wanted: SamplingParams, request: LoRARequest) -> RequestOutput:
        assert type(prompt) is TokensPrompt and type(wanted) is SamplingParams and type(request) is LoRARequest
        ids, said, total = prompt["prompt_token_ids"], [], 0.0
        assert wanted.n == 1 and len(ids) + wanted.max_tokens <= self.given["max_model_len"]
        model, draws = self._adapter(request), uniforms(wanted.seed, wanted.max_tokens)
        sampling = Sampling(wanted.max_tokens, wanted.temperature, wanted.top_p, wanted.top_k or None)
        while len(said) < wanted.max_tokens and not (said and said[-1] in wanted.stop_token_ids):
            logits = model(input_ids=torch.tensor([ids + said])).logits[:, -1].float()
            token = pick(logits, torch.tensor([draws[len(said)]]).float(), sampling).item()
            total += torch.log_softmax(logits[0], -1)[token].item()
            said.append(token)
        ended = said[-1] in wanted.stop_token_ids
        answer = CompletionOutput(
            0,
            "",
            said,
            None if wanted.logprobs is None else total,
            None,
            "stop" if ended else "length",
            said[-1] if ended else None,
        )
        return RequestOutput(ids, [answer])


def install(monkeypatch) -> type[LLM]:
    """Let `import vllm` find the stand-in; returns its LLM, whose `made` lists the engines."""
    package, lora, request = (types.ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request"))
    package.LLM, package.SamplingParams, package.TokensPrompt = LLM, SamplingParams, TokensPrompt
    request.LoRARequest = LoRARequest
    for module in (package, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "made", [])
    return LLM
