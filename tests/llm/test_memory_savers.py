"""Every switch that saves memory leaves the update as it is, and says where it cannot work."""

from __future__ import annotations

import dataclasses
from unittest import mock

import accelerate
import pytest
import torch
from support.passes import padded, settings
from support.runs import outcome, session, stop_after, train
from support.toy import numbers, play, setting, update
from transformers.modeling_layers import GradientCheckpointingLayer

from collm.common.errors import ConfigError, Interrupted, ModelError
from collm.llm import memory_savers, model_checks
from collm.llm.memory_savers import OffloadedAdamW, load_causal, recomputing, spread
from collm.llm.packed.decoder import PackedDecoder
from collm.llm.padded.passes import PaddedPasses
from collm.runs.distributed import Processes
from collm.training.setup import RunSetup

SWITCHES = {"gradient_checkpointing": True, "offload_optimiser": True}
METHODS = [("collm_cc", 1), ("collm_dc", 1), ("magrpo", 2)]


def choose(team, general, recompute):
    """Padded passes where `general`, packed ones otherwise."""
    if general:
        padded(team, settings(team, recompute=recompute))
    else:
        for member in team.members:
            member.base.choose_passes(settings(team, recompute=recompute))


def updated(models_folder, folder, method, copies, general=False, recompute=False, prepare=None, **changes):
    """Trained numbers after the updates of one rollout over two turns."""
    team, learner = setting(models_folder, folder, method, turns=2, **changes)
    choose(team, general, recompute)
    if prepare:
        prepare(team)
    update(learner, play(team, count=3, turns=2, generations=copies))
    return numbers(team)


def check_close(actual, expected, **tolerance):
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, **(tolerance or {"rtol": 0.0, "atol": 0.0}))


@pytest.mark.parametrize(("method", "copies"), METHODS)
def test_layers_computed_again(models_folder, tmp_path, method, copies):
    runs = []
    real = PackedDecoder._layer
    with mock.patch.object(
        PackedDecoder, "_layer", lambda *given: runs.append(torch.is_grad_enabled()) or real(*given)
    ):
        expected = updated(models_folder, tmp_path, method, copies)
        plain = runs.count(True)
        check_close(updated(models_folder, tmp_path, method, copies, recompute=True), expected)
    # Once without and once with a graph, in place of once with one.
    assert runs.count(True) == 2 * plain > 0


@pytest.mark.parametrize(("method", "copies"), METHODS)
def test_layers_computed_again_by_transformers(models_folder, tmp_path, method, copies):
    expected = updated(models_folder, tmp_path, method, copies, general=True)
    real, seen = memory_savers.checkpoint, []
    with mock.patch.object(memory_savers, "checkpoint", lambda *given, **how: seen.append(1) or real(*given, **how)):
        again = updated(models_folder, tmp_path, method, copies, general=True, recompute=True)
    assert seen
    check_close(again, expected, rtol=1e-4, atol=2e-6)  # prompts of several responses are no longer shared


def test_decoding_after_recomputing_is_as_before(models_folder, tmp_path):
    team, _ = setting(models_folder, tmp_path, "magrpo")
    causal = team.agents[0].model.get_base_model()
    with recomputing(causal):
        assert all(m.training for m in causal.modules() if isinstance(m, GradientCheckpointingLayer))
    assert not any(module.training for module in causal.modules() if isinstance(module, GradientCheckpointingLayer))
    with pytest.raises(ModelError, match="gradient_checkpointing"), recomputing(torch.nn.Linear(1, 1)):
        pass


def test_less_is_kept(models_folder, tmp_path):
    """Bytes that the graph holds between forward and backward."""

    def held(general, recompute):
        team, _ = setting(models_folder, tmp_path, "magrpo")
        choose(team, general, recompute)
        kept = {}

        def pack(tensor):
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            team.logprobs(0, [(tuple(range(5, 60)), tuple(range(60, 80)))] * 2)
        return sum(kept.values())

    for general in (False, True):
        assert held(general, True) < 0.7 * held(general, False)


