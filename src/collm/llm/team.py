"""A team: bases loaded once, agents and critics as adapters on them or as whole copies, and what they answer,
score and value. Above this module nobody knows tokenizers, adapters or devices."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch
from accelerate import Accelerator
from peft import LoraConfig

from collm.common.errors import ModelError
from collm.common.files import sha256
from collm.common.seeds import derive
from collm.config.job import TeamConfig
from collm.domains.base import Message
from collm.llm import responding
from collm.llm.base_model import Base
from collm.llm.bases import Bases
from collm.llm.batching import Pair, PromptKeys
from collm.llm.encoding import TooLong
from collm.llm.member import Member
from collm.llm.passes import PassSettings
from collm.llm.responding import Response
from collm.llm.sampling import Sampling

if TYPE_CHECKING:
    from collm.llm.vllm import Engines

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


class Neighbours(Protocol):
    """What decodes for several teams in one batch."""

    def respond(
        self, team: Team, prompts: Sequence[PromptKeys], sampling: Sampling, decode_mode: str, max_rows: int
    ) -> list[list[Response]]:
        """See `Team.respond`."""
        ...


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
        cache: str = "growing",
        bases: Bases | None = None,
    ):
        """Load all bases and initialise all members, each by a seed of its own.

        Args:
            folders: of the models, by name.
            device_maps: of bases that are spread over GPUs.
            recompute: layers are computed again for gradients.
            cache: of decoding: growing, static or auto (`PassSettings`).
            bases: of the teams of this process, where they share them; None: this team has its own.
        Raises:
            ModelError: a model is not there or cannot be used, or parts of its adapters would never be trained.
        """
        self.accelerator = accelerator or Accelerator(cpu=True)
        self.settings, self.device, self.seed = settings, self.accelerator.device, seed
        self._folders, self._device_maps = folders, device_maps or {}
        self._passes = self._pass_settings(recompute, cache)
        self._bases: dict[str, Base] = {}
        self._shared, self._prefix = bases, bases.join() if bases else ""
        shared = critics == "shared"
        self.agents = self._agents(settings, shared)
        names = {"joint": ["critic"], "local": [f"critic_{i}" for i in range(len(self.agents))]}.get(critics or "", [])
        self.critics = self.agents if shared else [self._member(name, settings.critic, True) for name in names]
        for base in dict.fromkeys(member.base for member in self.members):
            if not base.ready:
                base.choose_passes(self._passes)
        for member in self.members:
            member.check_trained(speaks=any(member is agent.learner for agent in self.agents))
        self._references: list[Member] = []  # of the agents, if any are kept
        self.critic_texts: dict[str, list[bool]] = {}  # by critic: whether each text it has read was cut
        self.engines: Engines | None = None  # decode here, unless a backend of their own serves the agents
        self.neighbours: Neighbours | None = None  # or teams of other runs are decoded in the same batches

    @property
    def members(self) -> list[Member]:
        """All that is trained, each once: one member for all agents where they share it."""
        return list(dict.fromkeys(member.learner for member in (*self.agents, *self.critics)))

    def _agents(self, settings: TeamConfig, with_head: bool) -> list[Member]:
        """One per agent; those that share an adapter (and its value head) are names of the same member."""
        if not settings.one_for_all:
            return [self._member(f"agent_{i}", name, with_head) for i, name in enumerate(settings.agents)]
        shared = self._member("agents", settings.agents[0], with_head)
        return [shared.shared_by(f"agent_{i}") for i in range(len(settings.agents))]

    def _member(self, name: str, model: str, with_head: bool) -> Member:
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.seed, "member", name) % 2**32)
            if self.settings.adapter == "full":
                base = self._base(model, DTYPES[self.settings.dtype])
                base.model.requires_grad_(True)
                return Member(name, base, base.model, None, with_head)
            if model not in self._bases:
                self._bases[model] = self._frozen_base(model)
            base = self._bases[model]
            lora = LoraConfig(
                r=self.settings.lora["rank"],
                lora_alpha=self.settings.lora["alpha"],
                target_modules=self.settings.lora["targets"],
                task_type="CAUSAL_LM",
            )
            adapter = self._prefix + name
            return Member(name, base, base.add_adapter(adapter, lora), adapter, with_head)

    def _frozen_base(self, model: str) -> Base:
        """The base of adapters; of several teams those share one that agree in all that it is made and run by."""

        def load() -> Base:
            return self._base(model, DTYPES[self.settings.dtype])

        if self._shared is None:
            return load()
        own, passes = self.settings, self._passes
        agreed = (
            own.dtype,
            own.quantization,
            own.lora,
            own.chat_template,
            own.chat_template_arguments,
            self._device_maps.get(model),
        )
        run_by = (str(self.device), str(passes.product_dtype), passes.recompute, passes.static)
        key = (str(self._folders[model].resolve()), json.dumps(agreed, sort_keys=True, default=list), *run_by)
        return self._shared.get(key, load)

    def _base(self, model: str, dtype: torch.dtype) -> Base:
        template = self.settings.chat_template_arguments if self.settings.chat_template else None
        spread, stored = self._device_maps.get(model), self.settings.quantization
        return Base(model, self._folders[model], dtype, self.device, spread, template, stored)

    def _pass_settings(self, recompute: bool, cache: str) -> PassSettings:
        product_dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else None
        return PassSettings(self.device, product_dtype, self.accelerator.autocast, recompute, cache)

    # prompts

    def prompt(self, agent: int, messages: Sequence[Message], reserve: int) -> tuple[int, ...]:
        """Token ids of an agent's prompt, see `fitted_prompt`."""
        return self.fitted_prompt(agent, messages, reserve)[0]

    def fitted_prompt(self, agent: int, messages: Sequence[Message], reserve: int) -> tuple[tuple[int, ...], bool]:
        """Token ids of an agent's prompt, leaving `reserve` tokens of the context for the response; and whether it
        was cut for that: its longest messages lose their middle, system texts and the chat template's tokens stay.

        Raises:
            ModelError: no room is left, or none for what is never cut.
        """
        base = self.agents[agent].base
        limit = min(base.context - reserve, self.settings.max_prompt_tokens or base.context)
        if limit < 1:
            raise ModelError(
                f"model {base.name!r} has a context of {base.context} tokens, and rollout.max_new_tokens is {reserve}; "
                "lower it or take a model with a longer context"
            )
        try:
            ids, cut = base.encoder.messages(messages, limit)
        except TooLong as error:
            raise ModelError(
                f"a prompt of agent {agent} has {error.tokens} tokens that are never cut (system text, chat template, "
                f"mark of a cut), and {limit} are possible; raise team.max_prompt_tokens, lower "
                "rollout.max_new_tokens, or take a model with a longer context"
            ) from None
        return ids, cut > 0

    def text_ids(self, critic: int, text: str, agent: int | None = None) -> tuple[int, ...]:
        """Token ids of plain text for a critic; a text too long loses its middle.

        Args:
            agent: whose tokenizer makes them, control tokens written in the text included (the released code); None:
                that of the critic's own base.
        """
        member = self.critics[critic]
        if agent is None:
            ids, cut = member.base.encoder.text(text, member.base.context)
        else:
            whole = self.agents[agent].base.tokenizer(text)["input_ids"]
            ids, cut = tuple(whole[-member.base.context :]), max(0, len(whole) - member.base.context)
        self.critic_texts.setdefault(member.name, []).append(cut > 0)
        return ids

    def continued(self, critic: int, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Ids of a text and its continuation for a critic, no beginning-of-text token between; the last that fit."""
        member = self.critics[critic]
        whole = (*ids, *member.base.tokenizer(text, add_special_tokens=False)["input_ids"])
        self.critic_texts.setdefault(member.name, []).append(len(whole) > member.base.context)
        return whole[-member.base.context :]

    def prompt_text(self, agent: int, ids: tuple[int, ...]) -> str:
        """The text of a prompt as an agent reads it, marks of its chat template included, less what begins any text."""
        tokenizer = self.agents[agent].base.tokenizer
        own = ids[1:] if ids and ids[0] == tokenizer.bos_token_id else ids
        text: str = tokenizer.decode(own, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def cut_texts(self) -> dict[str, float]:
        """By "cut_texts/critic" the share of cut ones among the texts that it has read since the last call."""
        read, self.critic_texts = self.critic_texts, {}
        return {f"cut_texts/{critic}": sum(cuts) / len(cuts) for critic, cuts in read.items()}

    # generation

    def respond(
        self, prompts: Sequence[PromptKeys], sampling: Sampling, decode_mode: str, max_rows: int
    ) -> list[list[Response]]:
        """Sample responses.

        Args:
            prompts: (agent, prompt ids, one key per response); equal prompts are prefilled together.
            decode_mode: "mixed" decodes all agents of a base in one batch, "sequential" one agent after another.
            max_rows: responses decoded at once.
        Returns:
            For every item of `prompts` its responses in the order of the keys.
        """
        if self.engines is not None:
            return self._respond_by_engines(self.engines, prompts, sampling, decode_mode)
        if self.neighbours is not None:
            return self.neighbours.respond(self, prompts, sampling, decode_mode, max_rows)
        return responding.respond(self.agents, prompts, sampling, decode_mode, max_rows)

    def _respond_by_engines(
        self, engines: Engines, prompts: Sequence[PromptKeys], sampling: Sampling, decode_mode: str
    ) -> list[list[Response]]:
        """The same by the engines of a backend: all agents in one call, or one after another to time each alone."""
        agents = sorted({agent for agent, _, _ in prompts})
        calls = [agents] if decode_mode == "mixed" else [[agent] for agent in agents]
        answers: list[list[Response]] = [[] for _ in prompts]
        for call in calls:
            indices = [index for index, (agent, _, _) in enumerate(prompts) if agent in call]
            started = time.perf_counter()
            generated = engines.generate([prompts[index] for index in indices], sampling)
            seconds = time.perf_counter() - started
            for index, items in zip(indices, generated, strict=True):
                answers[index] = [responding.response(self.agents, prompts[index], item, seconds) for item in items]
        return answers

    # scoring

    def logprobs(
        self,
        agent: int,
        pairs: Sequence[Pair],
        entropy_gradient: bool = False,
        reference: bool = False,
        sampling: Sampling | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of responses by one teacher-forced pass, full softmax (paper §5.2).

        Args:
            pairs: (prompt ids, response ids); padding stands right and is never seen or counted.
            entropy_gradient: whether the entropy carries a gradient.
            reference: score with what `keep_reference` kept, or else with the adapter off, which is the base.
            sampling: score under the policy that draws so instead of the full softmax.
        Returns:
            ([batch] sum of token log-probabilities, [batch] mean entropy per token in nats).
        Raises:
            ModelError: `reference` of an agent that is a whole copy: no base is left to refer to.
        """
        member = self.agents[agent]
        if reference and member.adapter is None:
            raise ModelError(f"{member.name} is a whole model: there is no base to refer to; use team.adapter lora")
        if reference and self._references:
            member = self._references[agent]
        member.activate()
        adapter = None if reference and not self._references else member.adapter
        return member.base.passes.logprobs(adapter, pairs, entropy_gradient, sampling)

    @torch.no_grad()
    def keep_reference(self) -> None:
        """Keep frozen copies of the agents' adapters as they are now, on the same bases: what divergences refer to.

        They are neither trained nor saved.

        Raises:
            ModelError: an agent is a whole copy, of which no second one is kept.
        """
        kept = {
            learner: self._frozen_copy(learner) for learner in dict.fromkeys(agent.learner for agent in self.agents)
        }
        self._references = [kept[agent.learner] for agent in self.agents]

    def _frozen_copy(self, member: Member) -> Member:
        if member.adapter is None:
            raise ModelError(f"{member.name} is a whole model: no copy of it is kept; use team.adapter lora")
        name = f"{self._prefix}reference_of_{member.name}"
        settings = cast(LoraConfig, member.model.peft_config[member.adapter])
        with torch.random.fork_rng():  # its initial numbers are overwritten
            member.base.add_adapter(name, copy.deepcopy(settings))
        reference = Member(name, member.base, member.model, name, with_head=False)
        for (_, kept), (_, own) in zip(reference.parameters(), member.parameters(), strict=False):  # no value head
            kept.copy_(own).requires_grad_(False)
        return reference

    def values(self, critic: int, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """[batch] values read at the last token of each text; no vocabulary logits are computed."""
        member = self.critics[critic]
        member.activate()
        return member.value(member.base.passes.last_states(member.adapter, texts))

    # storage

    def save(self, folder: Path) -> None:
        """Write every agent and critic below `folder`; of a shared adapter every agent has a copy."""
        folder.mkdir(parents=True, exist_ok=True)
        for member in dict.fromkeys((*self.agents, *self.critics)):
            member.save(folder)

    def load_agents(self, folder: Path) -> None:
        """Read the agents (not the critics) from `folder`.

        Raises:
            ModelError: an agent is not there, or agents that share an adapter have different ones there.
        """
        for member in self.agents:
            member.load(folder)
        if not self.settings.one_for_all:
            return
        first, *others = [_weights(folder / agent.name) for agent in self.agents]
        if other := next(
            (agent.name for agent, own in zip(self.agents[1:], others, strict=True) if own != first), None
        ):
            raise ModelError(
                f"team.adapters is shared, and agent_0 and {other} in {folder} have different numbers: they were "
                "trained apart; start from a warm start with team.adapters shared, or set it to per_agent"
            )


def _weights(folder: Path) -> dict[str, str]:
    """Digests of the weight files of a saved member, its value head aside."""
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}
