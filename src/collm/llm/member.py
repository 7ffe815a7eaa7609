"""What a team trains: agents, and critics with a value head, each an adapter on a base or a whole copy of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from collm.common.errors import ModelError
from collm.llm.adapters import activate
from collm.llm.padded.passes import PaddedPasses

if TYPE_CHECKING:
    from collm.llm.base_model import Base


class Member:
    """One trainable part of a team: an agent, or a critic with a value head.

    `model` is PEFT's model with the adapter called `adapter`, or with `adapter` None the whole copy of the base. Where
    several teams share a base, the adapter has another name than the member, which files and checkpoints never see.

    `learner` is the member whose numbers these are and that is optimised and checkpointed: itself, or the one that all
    agents share.
    """

    def __init__(self, name: str, base: Base, model: PeftModel | PreTrainedModel, adapter: str | None, with_head: bool):
        self.name, self.base, self.model, self.adapter = name, base, model, adapter
        self.learner = self
        self.head: nn.Linear | None = None
        if with_head:
            width = base.model.config.get_text_config().hidden_size
            self.head = nn.Linear(width, 1).to(base.device)
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def shared_by(self, agent: str) -> Member:
        """An agent of that name whose numbers are these: it answers, is scored and is saved by itself."""
        sharer = copy.copy(self)
        sharer.name, sharer.learner = agent, self
        return sharer

    def activate(self) -> nn.Module:
        """Make this member's adapter the active one; returns the causal model to run."""
        if isinstance(self.model, PeftModel) and self.adapter is not None:
            activate(self.model, self.adapter)
        return self.base.model

    def value(self, states: torch.Tensor) -> torch.Tensor:
        """[batch] values of final hidden states [batch, width], in the dtype of the value head.

        Raises:
            ModelError: the member has no value head.
        """
        if self.head is None:
            raise ModelError(f"{self.name} has no value head; ask a critic for values")
        return self.head(states.to(self.head.weight.dtype))[:, 0]

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that this member trains, in a fixed order."""
        if self.adapter is None:
            own = list(self.model.named_parameters())
        else:
            # The name may end a path, and files and checkpoints have the member's in its place.
            mine, named = f".{self.adapter}.", f".{self.name}."
            paths = ((f"{path}.", part) for path, part in self.model.named_parameters())
            own = [(path.replace(mine, named)[:-1], part) for path, part in paths if mine in path]
        head = [(f"value_head.{name}", part) for name, part in self.head.named_parameters()] if self.head else []
        return own + head

    def check_trained(self, speaks: bool) -> None:
        """Every part of the adapter must be among `parameters`, and be reached by what it is trained by.

        Packed passes serve no other adapters than such; with padded ones a text of a few tokens shows it.

        Args:
            speaks: whether it is an agent, so that log-probabilities train it; a value head trains it in any case.
        Raises:
            ModelError: names the parts that would never be trained.
        """
        if self.adapter is None:
            return
        self.activate()
        own = self.parameters()
        known = {id(part) for _, part in own}
        idle = [name for name, part in self.model.named_parameters() if part.requires_grad and id(part) not in known]
        if not idle and isinstance(self.base.passes, PaddedPasses):
            self._backward_of_a_text(speaks)
            idle = [name for name, part in own if part.grad is None]
            for _, part in own:
                part.grad = None
        if idle:
            more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
            raise ModelError(
                f"{self.name}: parts of its adapter would never be trained: {', '.join(idle[:3])}{more}; name only "
                f"modules in team.lora.targets that {'an agent' if speaks else 'a critic'} uses"
            )

    @torch.enable_grad()
    def _backward_of_a_text(self, speaks: bool) -> None:
        text = tuple(range(3, 11))
        loss = torch.zeros((), device=self.base.device)
        if speaks:
            loss = loss + self.base.passes.logprobs(self.adapter, [(text[:4], text[4:])])[0].sum()
        if self.head is not None:
            loss = loss + self.value(self.base.passes.last_states(self.adapter, [text])).sum()
        loss.backward()

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format (or the whole model), and the value head, below `folder`/name."""
        if self.adapter is None:
            self.model.save_pretrained(str(folder / self.name))
        else:
            settings: Any = self.model.peft_config[self.adapter]
            if not isinstance(settings.target_modules, str):  # PEFT keeps a set: another order in every process
                settings.target_modules = sorted(settings.target_modules)
            self.model.save_pretrained(str(folder), selected_adapters=[self.adapter])
            if self.adapter != self.name:
                (folder / self.adapter).rename(folder / self.name)
        if self.head is not None:
            state = self.head.state_dict()
            for name, part in state.items():
                state[name] = part.cpu()  # any machine can read it
            torch.save(state, folder / self.name / "value_head.pt")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. A value head that was not saved stays as it is: warm starts have none.

        Raises:
            ModelError: nothing of this member is in `folder`.
        """
        own = folder / self.name
        if not own.is_dir():
            raise ModelError(f"no adapter of {self.name} in {folder}; run warm_start or train first")
        if self.adapter is None:
            source = AutoModelForCausalLM.from_pretrained(own, dtype=self.model.dtype)
            self.model.load_state_dict(source.state_dict())
        else:
            weights = load_peft_weights(str(own), device="cpu")
            set_peft_model_state_dict(self.model, weights, adapter_name=self.adapter)
        if self.head is not None and (own / "value_head.pt").is_file():
            self.head.load_state_dict(torch.load(own / "value_head.pt", map_location="cpu", weights_only=True))
