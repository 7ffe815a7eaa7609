"""What stands before a run: trackers that are there and write where results are, and modes of what a run leaves."""

from __future__ import annotations

import dataclasses
import os
import stat
from types import SimpleNamespace

import pytest
import torch
from support.runs import job, session, train

from collm.common.errors import ConfigError
from collm.config import trackers
from collm.runs.folders import RunFolders
from collm.training import setup
from collm.training.trainer import Trainer


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_an_error_before_anything_else(tmp_path, monkeypatch, tracker):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup, "build_domain", lambda job: pytest.fail("too late"))
    folders = RunFolders(tmp_path, tmp_path, tmp_path / "out", tmp_path / "checkpoints")
    with pytest.raises(ConfigError, match=f"report.tracker is {tracker}.* pip install {tracker}, or set"):
        setup.prepare_run(dataclasses.replace(job(), tracker=tracker), 0, folders)


def test_tensorboard_writes_below_results(models_folder, tmp_path):
    pytest.importorskip("tensorboard")
    made = session(models_folder, tmp_path, training={"epochs": 1, "max_updates": 1})
    made.job = dataclasses.replace(made.job, tracker="tensorboard")
    made.accelerator = setup.accelerator(made.job, made.folders.trackers)
    Trainer(made, None).run()
    made.accelerator.end_training()
    assert list((tmp_path / "results" / "trackers").rglob("events.out.tfevents.*"))
    assert not list((tmp_path / "checkpoints").rglob("events*"))


def test_wandb_is_told_where_to_write(models_folder, tmp_path, monkeypatch):
    made = session(models_folder, tmp_path)
    made.job = dataclasses.replace(made.job, tracker="wandb")
    asked = []
    monkeypatch.setattr(made.accelerator, "init_trackers", lambda *names, **options: asked.append(options))
    made.start_tracker()
    folder = tmp_path / "results" / "trackers"
    assert folder.is_dir() and asked[0]["init_kwargs"] == {"wandb": {"dir": str(folder)}}


def test_a_gpu_that_is_not_there_is_an_error(models_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda: no CUDA device found"):
        setup.accelerator(job(), tmp_path, "cuda")


@pytest.mark.parametrize("rank", [0, 2])
def test_every_process_makes_its_own_card_the_current_one(tmp_path, monkeypatch, rank):
    """Accelerate, weights and free memory follow the current card; two processes on one card would share its memory."""
    taken = []
    for name, value in {"is_available": True, "device_count": 4, "current_device": 0}.items():
        monkeypatch.setattr(setup.torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(setup.torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(setup, "Accelerator", lambda **options: SimpleNamespace(device=taken[-1], **options))
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    made = setup.accelerator(job(), tmp_path, "cuda")
    assert taken == [torch.device("cuda", rank)] and made.device == taken[0] and made.cpu is False


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_what_a_run_leaves_follows_the_umask(models_folder, tmp_path, umask):
    before = os.umask(umask)
    try:
        train(models_folder, tmp_path, training={"epochs": 1, "max_updates": 1})
    finally:
        os.umask(before)
    wrong = {}
    for path in [*(tmp_path / "results").rglob("*"), *(tmp_path / "checkpoints").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o777 if path.is_dir() else 0o666) & ~umask:
            wrong[path.name] = oct(mode)
    assert wrong == {}


def test_a_changed_reward_function_changes_the_fingerprint_of_a_run(models_folder, tmp_path, monkeypatch):
    """A checkpoint of another fingerprint is refused, see test_resume."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_paid.py").write_text("def paid(turn):\n    return {'a': 1.0}\n")
    made = session(models_folder, tmp_path)
    plain = made.code("train")
    made.job = dataclasses.replace(made.job, options={**made.job.options, "reward": "my_paid:paid"})
    before = made.code("train")
    assert set(before) - set(plain) >= {"my_paid", "collm.domains.reward"}
    (tmp_path / "my_paid.py").write_text("def paid(turn):\n    return {'a': 2.0}\n")
    after = made.code("train")
    assert {name for name in after if after[name] != before[name]} == {"my_paid"}
