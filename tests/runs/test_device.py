"""--device: what is there is taken and named, what is not there is an error."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
from types import SimpleNamespace

import pytest
import torch
from support.runs import job, session, train
from support.toy import team_settings

from collm.common.errors import ConfigError, DeviceFailed, OutOfMemory
from collm.runs import device, out_of_memory
from collm.training import setup
from collm.training.rollout import Rollout
from collm.training.trainer import Trainer


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs CUDA finds; the current one is the first."""

    def found(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")

    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(
    ("name", "count", "line"),
    [
        ("auto", 0, "device cpu: no CUDA device found"),
        ("auto", 2, "device cuda:0: card cuda:0"),
        ("cpu", 2, "device cpu: as --device says"),
        ("cuda", 2, "device cuda:0: card cuda:0"),
        ("cuda:1", 2, "device cuda:1: card cuda:1"),
    ],
)
def test_the_device_and_its_line(gpus, name, count, line):
    gpus(count)
    assert device.in_words(device.choose(name), name) == line


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("gpu", 1, "'gpu' is not allowed; allowed are auto, cpu, cuda and cuda:N"),
        ("cuda", 0, "--device cuda: no CUDA device found .*use --device cpu"),
        ("cuda:0", 0, "--device cuda:0: no CUDA device found"),
        ("cuda:2", 2, "there is no cuda:2, and CUDA finds 2"),
    ],
)
def test_a_device_that_is_not_there_is_an_error(gpus, name, count, message):
    gpus(count)
    with pytest.raises(ConfigError, match=message):
        device.choose(name)


@pytest.mark.parametrize(
    ("built", "visible", "opened", "error"),
    [
        ("13.0", None, None, True),
        ("13.0", "0", OSError(errno.EIO, "it fell off the bus"), True),
        ("13.0", None, OSError(errno.EPERM, "the job asked for none"), False),
        ("13.0", "", None, False),
        (None, None, None, False),
    ],
)
def test_a_lost_driver_is_never_a_silent_fall_to_the_cpu(gpus, monkeypatch, built, visible, opened, error):
    gpus(0)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(device.Path, "glob", lambda self, pattern: [self / "nvidia0", self / "nvidiactl"])

    def open_card(path, flags):
        if opened:
            raise opened
        return os.dup(0)

    monkeypatch.setattr(device.os, "open", open_card)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if not error:
        assert device.choose("auto") == torch.device("cpu")
        return
    with pytest.raises(ConfigError, match="has /dev/nvidia0, and CUDA finds no device .* or use --device cpu"):
        device.choose("auto")
    assert device.choose("cpu") == torch.device("cpu")


def test_each_process_has_its_own(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.choose("auto") == device.choose("cuda") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="names one GPU for 3 processes; use --device cuda"):
        device.choose("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2 on this machine needs cuda:2, and CUDA finds 2"):
        device.choose("auto")


@pytest.mark.parametrize("stage", ["make_model", "warm_start", "train", "evaluate"])
def test_every_stage_that_loads_a_model_takes_a_device(stage, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(f"collm.stages.{stage}").main(["--help"])
    assert "auto (a GPU if there is one), cpu, cuda or cuda:N" in " ".join(capsys.readouterr().out.split())


# how products are made


@pytest.fixture
def as_before():
    """What a test switches on is off again afterwards."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32 = False


def test_by_default_nothing_is_switched_on(as_before, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for place in ("cpu", "cuda"):
        device.settle(False, False, torch.device(place))
        assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cuda.matmul.allow_tf32
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_switches_hold_for_the_run_that_asks_for_them(as_before, tmp_path, monkeypatch, gpus):
    gpus(1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda chosen: None)
    monkeypatch.setattr(setup, "Accelerator", lambda **options: SimpleNamespace(device=torch.device("cuda", 0)))
    asked = dataclasses.replace(job(), team=team_settings(tf32=True, deterministic=True))
    setup.accelerator(asked, tmp_path, "cuda")
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    setup.accelerator(job(), tmp_path, "cuda")
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cuda.matmul.allow_tf32


def test_a_run_of_deterministic_algorithms_alone_learns_the_same_on_a_cpu(as_before, models_folder, tmp_path):
    short = {"epochs": 1, "max_updates": 1}
    for name, switched in {"plain": False, "deterministic": True}.items():
        made = session(models_folder, tmp_path / name, training=short)
        device.settle(False, switched, torch.device("cpu"))
        Trainer(made, None).run()
    adapters = [path for path in (tmp_path / "plain").rglob("*.safetensors") if "adapters" in path.parts]
    assert adapters
    for path in adapters:
        other = tmp_path / "deterministic" / path.relative_to(tmp_path / "plain")
        assert path.read_bytes() == other.read_bytes()


# a device that fails on the way

CUDA = torch.device("cuda", 0)
KERNELS = "\nCUDA kernel errors might be asynchronously reported at some other API call"


@pytest.mark.parametrize("words", device.LOST)
def test_a_card_that_is_lost_on_the_way_is_said_with_what_to_do(words):
    with (
        pytest.raises(DeviceFailed, match="toy/collm_cc: cuda:0 answers no more while learning") as refused,
        out_of_memory.explained("learning", job(), {}, CUDA),
    ):
        raise RuntimeError(words + KERNELS)
    message = str(refused.value)
    assert words in message and "--device cpu" in message and "nvidia-smi" in message and "kernel errors" not in message


def test_a_card_that_is_lost_before_a_run_too(gpus, tmp_path, monkeypatch):
    def broken(chosen):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered" + KERNELS)

    gpus(1)
    monkeypatch.setattr(torch.cuda, "set_device", broken)
    with pytest.raises(ConfigError, match="cuda:0 answers no more .*uncorrectable ECC.* go on with --device cpu"):
        setup.accelerator(job(), tmp_path, "cuda")


@pytest.mark.parametrize(
    "words", ["CUDA error: an illegal memory access was encountered", "device assert", "lightning"]
)
def test_faults_of_a_program_keep_their_traceback(words):
    with pytest.raises(RuntimeError, match=words), out_of_memory.explained("learning", job(), {}, CUDA):
        raise RuntimeError(words)


def test_memory_that_cuda_itself_cannot_give_is_memory():
    with pytest.raises(OutOfMemory), out_of_memory.explained("learning", job(), {}, CUDA):
        raise RuntimeError("CUDA error: out of memory" + KERNELS)


def test_an_algorithm_that_is_not_deterministic_names_the_switch():
    error = RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use")
    with (
        pytest.raises(DeviceFailed, match="cumsum_cuda_kernel does not .* on cuda:0 while playing; set team.det"),
        out_of_memory.explained("playing", job(), {}, CUDA),
    ):
        raise error


def test_a_run_whose_card_is_lost_saves_nothing_of_it_and_goes_on(models_folder, tmp_path, monkeypatch):
    short = {"epochs": 1, "max_updates": 1}
    made = session(models_folder, tmp_path, training=short)
    trainer = Trainer(made, None)

    def lost(*arguments, **options):
        raise DeviceFailed("cuda:0 answers no more")

    with monkeypatch.context() as patched:
        patched.setattr(Rollout, "play", lost)
        patched.setattr(Trainer, "state", lambda self: pytest.fail("what is on the card was read"))
        with pytest.raises(DeviceFailed):
            trainer.run()
    del trainer, made
    train(models_folder, tmp_path, training=short)
    assert (tmp_path / "results" / "run.json").is_file()
