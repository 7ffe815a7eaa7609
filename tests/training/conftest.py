"""What several tests of training share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def float64(monkeypatch):
    """Models and the learner's own tensors in float64."""
    monkeypatch.setattr("collm.llm.team.DTYPES", {"float32": torch.float64})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
