"""LoRA adapters of PEFT: which of those that stand on one base is active."""

from __future__ import annotations

from peft import PeftModel


def activate(model: PeftModel, adapter: str) -> None:
    """Make `adapter` the one that PEFT's own passes use and the only one whose numbers take gradients."""
    if model.active_adapter != adapter:
        model.set_adapter(adapter)
