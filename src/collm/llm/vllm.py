"""Rollouts served by vLLM instead of the decoders here: an engine per base, an adapter request per agent.

Imported only where `rollout.backend` is vllm. Names and arguments are those of vLLM 0.33.0: `vllm.LLM`, its `generate`,
`vllm.SamplingParams`, `vllm.TokensPrompt`, `vllm.lora.request.LoRARequest`. The engine keeps an adapter by its integer
id, and keys and values of prompts by the adapter's name and path: an agent whose numbers have changed gets a new id,
name and folder, and nothing of the old one is used again. docs/vllm.md says what differs from `transformers`.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from collm.common.errors import ModelError
from collm.llm.batching import PromptKeys
from collm.llm.sampling import Generated, Sampling

if TYPE_CHECKING:
    from collm.llm.base_model import Base
    from collm.llm.member import Member

RELEASE = "0.33.0"  # what names and arguments here were checked against
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for
DTYPE = "bfloat16"  # of weights and adapters in the engine: its kernels for adapters take no float32


def load() -> SimpleNamespace:
    """What is used of vLLM; ModelError says how to install it."""
    try:
        package = importlib.import_module("vllm")
        request = importlib.import_module("vllm.lora.request")
    except ImportError as error:
        raise ModelError(
            f"rollout.backend is vllm, and vllm cannot be imported ({error}); install it into an environment of its "
            f"own, for it brings its own torch and transformers: pip install -r requirements.txt && pip install "
            f"vllm=={RELEASE}; or set rollout.backend to transformers"
        ) from error
    return SimpleNamespace(
        LLM=package.LLM,
        SamplingParams=package.SamplingParams,
        TokensPrompt=package.TokensPrompt,
        LoRARequest=request.LoRARequest,
    )


class Adapters:
    """Adapters of agents as files that an engine can read, with a fresh id whenever an agent's numbers change."""

    def __init__(self, request: Any):
        """`request` is vLLM's LoRARequest."""
        self._request = request
        self._folder = tempfile.TemporaryDirectory(prefix="collm_adapters_")
        self._ids = itertools.count(1)
        self._current: dict[str, tuple[str, Path, Any]] = {}  # member -> digest of its numbers, folder, request

    def request(self, member: Member) -> Any:
        """The LoRARequest for a member as it is now."""
        digest = content(member)
        known, folder, request = self._current.get(member.name, ("", None, None))
        if known == digest:
            return request
        number = next(self._ids)
        new = Path(self._folder.name) / str(number)
        member.save(new)
        request = self._request(
            lora_name=f"{member.name}.{number}", lora_int_id=number, lora_path=str(new / member.name)
        )
        self._current[member.name] = (digest, new, request)
        if folder is not None:
            shutil.rmtree(folder)
        return request


def content(member: Member) -> str:
    """Digest of a member's adapter: its bytes decide, whoever wrote them."""
    digest = hashlib.sha256()
    for name, part in member.parameters():
        digest.update(name.encode())
        digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Engines:
    """One engine of vLLM per base that agents stand on."""

    def __init__(self, agents: Sequence[Member], rank: int, max_rows: int, share: float):
        """Load all engines, so that a lack of memory shows before anything is trained.

        Args:
            agents: members of a team with LoRA adapters.
            rank: of the adapters.
            max_rows: responses that an engine works on at once.
            share: of a GPU's memory that each engine takes, for weights, keys and values.
        Raises:
            ModelError: vLLM is not installed, or the rank is larger than it can serve.
        """
        if rank > RANKS[-1]:
            raise ModelError(f"team.lora.rank is {rank}; vLLM serves at most {RANKS[-1]}: lower it or use transformers")
        self.vllm, self.agents = load(), agents
        self._adapters = Adapters(self.vllm.LoRARequest)
        self._room = next(room for room in RANKS if room >= rank)
        self._max_rows, self._share = max_rows, share
        self._bases = {member.base.name: member.base for member in agents}
        self._engines = {name: self._engine(base) for name, base in self._bases.items()}

    def _engine(self, base: Base) -> Any:
        adapters = len({member.learner for member in self.agents if member.base is base})
        return self.vllm.LLM(
            model=str(base.folder),
            dtype=DTYPE,
            max_model_len=base.context,
            max_num_seqs=self._max_rows,
            gpu_memory_utilization=self._share,
            enable_lora=True,
            max_loras=adapters,
            max_cpu_loras=2 * adapters,
            max_lora_rank=self._room,
            enable_prefix_caching=True,
            generation_config="vllm",
            logprobs_mode="raw_logprobs",
            seed=0,
        )

    def generate(self, prompts: Sequence[PromptKeys], sampling: Sampling) -> list[list[Generated]]:
        """Sample one response per key.

        Args:
            prompts: (agent, prompt ids, one key per response).
        Returns:
            For every item of `prompts` its responses in the order of the keys.
        Raises:
            ModelError: the engine gave a response up.
        """
        of_base: dict[str, list[int]] = {}
        for index, (agent, _, _) in enumerate(prompts):
            of_base.setdefault(self.agents[agent].base.name, []).append(index)
        groups: list[list[Generated]] = [[] for _ in prompts]
        for name, indices in of_base.items():
            answers = iter(self._ask(name, [prompts[index] for index in indices], sampling))
            for index in indices:
                groups[index] = [next(answers) for _ in prompts[index][2]]
        return groups

    def _ask(self, name: str, prompts: Sequence[PromptKeys], sampling: Sampling) -> list[Generated]:
        """One call of a base's engine: a request per key, which is the seed of all its randomness."""
        base = self._bases[name]
        asking = {agent for agent, _, _ in prompts}
        requests = {agent: self._adapters.request(self.agents[agent].learner) for agent in asking}
        asked = [(agent, prompt, key) for agent, prompt, keys in prompts for key in keys]
        outputs = self._engines[name].generate(
            [self.vllm.TokensPrompt(prompt_token_ids=list(prompt)) for _, prompt, _ in asked],
            [self._parameters(base, key, sampling) for _, _, key in asked],
            use_tqdm=False,
            lora_request=[requests[agent] for agent, _, _ in asked],
        )
        return [self._generated(base, output) for output, _ in zip(outputs, asked, strict=True)]

    def _parameters(self, base: Base, key: int, sampling: Sampling) -> Any:
        return self.vllm.SamplingParams(
            n=1,
            seed=key,
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            stop_token_ids=sorted(base.ends),
            logprobs=0,
            detokenize=False,
        )

    @staticmethod
    def _generated(base: Base, output: Any) -> Generated:
        """Tokens with the end token, if one was drawn; their log-probability is that of the untempered softmax."""
        (answer,) = output.outputs
        tokens = tuple(answer.token_ids)
        ended = answer.finish_reason == "stop"
        if answer.finish_reason not in ("stop", "length") or not tokens or ended != (tokens[-1] in base.ends):
            raise ModelError(
                f"vLLM ended a response of {base.name!r} with {answer.finish_reason!r} after {len(tokens)} tokens; "
                f"expected its end token or the full length: see its log, or set rollout.backend to transformers"
            )
        return Generated(tokens, answer.cumulative_logprob, ended)