@pytest.mark.parametrize(("method", "copies"), METHODS)
def test_moments_in_main_memory(models_folder, tmp_path, method, copies):
    changes = {"weight_decay": 0.1, "update_epochs": 2}
    expected = updated(models_folder, tmp_path, method, copies, **changes)
    moved = []
    real = OffloadedAdamW._move
    with mock.patch.object(OffloadedAdamW, "_move", lambda *given: moved.append(given[2]) or real(*given)):
        check_close(updated(models_folder, tmp_path, method, copies, offload_optimiser=True, **changes), expected)
    assert moved and len(moved) % 2 == 0


def test_moments_visit_the_device_for_one_step(monkeypatch):
    """A device without numbers stands in for a GPU: what is sent where shows."""
    monkeypatch.setattr(memory_savers, "HOME", torch.device("meta"))
    parts = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    optimiser = OffloadedAdamW(parts, lr=0.1)
    parts[0].grad = torch.ones(2)
    optimiser.step()
    assert {key: value.device.type for key, value in optimiser.state[parts[0]].items()} == {
        "step": "cpu",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }
    assert parts[1] not in optimiser.state and len(optimiser.param_groups) == 1
    assert optimiser.param_groups[0]["params"] == parts


def test_switched_on_within_a_run(models_folder, tmp_path, monkeypatch):
    train(models_folder, tmp_path / "plain")
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path / "switched")
    train(models_folder, tmp_path / "switched", training=SWITCHES)
    assert outcome(tmp_path / "switched") == outcome(tmp_path / "plain")
    train(models_folder, tmp_path / "both", training=SWITCHES)
    assert outcome(tmp_path / "both") == outcome(tmp_path / "plain")


# one base over several devices


def test_no_gpu_to_spread_over(models_folder):
    with pytest.raises(ModelError, match=r"models\.tiny\.device_map is auto.*set it to null"):
        load_causal("tiny", models_folder / "tiny", torch.float32, torch.device("cpu"), "auto")


def test_a_base_that_no_gpus_hold(models_folder, monkeypatch):
    asked = {}

    def from_pretrained(folder, **options):
        asked.update(options)
        model = mock.Mock(hf_device_map={"model.embed_tokens": 0, "model.layers.0": 1, "lm_head": "cpu"})
        return model, {"missing_keys": [], "mismatched_keys": []}

    monkeypatch.setattr(model_checks.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(ModelError, match="does not fit the GPUs.*lm_head would stay outside"):
        load_causal("tiny", models_folder / "tiny", torch.bfloat16, torch.device("cuda"), "auto")
    assert asked["dtype"] == torch.bfloat16 and asked["device_map"] == "auto"


@pytest.mark.parametrize(("method", "copies"), METHODS)
def test_a_dispatched_base(models_folder, tmp_path, method, copies):
    """accelerate's hooks around every layer, as a spread base has them, and the passes that it takes then."""

    def dispatch(team):
        base = team.agents[0].base
        layers = {f"model.layers.{index}": "cpu" for index in range(2)}
        rest = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")
        places = {**layers, **dict.fromkeys(rest, "cpu")}
        plain = team.agents[0].model.get_base_model()
        for name in places:
            accelerate.hooks.add_hook_to_module(
                plain.get_submodule(name), accelerate.hooks.AlignDevicesHook("cpu", place_submodules=True)
            )
        base.model.hf_device_map = {**places, "lm_head": "another"}
        assert "several devices" in spread(base.model)
        base.choose_passes(settings(team))
        assert isinstance(base.passes, PaddedPasses)

    expected = updated(models_folder, tmp_path, method, copies, general=True)
    check_close(updated(models_folder, tmp_path, method, copies, prepare=dispatch), expected)


def test_one_process_for_a_spread_base(models_folder, tmp_path, monkeypatch):
    made = session(models_folder, tmp_path)
    models = {"tiny": {"source": "scratch", "device_map": "auto"}}
    made = dataclasses.replace(made, job=dataclasses.replace(made.job, models=models))
    with pytest.raises(ModelError, match="device_map"):
        made.team()
    monkeypatch.setattr(RunSetup, "processes", Processes(0, 2))
    with pytest.raises(ConfigError, match="one process"):
        made.team()
