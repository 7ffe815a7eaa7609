"""Checkpoints: whole or not at all, verified, tied to the settings."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from collm.common.errors import CheckpointError
from collm.runs.checkpoint import Checkpoints
from collm.runs.distributed import Processes
from collm.runs.journal import Journal

FINGERPRINT = {"config": {"training": {"minibatch_size": 4, "epochs": 1}}, "seed": 0}


def checkpoints(folder, keep=2, **changes):
    return Checkpoints(folder, {**FINGERPRINT, **changes}, keep)


def state(number):
    return {"number": number, "weights": torch.full((50,), float(number))}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_newest_comes_back(tmp_path):
    kept = checkpoints(tmp_path)
    assert kept.latest() is None
    for step in (2, 10, 9):
        kept.save(step, state(step))
    newest = checkpoints(tmp_path).latest()
    assert newest["number"] == 10
    assert torch.equal(newest["weights"], torch.full((50,), 10.0))


def test_only_the_last_are_kept(tmp_path):
    kept = checkpoints(tmp_path)
    for step in (1, 2, 3):
        kept.save(step, state(step))
    assert names(tmp_path) == ["step_00000002", "step_00000003"]


def test_same_step_again_takes_its_place(tmp_path):
    kept = checkpoints(tmp_path)
    kept.save(1, state(1))
    kept.save(1, state(5), finished=True)
    assert names(tmp_path) == ["step_00000001"]
    assert kept.latest()["number"] == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "no state", "no facts", "facts no JSON", "facts a list"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys, damage):
    kept = checkpoints(tmp_path)
    kept.save(1, state(1))
    newest = kept.save(2, state(2))
    data = (newest / "state.pt").read_bytes()
    if damage == "truncated":
        (newest / "state.pt").write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        (newest / "state.pt").write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    elif damage == "no state":
        (newest / "state.pt").unlink()
    elif damage == "no facts":
        (newest / "checkpoint.json").unlink()
    else:
        (newest / "checkpoint.json").write_text("[]" if damage == "facts a list" else "{")
    assert kept.latest()["number"] == 1
    message = capsys.readouterr().err
    assert "step_00000002 is damaged" in message and "using the one before it" in message


def test_all_damaged_starts_from_the_beginning_and_new_ones_are_kept(tmp_path, capsys):
    kept = checkpoints(tmp_path)
    for step in (7, 8):
        (kept.save(step, state(step)) / "state.pt").write_bytes(b"")
    assert kept.latest() is None
    assert "no checkpoint in" in capsys.readouterr().err
    kept.save(1, state(1))
    kept.save(2, state(2))
    assert checkpoints(tmp_path).latest()["number"] == 2


def test_leftovers_of_a_killed_process_go(tmp_path):
    kept = checkpoints(tmp_path)
    kept.save(1, state(1))
    (tmp_path / ".step_00000002.abcd").mkdir()
    (tmp_path / ".step_00000002.abcd" / "state.pt").write_bytes(b"half")
    assert kept.latest()["number"] == 1
    assert names(tmp_path) == ["step_00000001"]


def test_other_settings_are_refused_by_name(tmp_path):
    checkpoints(tmp_path).save(1, state(1))
    other = {"training": {"minibatch_size": 8, "epochs": 1, "update_epochs": 2}}
    with pytest.raises(CheckpointError) as refused:
        checkpoints(tmp_path, config=other).latest()
    message = str(refused.value)
    assert "config.training.minibatch_size was 4 and is now 8" in message
    assert "config.training.update_epochs was '(absent)' and is now 2" in message
    assert "training.epochs" not in message and "seed" not in message
    assert "remove the folder to start over" in message
    assert checkpoints(tmp_path).latest()["number"] == 1  # nothing was lost by asking


def test_a_finished_run_makes_room(tmp_path, capsys):
    folder = tmp_path / "seed0"
    checkpoints(folder).save(1, state(1), finished=True)
    assert checkpoints(folder, seed=1).latest() is None
    assert "settings changed since the finished run" in capsys.readouterr().err
    assert names(tmp_path) == ["seed0.before1"]
    checkpoints(folder, seed=1).save(2, state(2), finished=True)
    assert checkpoints(folder, seed=2).latest() is None
    assert names(tmp_path) == ["seed0.before1", "seed0.before2"]
    assert checkpoints(tmp_path / "seed0.before1").latest()["number"] == 1


def test_a_finished_run_with_the_same_settings_is_found(tmp_path):
    checkpoints(tmp_path).save(1, state(1), finished=True)
    assert checkpoints(tmp_path).latest()["number"] == 1


# other code

CODE = {"collm.methods.policy_gradient": "aa", "collm.training.learner": "bb"}
OTHER = {"collm.methods.policy_gradient": "cc", "collm.training.learner": "bb"}


def coded(folder, code, reuse=False, **changes):
    fingerprint = {**FINGERPRINT, **({"code": code} if code else {}), **changes}
    return Checkpoints(folder, fingerprint, 2, reuse=reuse, notes={"device": "cpu", "commit": "abc"})


def test_half_done_by_other_code_is_refused_by_module(tmp_path):
    coded(tmp_path, CODE).save(1, state(1))
    with pytest.raises(CheckpointError) as refused:
        coded(tmp_path, OTHER).latest()
    assert str(refused.value) == (
        f"{tmp_path} holds checkpoints of an unfinished run of other code: collm.methods.policy_gradient (begun at "
        "commit abc). Check that commit out to go on, remove the folder to start over, or add --reuse to go on with "
        "the code as it is now"
    )
    assert coded(tmp_path, CODE).latest()["number"] == 1  # nothing was lost by asking


def test_half_done_by_other_code_with_other_settings_names_both(tmp_path):
    coded(tmp_path, CODE).save(1, state(1))
    with pytest.raises(CheckpointError, match=r"seed was 0 and is now 1; the code changed, too: .*policy_gradient\. "):
        coded(tmp_path, OTHER, reuse=True, seed=1).latest()


def test_finished_by_other_code_makes_room(tmp_path, capsys):
    folder = tmp_path / "seed0"
    coded(folder, CODE).save(1, state(1), finished=True)
    assert coded(folder, OTHER).latest() is None
    message = capsys.readouterr().err
    assert f"the code changed since the finished run in {folder} (collm.methods.policy_gradient)" in message
    assert "it is trained anew" in message and "--reuse" in message
    assert names(tmp_path) == ["seed0.before1"]


@pytest.mark.parametrize(("finished", "word"), [(True, "exported"), (False, "continued")])
def test_reuse_takes_what_other_code_made(tmp_path, capsys, finished, word):
    coded(tmp_path, CODE).save(1, state(1), finished=finished)
    assert coded(tmp_path, OTHER, reuse=True).latest()["number"] == 1
    message = capsys.readouterr().err
    assert f"is of other code (collm.methods.policy_gradient); it is {word} all the same, as --reuse says" in message
    assert coded(tmp_path / "new", OTHER, reuse=True).latest() is None


def test_checkpoints_that_recorded_no_code_are_of_other_code(tmp_path):
    coded(tmp_path, None).save(1, state(1))
    with pytest.raises(CheckpointError, match="other code: which one was not recorded"):
        coded(tmp_path, CODE).latest()


# other devices


def as_if_written_on_a_gpu(monkeypatch, kept, step):
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        kept.save(step, state(step))


def test_a_checkpoint_of_a_gpu_loads_without_one(tmp_path, monkeypatch, capsys):
    as_if_written_on_a_gpu(monkeypatch, checkpoints(tmp_path), 3)
    newest = checkpoints(tmp_path).latest()
    assert newest["number"] == 3 and newest["weights"].device.type == "cpu"
    assert "damaged" not in capsys.readouterr().err


def test_other_processes_load_it_too(tmp_path, monkeypatch):
    as_if_written_on_a_gpu(monkeypatch, checkpoints(tmp_path), 3)
    monkeypatch.setattr(Processes, "from_main", lambda self, ask: tmp_path / "step_00000003")
    assert Checkpoints(tmp_path, FINGERPRINT, 2, Processes(1, 2)).latest()["number"] == 3


@pytest.mark.parametrize(("then", "now", "lines"), [("cuda:0", "cpu", 1), ("cpu", "cuda", 1), ("cuda:0", "cuda", 0)])
def test_another_kind_of_device_is_worth_a_line(tmp_path, capsys, then, now, lines):
    Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": then}).save(1, state(1))
    Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": now}).latest()
    message = capsys.readouterr().err
    assert message.count("\n") == lines
    assert not lines or f"was written on {then} and this attempt runs on {now}" in message


def test_what_a_gpu_began_goes_on_on_a_cpu_only_if_asked(tmp_path, capsys):
    Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": "cuda:0"}).save(1, state(1))
    automatic = Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": "cpu"}, device_named=False)
    with pytest.raises(CheckpointError, match=r"was written on cuda:0, and no CUDA device is found .*--device cpu"):
        automatic.latest()
    assert Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": "cpu"}).latest()["number"] == 1
    other = Checkpoints(tmp_path, FINGERPRINT, 2, notes={"device": "cuda:1"}, device_named=False)
    assert other.latest()["number"] == 1


def test_a_whole_checkpoint_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(step, state(step))

    def broken(*arguments, **options):
        raise RuntimeError("no such operator")

    monkeypatch.setattr("collm.runs.checkpoint.torch.load", broken)
    with pytest.raises(CheckpointError, match=r"step_00000002 is whole, but cannot be read here \(no such operator\)"):
        kept.latest()
    assert names(tmp_path) == ["step_00000001", "step_00000002"]


# a disk that takes no more


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_no_space_keeps_the_one_before(tmp_path, monkeypatch, call):
    kept = checkpoints(tmp_path)
    kept.save(1, state(1))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if call == "open":
            patched.setattr("collm.runs.checkpoint.torch.save", full)
        else:
            patched.setattr(os, call, full)
        with pytest.raises(CheckpointError) as refused:
            kept.save(2, state(2))
    assert "step_00000002 (no space left on the disk); the checkpoints before it are intact" in str(refused.value)
    assert names(tmp_path) == ["step_00000001"]
    assert kept.latest()["number"] == 1


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from collm.common import cli
from collm.runs.checkpoint import Checkpoints

def main(argv):
    kept = Checkpoints(Path(argv[0]), {"seed": 0}, 2)
    kept.save(1, {"weights": torch.zeros(1000)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(argv[1]),) * 2)
    kept.save(2, {"weights": torch.zeros(200_000)})
    return 0

sys.exit(cli.run(main, sys.argv[1:]))
"""


