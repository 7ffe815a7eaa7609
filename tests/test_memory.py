"""Memory is estimated from configurations alone, told, and refused with the knobs to lower."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from toy import make_team, rollout_settings, team_settings, training_settings

from collm import memory
from collm.errors import ModelError


def job(**changes):
    made = SimpleNamespace(
        domain="toy", method="collm_cc", team=team_settings(), rollout=rollout_settings(), training=training_settings()
    )
    for key, value in changes.items():
        block, name = key.split("__")
        setattr(made, block, dataclasses.replace(getattr(made, block), **{name: value}))
    return made


@pytest.fixture
def folders(models_folder):
    return {name: models_folder / name for name in ("tiny", "other")}


def estimate(folders, critics="joint", **changes):
    made = job(**changes)
    used = {*made.team.agents, made.team.critic}
    return memory.estimate(made, {name: folders[name] for name in used}, critics)


def test_adapters_are_counted_exactly(models_folder, folders):
    team = make_team(models_folder, "joint")
    lora = sum(part.numel() for m in team.members for name, part in m.parameters() if "lora" in name)
    parts = estimate(folders)
    assert parts["adapters"] == 4 * lora
    assert parts["gradients and optimiser"] == 12 * lora
    assert parts["weights"] == 4 * sum(p.numel() for n, p in team.agents[0].model.named_parameters() if "lora" not in n)


def test_what_depends_on_what(folders):
    plain = estimate(folders)
    assert estimate(folders, None)["adapters"] == pytest.approx(plain["adapters"] * 2 / 3)
    assert estimate(folders, "local")["adapters"] == pytest.approx(plain["adapters"] * 4 / 3)
    assert estimate(folders, team__dtype="bfloat16")["weights"] == plain["weights"] / 2
    assert estimate(folders, team__dtype="bfloat16")["packed weights"] == plain["weights"] / 2
    assert plain["packed weights"] == estimate(folders, team__adapter="full")["packed weights"] == 0
    assert estimate(folders, team__adapter="full")["weights"] == 3 * plain["weights"]
    assert estimate(folders, rollout__max_rows=512)["cache"] == 2 * plain["cache"]
    half = estimate(folders, training__micro_batch_tokens=2048)
    assert half["activations"] == plain["activations"] / 2
    assert estimate(folders, team__agents=("tiny", "other"))["weights"] > plain["weights"]


def test_enough_memory_is_told(folders, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 8e9)
    memory.check(job(), {"tiny": folders["tiny"]}, "joint", torch.device("cpu"))
    said = capsys.readouterr().err
    assert said.startswith("memory: at most ") and "8000 MB free on cpu" in said and "weights" in said


def test_too_little_names_the_knobs(folders, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 400e6)
    with pytest.raises(ModelError) as refused:
        memory.check(job(), {"tiny": folders["tiny"]}, "joint", torch.device("cpu"))
    message = str(refused.value)
    assert message.startswith("toy/collm_cc needs up to 0.5 GB and 0.4 GB are free on cpu; lower")
    for knob in ("training.micro_batch_tokens", "rollout.max_rows", "team.dtype bfloat16", "team.adapter lora"):
        assert knob in message


def test_no_model_is_loaded(folders, monkeypatch):
    def loaded(*arguments, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", loaded)
    memory.check(job(), {"tiny": folders["tiny"]}, "joint", torch.device("cpu"))


def test_free_memory_of_this_machine():
    assert 1e8 < memory.available(torch.device("cpu")) < 1e14
