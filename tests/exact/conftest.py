"""Float64 throughout, and one folder of tiny models per session."""

from __future__ import annotations

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm


def norm(self: LlamaRMSNorm, states: torch.Tensor) -> torch.Tensor:
    """Root mean square norm in the precision of its input; the library's own rounds to float32 on the way."""
    scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (states * scale)


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    """The learner's own tensors in float64 too, and no step of the model in less."""
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def letters(tmp_path_factory):
    """Folder that the tiny models are made in when first asked for."""
    return tmp_path_factory.mktemp("letters")
