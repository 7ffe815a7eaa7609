"""A team: bases loaded once, agents and critics as adapters (or whole copies) on them; beside bases.py the only place
that knows tokenizers, adapters and devices."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils import load_peft_weights
from torch import nn
from transformers import AutoModelForCausalLM

from collm.common.errors import ModelError
from collm.config.job import TeamConfig
from collm.llm.base_model import Base, Message
from collm.llm.batching import Pair, Wanted, by_asker
from collm.llm.memory_savers import recomputing
from collm.llm.packed import logprobs as packed_logprobs
from collm.llm.packed.decoding import LeanStepper
from collm.llm.padded import logprobs as padded_logprobs
from collm.llm.padded.multi_lora import grouped
from collm.llm.sampling import GeneralStepper, Generated, Request, Sampling, decode

if TYPE_CHECKING:
    from collm.llm.vllm import Engines

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def derive(*parts: Any) -> int:
    """A 63-bit number from any parts: the same parts give the same seed, on every machine."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Response:
    """What one agent said: text, its tokens (end token included if drawn), the prompt's tokens, and seconds that
    its batch took."""

    text: str
    tokens: tuple[int, ...]
    prompt: tuple[int, ...]
    logprob: float
    ended: bool
    seconds: float


class Member:
    """One trainable part of a team: an agent, or a critic with a value head."""

    def __init__(self, name: str, base: Base, model: nn.Module, adapter: str | None, with_head: bool):
        self.name, self.base, self.model, self.adapter = name, base, model, adapter
        self.head: nn.Linear | None = None
        if with_head:
            width = base.model.config.get_text_config().hidden_size
            self.head = nn.Linear(width, 1).to(base.device)
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def activate(self) -> nn.Module:
        """Make this member's adapter the active one; returns the causal model to run."""
        if self.adapter is None:
            return self.model
        if self.model.active_adapter != self.adapter:
            self.model.set_adapter(self.adapter)
        return self.model.get_base_model()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that this member trains, in a fixed order."""
        if self.adapter is None:
            own = list(self.model.named_parameters())
        else:
            own = [item for item in self.model.named_parameters() if f".{self.adapter}." in item[0]]
        head = [(f"value_head.{name}", part) for name, part in self.head.named_parameters()] if self.head else []
        return own + head

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format (or the whole model), and the value head, below `folder`/name."""
        if self.adapter is None:
            self.model.save_pretrained(folder / self.name)
        else:
            settings = self.model.peft_config[self.adapter]
            if not isinstance(settings.target_modules, str):  # PEFT keeps a set: another order in every process
                settings.target_modules = sorted(settings.target_modules)
            self.model.save_pretrained(folder, selected_adapters=[self.adapter])
        if self.head is not None:
            torch.save(self.head.state_dict(), folder / self.name / "value_head.pt")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; ModelError if it is not there. A value head that was not saved stays as it is: warm
        starts have none."""
        own = folder / self.name
        if not own.is_dir():
            raise ModelError(f"no adapter of {self.name} in {folder}; run warm_start or train first")
        if self.adapter is None:
            source = AutoModelForCausalLM.from_pretrained(own, dtype=torch.float32)
            self.model.load_state_dict(source.state_dict())
        else:
            set_peft_model_state_dict(self.model, load_peft_weights(own, device="cpu"), adapter_name=self.adapter)
        if self.head is not None and (own / "value_head.pt").is_file():
            self.head.load_state_dict(torch.load(own / "value_head.pt", weights_only=True))


class Team:
    """n agents, and critics as asked for: none, one for the team ("joint"), one per agent ("local"), or value heads on
    the agents themselves ("shared")."""

    def __init__(
        self,
        settings: TeamConfig,
        folders: Mapping[str, Path],
        seed: int,
        critics: str | None = None,
        accelerator: Accelerator | None = None,
        device_maps: Mapping[str, str | None] | None = None,
        recompute: bool = False,
    ):
        """`device_maps`: of bases that are spread over GPUs; `recompute`: layers are computed again for gradients."""
        self.accelerator = accelerator or Accelerator(cpu=True)
        self.settings, self.device, self.seed = settings, self.accelerator.device, seed
        self._folders, self._device_maps, self._recompute = folders, device_maps or {}, recompute
        self._bases: dict[str, Base] = {}
        self._wrapped: dict[str, PeftModel] = {}
        shared = critics == "shared"
        self.agents = [self._member(f"agent_{i}", name, shared) for i, name in enumerate(settings.agents)]
        names = {"joint": ["critic"], "local": [f"critic_{i}" for i in range(len(self.agents))]}.get(critics or "", [])
        self.critics = self.agents if shared else [self._member(name, settings.critic, True) for name in names]
        self.cut_prompts = 0
        self.engines: Engines | None = None  # decode here, unless a backend of their own serves the agents

    @property
    def members(self) -> list[Member]:
        """All that is trained, each once."""
        return [*self.agents, *(member for member in self.critics if member not in self.agents)]

    def _member(self, name: str, model: str, with_head: bool) -> Member:
        full = self.settings.adapter == "full"
        dtype = torch.float32 if full else DTYPES[self.settings.dtype]
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.seed, "member", name) % 2**32)
            if full:
                base = self._base(model, dtype)
                base.model.requires_grad_(True)
                return Member(name, base, base.model, None, with_head)
            if model not in self._bases:
                self._bases[model] = self._base(model, dtype)
            base = self._bases[model]
            lora = LoraConfig(
                r=self.settings.lora["rank"],
                lora_alpha=self.settings.lora["alpha"],
                target_modules=self.settings.lora["targets"],
                task_type="CAUSAL_LM",
            )
            if model in self._wrapped:
                self._wrapped[model].add_adapter(name, lora)
            else:
                self._wrapped[model] = get_peft_model(base.model, lora, adapter_name=name).eval()
            return Member(name, base, self._wrapped[model], name, with_head)

    def _base(self, model: str, dtype: torch.dtype) -> Base:
        return Base(model, self._folders[model], dtype, self.device, self._device_maps.get(model))

    def _recomputing(self, causal: nn.Module) -> contextlib.AbstractContextManager[Any]:
        wanted = self._recompute and torch.is_grad_enabled()
        return recomputing(causal) if wanted else contextlib.nullcontext()

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast as configured."""
        return self.accelerator.autocast()

    def _products(self, base: Base) -> torch.dtype:
        """Dtype of products while training: the autocast one, else that of the base."""
        return torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else base.model.dtype

    # prompts

    def prompt(self, agent: int, messages: Sequence[Message], reserve: int) -> tuple[int, ...]:
        """Token ids of an agent's prompt, leaving `reserve` tokens of the context for the response."""
        base = self.agents[agent].base
        limit = min(base.context - reserve, self.settings.max_prompt_tokens or base.context)
        if limit < 1:
            raise ModelError(
                f"model {base.name!r} has a context of {base.context} tokens, and rollout.max_new_tokens is {reserve}; "
                "lower it or take a model with a longer context"
            )
        ids, cut = base.encode(messages, self.settings.chat_template, limit)
        self.cut_prompts += cut > 0
        return ids

    def text_ids(self, critic: int, text: str) -> tuple[int, ...]:
        """Token ids of plain text for a critic, in its own base's tokenizer; the last ones if it is too long."""
        base = self.critics[critic].base
        return tuple(base.tokenizer(text)["input_ids"][-base.context :])

    # generation

    def respond(
        self, wanted: Sequence[Wanted], sampling: Sampling, decode_mode: str, max_rows: int
    ) -> list[list[Response]]:
        """Sample responses.

        Args:
            wanted: (agent, prompt ids, one key per response) for every prompt; equal prompts are prefilled once.
        Returns:
            For every item of `wanted` its responses in the order of the keys.
        """
        if self.engines is not None:
            return self._served(wanted, sampling, decode_mode)
        share = len(self.agents) if decode_mode == "mixed" else 1  # of the rows of a batch
        distinct = by_asker(wanted, max(1, max_rows // share))
        parts: list[list[Response]] = [[] for _ in distinct]
        for batch in self._batches(distinct, decode_mode, max_rows):
            started = time.perf_counter()
            generated = self._decode([distinct[index] for index in batch], sampling)
            seconds = time.perf_counter() - started
            for index, items in zip(batch, generated, strict=True):
                parts[index] = [self._response(distinct[index], item, seconds) for item in items]
        answers: dict[tuple[int, tuple[int, ...]], list[Response]] = {}
        for (agent, prompt, _), part in zip(distinct, parts, strict=True):
            answers.setdefault((agent, prompt), []).extend(part)
        following = {asker: iter(responses) for asker, responses in answers.items()}
        return [[next(following[agent, prompt]) for _ in keys] for agent, prompt, keys in wanted]

    def _served(self, wanted: Sequence[Wanted], sampling: Sampling, decode_mode: str) -> list[list[Response]]:
        """The same by the engines of a backend: all agents in one call, or one after another to time each alone."""
        agents = sorted({agent for agent, _, _ in wanted})
        calls = [agents] if decode_mode == "mixed" else [[agent] for agent in agents]
        answers: list[list[Response]] = [[] for _ in wanted]
        for call in calls:
            indices = [index for index, (agent, _, _) in enumerate(wanted) if agent in call]
            started = time.perf_counter()
            generated = self.engines.generate([wanted[index] for index in indices], sampling)
            seconds = time.perf_counter() - started
            for index, items in zip(indices, generated, strict=True):
                answers[index] = [self._response(wanted[index], item, seconds) for item in items]
        return answers

    def _response(self, wanted: tuple[int, tuple[int, ...], Any], item: Generated, seconds: float) -> Response:
        base = self.agents[wanted[0]].base
        said = item.tokens[:-1] if item.ended else item.tokens
        text = base.tokenizer.decode(said, skip_special_tokens=True)
        return Response(text, item.tokens, wanted[1], item.logprob, item.ended, seconds)

    def _batches(self, wanted: Sequence[tuple[int, Any, Any]], mode: str, max_rows: int) -> list[list[int]]:
        """Indices decoded together: one base (mixed) or agent (sequential), equal copies, lengths alike."""
        pools: dict[tuple[Any, ...], list[int]] = {}
        for index, (agent, _, keys) in enumerate(wanted):
            member = self.agents[agent]
            shared = mode == "mixed" and member.adapter is not None
            pools.setdefault((len(keys), id(member.model) if shared else agent), []).append(index)
        batches = []
        for (copies, _), pool in pools.items():
            per_agent: dict[int, list[int]] = {}
            for index in sorted(pool, key=lambda index: (len(wanted[index][1]), index)):
                per_agent.setdefault(wanted[index][0], []).append(index)
            size = max(1, max_rows // (copies * len(per_agent)))
            while any(per_agent.values()):
                batches.append([index for agent in sorted(per_agent) for index in per_agent[agent][:size]])
                per_agent = {agent: rest[size:] for agent, rest in per_agent.items() if rest[size:]}
        return batches

    def _decode(self, wanted: Sequence[tuple[int, tuple[int, ...], Sequence[int]]], sampling: Sampling) -> Any:
        """One batch; agents that bring fewer prompts than others are decoded on their own."""
        agents = [agent for agent, _, _ in wanted]
        names = sorted(set(agents))
        counts = {agents.count(agent) for agent in names}
        if len(counts) > 1:
            parts = {agent: iter(self._decode([w for w in wanted if w[0] == agent], sampling)) for agent in names}
            return [next(parts[agent]) for agent in agents]
        member = self.agents[names[0]]
        base = member.base
        requests = [Request(names.index(agent), prompt, tuple(keys)) for agent, prompt, keys in wanted]
        lean = base.lean()
        if lean is not None:
            adapters = [self.agents[agent].adapter for agent in names]
            stepper = LeanStepper(lean, adapters, sampling.max_new_tokens, self.device)
            return decode(stepper, requests, sampling, base.ends, self.device)
        context, precision = contextlib.nullcontext(), self.precision()
        if member.adapter is not None:
            context = grouped(member.model, [self.agents[agent].adapter for agent in names])
            precision = contextlib.nullcontext()
        with context, precision:
            general = GeneralStepper(member.activate(), sampling.max_new_tokens, base.pad, self.device)
            return decode(general, requests, sampling, base.ends, self.device)

    # scoring

    def logprobs(
        self, agent: int, pairs: Sequence[Pair], entropy_gradient: bool = False, reference: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of responses by one teacher-forced pass, full softmax (paper §5.2).

        Args:
            pairs: (prompt ids, response ids); padding stands right and is never seen or counted.
            entropy_gradient: whether the entropy carries a gradient.
            reference: score with the adapter off, which is the base that the agent started from.
        Returns:
            ([batch] sum of token log-probabilities, [batch] mean entropy per token in nats).
        Raises:
            ModelError: `reference` of an agent that is a whole copy: no base is left to refer to.
        """
        member = self.agents[agent]
        if reference and member.adapter is None:
            raise ModelError(f"{member.name} is a whole model: there is no base to refer to; use team.adapter lora")
        causal, lean = member.activate(), member.base.lean()
        if lean is not None:
            adapter, dtype = None if reference else member.adapter, self._products(member.base)
            lean.recompute = self._recompute
            return packed_logprobs.logprobs(lean, adapter, pairs, dtype, self.device, entropy_gradient)
        without = member.model.disable_adapter() if reference else contextlib.nullcontext()
        share = not (self._recompute and torch.is_grad_enabled())  # sharing prompts needs the cache
        with without, self.precision(), self._recomputing(causal):
            return padded_logprobs.logprobs(causal, pairs, member.base.pad, self.device, entropy_gradient, share)

    def values(self, critic: int, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """[batch] values read at the last token of each text; no vocabulary logits are computed."""
        member = self.critics[critic]
        causal, lean = member.activate(), member.base.lean()
        if lean is not None:
            lean.recompute = self._recompute
            states = packed_logprobs.last_states(lean, member.adapter, texts, self._products(member.base), self.device)
        else:
            with self.precision(), self._recomputing(causal):
                states = padded_logprobs.last_states(causal, texts, member.base.pad, self.device)
        return member.head(states.to(member.head.weight.dtype))[:, 0]

    # storage

    def save(self, folder: Path) -> None:
        """Write every member below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            member.save(folder)

    def load_agents(self, folder: Path) -> None:
        """Read the agents (not the critics) from `folder`."""
        for member in self.agents:
            member.load(folder)
