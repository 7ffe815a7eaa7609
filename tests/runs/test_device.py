"""--device: what is there is taken and named, what is not there is an error."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from collm.common.errors import ConfigError
from collm.runs import device


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
