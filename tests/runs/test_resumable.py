"""A resumable run of counting: what is kept on the way out, what is not, and where the next attempt begins."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch

from collm.common.errors import CheckpointError, Interrupted
from collm.runs.checkpoint import Checkpoints
from collm.runs.distributed import Processes
from collm.runs.folders import RunFolders
from collm.runs.record import RunRecord
from collm.runs.resumable import ResumableRun

JOB = SimpleNamespace(domain="toy", method="count", raw={}, team=SimpleNamespace(precision="fp32"))


class Count:
    """Work that counts to five; `disturb` is called within a change, after the count and before its line is written."""

    def __init__(self, disturb=lambda position: None):
        self.position, self.disturb = 0, disturb

    def state(self):
        return {"position": self.position}

    def restore(self, state):
        self.position = state["position"]


def attempt(root, work, processes=None, every=100, code="1", reuse=False, **fingerprint):
    """One attempt at the run; the number that it began with."""
    folders = RunFolders(root, root, root / "out", root / "checkpoints")
    record = RunRecord("count", JOB, 0, torch.device("cpu"), {"collm.count": code})
    fingerprint = {"to": 5, "code": {"collm.count": code}, **fingerprint}
    run = ResumableRun(record, folders, fingerprint, 2, processes or Processes(), reuse)
    run.begin(work)
    begun = work.position
    with run.stopping() as stopping:
        while work.position < 5:
            stopping.check()
            with run.changing():
                work.position += 1
                work.disturb(work.position)
                run.log({"position": work.position})
            if work.position % every == 0:
                run.save()
    run.save(finished=True)
    run.write_outputs(lambda folder: (folder / "adapter").write_text(str(work.position)), counts={"n": work.position})
    return begun


def kept(root):
    return sorted(path.name for path in (root / "checkpoints").glob("step_*"))


def at(place, action):
    def disturb(position):
        if position == place:
            action()

    return disturb


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


def fail():
    raise RuntimeError("lightning")


def check_finished(root):
    rows = [json.loads(line) for line in (root / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["position"] for row in rows] == [1, 2, 3, 4, 5]
    assert (root / "out" / "adapters" / "adapter").read_text() == "5"
    assert json.loads((root / "out" / "run.json").read_text())["counts"] == {"n": 5}


def test_an_unbroken_run(tmp_path):
    assert attempt(tmp_path, Count()) == 0
    check_finished(tmp_path)
    assert kept(tmp_path) == ["step_00000005"]


def test_a_signal_keeps_the_newest_whole_state(tmp_path):
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(3, stop)))
    assert kept(tmp_path) == ["step_00000003"]
    assert attempt(tmp_path, Count()) == 3
    check_finished(tmp_path)


@pytest.mark.parametrize(("every", "checkpoints"), [(100, []), (2, ["step_00000002"])])
def test_a_half_done_change_is_not_kept(tmp_path, every, checkpoints):
    with pytest.raises(RuntimeError, match="lightning"):
        attempt(tmp_path, Count(at(4, fail)), every=every)
    assert kept(tmp_path) == checkpoints
    assert attempt(tmp_path, Count()) == (2 if checkpoints else 0)
    check_finished(tmp_path)


def test_what_is_kept_already_is_not_written_again(tmp_path, monkeypatch):
    real, steps = Checkpoints.save, []
    monkeypatch.setattr(Checkpoints, "save", lambda self, *given: steps.append(given[0]) or real(self, *given))
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(2, stop)), every=2)
    assert steps == [2]


def test_lines_that_a_lost_attempt_wrote_are_cut_off(tmp_path):
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(2, stop)))
    with pytest.raises(RuntimeError):
        attempt(tmp_path, Count(at(5, fail)))
    assert len((tmp_path / "checkpoints" / "metrics.jsonl").read_text().splitlines()) == 4
    assert attempt(tmp_path, Count()) == 2
    check_finished(tmp_path)


def test_another_fingerprint_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(2, stop)))
    with pytest.raises(CheckpointError, match="to was 5 and is now 6"):
        attempt(tmp_path, Count(), to=6)


def versions(root):
    """Digests of the code in run.json: of this attempt, and of all attempts."""
    run = json.loads((root / "out" / "run.json").read_text())
    assert run["code"]["modules"] == {"collm.count": "2"}
    assert all("commit" in version for version in run["code_of_attempts"])
    return run["code"]["digest"], [version["digest"] for version in run["code_of_attempts"]]


def test_a_finished_run_of_other_code_is_not_exported_again(tmp_path, capsys):
    attempt(tmp_path, Count())
    assert attempt(tmp_path, Count(), code="2") == 0
    assert "the code changed since the finished run" in capsys.readouterr().err
    now, all_attempts = versions(tmp_path)
    assert all_attempts == [now]
    assert (tmp_path / "checkpoints.before1" / "step_00000005").is_dir()


def test_reuse_exports_it_and_records_both_versions(tmp_path):
    attempt(tmp_path, Count())
    assert attempt(tmp_path, Count(), code="2", reuse=True) == 5
    now, all_attempts = versions(tmp_path)
    assert len(all_attempts) == 2 and all_attempts[1] == now != all_attempts[0]
    check_finished(tmp_path)


def test_reuse_goes_on_under_other_code(tmp_path):
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(2, stop)))
    with pytest.raises(CheckpointError, match=r"an unfinished run of other code: collm\.count "):
        attempt(tmp_path, Count(), code="2")
    assert attempt(tmp_path, Count(), code="2", reuse=True) == 2
    assert len(versions(tmp_path)[1]) == 2


def test_a_second_trainer_is_refused_and_changes_nothing(tmp_path):
    def second():
        before = (tmp_path / "checkpoints" / "metrics.jsonl").read_text()
        with pytest.raises(CheckpointError, match=f"is being written by process {os.getpid()} "):
            attempt(tmp_path, Count())
        assert (tmp_path / "checkpoints" / "metrics.jsonl").read_text() == before

    attempt(tmp_path, Count(at(3, second)))
    check_finished(tmp_path)
    attempt(tmp_path, Count())  # the lock was given back
    assert not list(tmp_path.glob(".*.lock"))


def test_a_trainer_that_was_taken_over_saves_nothing(tmp_path):
    def taken_over():
        (tmp_path / ".checkpoints.lock").unlink()

    with pytest.raises(CheckpointError, match="taken over by another process"):
        attempt(tmp_path, Count(at(2, taken_over)), every=3)
    assert kept(tmp_path) == []


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "from_main", lambda self, ask: None)
    monkeypatch.setattr(Processes, "largest", lambda self, number: number)
    monkeypatch.setattr(Processes, "main", False)
    with pytest.raises(Interrupted):
        attempt(tmp_path, Count(at(2, stop)), Processes(1, 2))
    assert attempt(tmp_path, Count(), Processes(1, 2)) == 0
    assert list(tmp_path.iterdir()) == []
