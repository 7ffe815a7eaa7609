"""Models made from scratch: the spread of their initial weights."""

import pytest
from safetensors.torch import load_file

from collm.llm import sources

SPEC = {"source": "scratch", "layers": 1, "hidden": 64, "heads": 2, "vocabulary": 300, "context": 64}
NONE = {"steps": 0, "batch_size": 1, "window": 16, "learning_rate": 1e-3}


@pytest.mark.parametrize(("more", "expected"), [({}, 0.02), ({"initial_deviation": 0.05}, 0.05)])
def test_initial_weights_have_the_deviation_asked_for(tmp_path, more, expected):
    spec = {**SPEC, **more, "pretrain": NONE}
    sources.make("tiny", spec, tmp_path / "tiny", ["a text with some words"], 0, tmp_path / "lock.json")
    matrices = {
        name: part for name, part in load_file(tmp_path / "tiny" / "model.safetensors").items() if part.dim() == 2
    }
    assert len(matrices) == 8
    for name, part in matrices.items():
        assert part.std().item() == pytest.approx(expected, rel=0.1), name