@pytest.mark.parametrize("limit", [0, 8_000, 300_000])
def test_a_write_that_the_system_refuses(tmp_path, limit):
    """A real failure: the operating system forbids files beyond a size."""
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path / "run", str(limit)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        f"error: cannot write checkpoint {tmp_path}/run/step_00000002 ([Errno 27] File too large); the checkpoints "
        "before it are intact: free some space and run the same command again"
    ]
    assert names(tmp_path / "run") == ["step_00000001"]
    newest = Checkpoints(tmp_path / "run", {"seed": 0}, 2).latest()
    assert torch.equal(newest["weights"], torch.zeros(1000))


def test_other_runtime_errors_are_ours(tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("something else")

    monkeypatch.setattr("collm.runs.checkpoint.torch.save", broken)
    with pytest.raises(RuntimeError, match="something else"):
        checkpoints(tmp_path).save(1, state(1))
    assert names(tmp_path) == []


# metrics beside them


def test_journal_forgets_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    journal = Journal(path)
    journal.write({"event": "one", "text": "é"})
    length = journal.length()
    assert length == len(path.read_bytes())
    journal.write({"event": "lost"})
    Journal(path, length).write({"event": "two"})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["one", "two"]


def test_journal_that_lost_its_file_says_so(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.write({"event": "one"})
    length = journal.length()
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"shorter than .* \(0 of {length} bytes\).*remove .* to start over"):
        Journal(path, length)


def test_journal_refuses_numbers_that_are_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path / "metrics.jsonl").write({"loss": float("nan")})


def test_removing_the_folder_starts_over(tmp_path):
    folder = tmp_path / "run"
    checkpoints(folder).save(1, state(1))
    shutil.rmtree(folder)
    assert checkpoints(folder, seed=5).latest() is None
