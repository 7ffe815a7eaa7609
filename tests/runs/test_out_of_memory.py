"""Memory that runs out in the middle of a run: named, with what to set, and nothing of what was saved is lost."""

from __future__ import annotations

import pytest
import torch
from support.runs import job, session, train

from collm.common.errors import OutOfMemory
from collm.runs import out_of_memory
from collm.training.learner import Learner
from collm.training.rollout import Rollout
from collm.training.trainer import Trainer

OF_CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.10 GiB is"
PARTS = {"weights": 3e9, "activations": 9e9, "logits": 1e9, "cache": 5e9, "drawing": 1e9}


def raised(phase, error, parts=PARTS, device="cuda:0", **changes):
    with (
        pytest.raises(OutOfMemory) as refused,
        out_of_memory.explained(phase, job(**changes), parts, torch.device(device)),
    ):
        raise error
    return str(refused.value)


def test_learning_names_its_knobs_and_the_largest_part():
    message = raised("learning", torch.OutOfMemoryError(OF_CUDA))
    assert message.startswith("toy/collm_cc: out of memory on cuda:0 while learning (tried to allocate 2.50 GiB)")
    assert "the largest part is activations, about 9.0 GB" in message
    for knob in ("micro_batch_tokens (", "gradient_checkpointing to true", "offload_optimiser to true"):
        assert f"training.{knob}" in message
    assert "max_rows" not in message and "run the same command again" in message


def test_what_is_set_already_is_not_advised():
    set_already = {"gradient_checkpointing": True, "offload_optimiser": True}
    message = raised("learning", torch.OutOfMemoryError(OF_CUDA), training=set_already)
    assert "gradient_checkpointing" not in message and "offload_optimiser" not in message


def test_playing_and_loading():
    message = raised("playing", torch.OutOfMemoryError(OF_CUDA))
    assert "rollout.max_rows (" in message and "cache, about 5.0 GB" in message and "training." not in message
    message = raised("loading", torch.OutOfMemoryError(OF_CUDA), parts={})
    assert "while loading" in message and "largest part" not in message


def test_main_memory_too():
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to")
    assert "out of memory on cpu" in raised("learning", error, device="cpu")


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="lightning"),
        out_of_memory.explained("playing", job(), {}, torch.device("cpu")),
    ):
        raise RuntimeError("lightning")


@pytest.mark.parametrize(("kind", "method", "phase"), [(Rollout, "play", "playing"), (Learner, "update", "learning")])
def test_a_run_says_so_and_goes_on_with_smaller_batches(models_folder, tmp_path, monkeypatch, kind, method, phase):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError(OF_CUDA)

    short = {"epochs": 1, "max_updates": 1}
    made = session(models_folder, tmp_path, training=short)
    with monkeypatch.context() as patched:
        trainer = Trainer(made, None)
        patched.setattr(kind, method, full)
        with pytest.raises(OutOfMemory, match=f"while {phase}"):
            trainer.run()
    del trainer, made
    train(models_folder, tmp_path, training={**short, "micro_batch_tokens": 64})
    assert (tmp_path / "results" / "run.json").is_file()
