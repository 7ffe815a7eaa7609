"""Bases in 4 bits: refused where they cannot be, and what transformers is asked for where they can, by stand-ins.

bitsandbytes is not needed here: nothing below is computed in 4 bits.
"""

from __future__ import annotations

import dataclasses
import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from support.runs import job
from support.toy import make_team, numbers, play, setting, team_settings, update

from collm.common.errors import ConfigError, ModelError
from collm.config import checks
from collm.llm import model_checks, quantization
from collm.llm.padded.passes import PaddedPasses
from collm.llm.quantization import check_quantization, loading_options
from collm.planning import memory
from collm.planning.model_shapes import PUBLISHED
from collm.runs import device as devices
from collm.training import setup

CUDA = torch.device("cuda", 0)


@pytest.fixture
def bitsandbytes(monkeypatch):
    """A stand-in for the package, of a version that transformers takes or not."""

    def of(version, taken=True):
        module = ModuleType("bitsandbytes")
        module.__spec__ = importlib.machinery.ModuleSpec("bitsandbytes", None)
        monkeypatch.setitem(sys.modules, "bitsandbytes", module)
        monkeypatch.setattr(quantization.importlib.metadata, "version", lambda name: version)
        monkeypatch.setattr(quantization, "is_bitsandbytes_available", lambda: taken)

    return of


# refusals


def test_without_quantization_nothing_is_asked():
    for place in (CUDA, torch.device("cpu")):
        check_quantization("none", place)
        assert loading_options("none", torch.bfloat16, place, None) == {}


def test_without_a_gpu(bitsandbytes):
    bitsandbytes("0.50.2")
    with pytest.raises(ConfigError, match="quantization is nf4, and this run is on cpu; .* --device cuda .* to none"):
        check_quantization("nf4", torch.device("cpu"))


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"bitsandbytes is not installed; .* pip install 'collm\[quantized\]', or set"
    ):
        check_quantization("nf4", CUDA)


def test_with_an_old_one(bitsandbytes):
    bitsandbytes("0.45.0", taken=False)
    with pytest.raises(ConfigError, match="needs bitsandbytes 0.46.1 or later, and 0.45.0 is here; .*pip install"):
        check_quantization("nf4", CUDA)
    bitsandbytes("0.46.1")
    check_quantization("nf4", CUDA)


def test_a_run_is_refused_before_its_device_is_taken(tmp_path, monkeypatch):
    made = dataclasses.replace(job(), team=team_settings(quantization="nf4"))
    monkeypatch.setattr(setup, "Accelerator", lambda **options: pytest.fail("too late"))
    monkeypatch.setattr(devices, "choose", lambda name: torch.device("cpu"))
    with pytest.raises(ConfigError, match="team.quantization is nf4"):
        setup.accelerator(made, tmp_path, "cpu")


@pytest.mark.parametrize(
    ("team", "rollout", "message"),
    [
        (
            {"adapter": "full"},
            {},
            "nf4 with team.adapter full; weights in 4 bits are not trained: use team.adapter lora",
        ),
        ({}, {"backend": "vllm"}, "nf4 with rollout.backend vllm.*use rollout.backend transformers"),
    ],
)
def test_what_does_not_go_with_it(team, rollout, message):
    made = dataclasses.replace(job(rollout=rollout), team=team_settings(quantization="nf4", **team))
    with pytest.raises(ConfigError, match=f"here: team.quantization is {message}"):
        checks._check_storage(made, "here")


# what transformers is asked for


@pytest.fixture
def asked(monkeypatch):
    """What from_pretrained is given; the model is loaded as it is and says that it is in 4 bits."""
    found = []
    real = model_checks.AutoModelForCausalLM.from_pretrained

    def from_pretrained(folder, **options):
        found.append(options)
        kept = {name: value for name, value in options.items() if name not in ("quantization_config", "device_map")}
        model, report = real(folder, **kept)
        model.is_loaded_in_4bit = True
        return model, report

    monkeypatch.setattr(model_checks, "AutoModelForCausalLM", SimpleNamespace(from_pretrained=from_pretrained))
    return found


def test_the_base_is_asked_for_in_4_bits_once_and_takes_the_general_passes(models_folder, asked, capsys):
    team = make_team(models_folder, "joint", quantization="nf4", dtype="bfloat16")
    assert len(asked) == 1 and asked[0]["device_map"] == {"": "cpu"} and asked[0]["dtype"] == torch.bfloat16
    config = asked[0]["quantization_config"].to_dict()
    assert config["load_in_4bit"] is True and config["bnb_4bit_quant_type"] == "nf4"
    assert config["bnb_4bit_use_double_quant"] is True and config["bnb_4bit_compute_dtype"] == "bfloat16"
    assert isinstance(team.agents[0].base.passes, PaddedPasses)
    assert "general passes of transformers, since its weights are in 4 bits" in capsys.readouterr().err


def test_plain_bases_are_asked_for_as_before(models_folder, asked):
    make_team(models_folder)
    assert set(asked[0]) == {"dtype", "output_loading_info", "ignore_mismatched_sizes"}


def test_adapters_on_it_are_trained_and_stay_in_float32(models_folder, tmp_path, asked):
    changes = {"quantization": "nf4", "dtype": "bfloat16"}
    team, learner = setting(models_folder, tmp_path, "collm_cc", team_changes=changes)
    before = numbers(team)
    update(learner, play(team, count=4))
    assert all(not torch.equal(after, before[name]) for name, after in numbers(team).items())
    assert {part.dtype for member in team.members for _, part in member.parameters()} == {torch.float32}


def test_a_spread_base_too():
    options = loading_options("nf4", torch.bfloat16, CUDA, "auto")
    assert options["device_map"] == "auto"
    assert loading_options("nf4", torch.bfloat16, CUDA, None)["device_map"] == {"": "cuda:0"}


def test_weights_that_do_not_load_are_said(models_folder, monkeypatch):
    def broken(folder, **options):
        raise ValueError("some modules are dispatched on the CPU")

    monkeypatch.setattr(model_checks, "AutoModelForCausalLM", SimpleNamespace(from_pretrained=broken))
    with pytest.raises(ModelError, match="cannot be loaded .*dispatched on the CPU"):
        make_team(models_folder, quantization="nf4")


# memory


def test_the_estimate_counts_linear_maps_in_4_bits():
    shape = PUBLISHED["Qwen/Qwen3-4B-Instruct-2507"]
    made, other = (
        dataclasses.replace(job(), team=team_settings(dtype="bfloat16", quantization=kind)) for kind in ("nf4", "none")
    )
    plain, packed = memory._stored(other, shape), memory._stored(made, shape)
    assert plain == 2 * shape.parameters
    embedding = 2 * shape.vocabulary * shape.hidden
    assert 0.515 * shape.linear < packed - embedding < 0.54 * shape.linear  # scales, norms, one map in bfloat16
    assert packed < plain / 2.5
    largest = memory.Batches(1000, 100, 500, 8, 8, 50, 50)
    parts = memory.bytes_by_part(made, {"tiny": shape}, "joint", largest, "cuda")
    assert parts["weights"] == packed and parts["packed weights"] == 0
    assert parts["activations"] > memory.bytes_by_part(other, {"tiny": shape}, "joint", largest, "cuda")["activations"]
