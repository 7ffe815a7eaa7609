"""LoRA adapters of PEFT: which of those that stand on one base is active, and where they stand."""

from __future__ import annotations

import re
from typing import Any

from peft import PeftModel
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import PreTrainedModel


def activate(model: PeftModel, adapter: str) -> None:
    """Make `adapter` the one that PEFT's own passes use and the only one whose numbers take gradients."""
    if model.active_adapter != adapter:
        model.set_adapter(adapter)


def adapted_modules(model: nn.Module) -> list[tuple[str, Any]]:
    """Paths and modules of `model` that PEFT has put something on, of whatever kind."""
    modules: list[tuple[str, nn.Module]] = list(model.named_modules())
    return [item for item in modules if isinstance(item[1], (BaseTunerLayer, AuxiliaryTrainingWrapper))]


def is_plain_lora(module: nn.Module) -> bool:
    """Whether the output of an adapted module is W x + s B A x for every adapter on it, W being any linear map."""
    if type(module) is not Linear or isinstance(module.base_layer, BaseTunerLayer):
        return False
    tuner: Any = module
    return not any([*tuner.use_dora.values(), *tuner.lora_bias.values(), *tuner.lora_variant.values()])


def outside_decoder(causal: PreTrainedModel) -> str | None:
    """Regular expression for paths of modules that no text passes, such as those of an encoder of images.

    None if there are none. Adapters there would never be trained.
    """
    names = {id(module): path for path, module in causal.named_modules()}
    inside = [re.escape(names[id(part)]) for part in (causal.get_decoder(), causal.get_output_embeddings())]
    expression = rf"(?!(?:{'|'.join(inside)})(?:\.|$)).*"
    linear = [path for path, module in causal.named_modules() if isinstance(module, nn.Linear)]
    return expression if any(re.fullmatch(expression, path) for path in linear) else None
