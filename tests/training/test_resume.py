"""Runs in one process on the toy domain: interrupted anywhere, they end with the same numbers."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.runs import outcome, session, stop_after, train
from support.toy import Toy, make_team

from collm.common import cli
from collm.common.errors import CheckpointError, ConfigError, Interrupted, NonFiniteLoss
from collm.methods import policy_gradient
from collm.pipeline import code_version
from collm.training.learner import Learner
from collm.training.sft import SupervisedFit
from collm.training.trainer import Counters, Trainer
from collm.training.warm_start import WarmStart


@pytest.fixture(scope="module", params=["paper", "released"])
def unbroken(request, models_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken")
    train(models_folder, root, semantics=request.param)
    return request.param, root, outcome(root)


def test_what_a_run_leaves(unbroken):
    semantics, root, (hashes, rows) = unbroken
    assert sorted(hashes) == [
        "agent_0/adapter_model.safetensors",
        "agent_1/adapter_model.safetensors",
        "critic/adapter_model.safetensors",
        "critic/value_head.pt",
    ]
    assert [(row["iteration"], row["env_step"]) for row in rows if row["event"] == "rollout"] == [
        (0, 6),
        (1, 12),
        (2, 16),
        (3, 22),
        (4, 28),
        (5, 32),
    ]
    assert [row["iteration"] for row in rows if row["event"] == "evaluation"] == [0, 2, 4, 6]
    updates = [row["update"] for row in rows if row["event"] == "update"]
    assert updates == list(range(1, len(updates) + 1))
    if semantics == "paper":
        assert [row["samples"] for row in rows if row["event"] == "update"] == [4] * 8
    else:  # 16 joint samples an epoch, per agent, in buffers of 4 that are split by turn
        samples = [row["samples"] for row in rows if row["event"] == "update"]
        assert sum(samples) == 2 * 32
    run = json.loads((root / "results" / "run.json").read_text())
    assert run["counts"]["env_step"] == run["counts"]["samples"] == 32
    assert run["counts"]["update"] == len(updates)
    assert run["counts"]["optimiser_steps"]["agent_0"] == sum(
        "policy_loss/agent_0" in row for row in rows if row["event"] == "update"
    )
    evaluation = next(row for row in rows if row["event"] == "evaluation")
    assert evaluation["episodes"] == 2
    assert evaluation["reward"] == pytest.approx(evaluation["metrics"]["score"])
    assert len(evaluation["examples"][0]["responses"]) == 2


def test_again_changes_nothing(unbroken, models_folder):
    semantics, root, before = unbroken
    train(models_folder, root, semantics=semantics)
    assert outcome(root) == before


@pytest.mark.parametrize("after", [1, 2, 5])
def test_stopped_by_a_signal_after_a_rollout(unbroken, models_folder, tmp_path, monkeypatch, after):
    semantics, _, expected = unbroken
    with monkeypatch.context() as patched:
        stop_after(patched, after)
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": 100})
    # between checkpoints, yet nothing is lost: it was saved on the way out
    assert len(list((tmp_path / "checkpoints").glob("step_*"))) == 1
    train(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": 100})
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize("every", [1, 2])
def test_killed_within_an_update(unbroken, models_folder, tmp_path, monkeypatch, every):
    """A crash in an update leaves a half-trained team in memory: it must not reach the disk."""
    semantics, _, expected = unbroken
    with monkeypatch.context() as patched:
        fail_in_step(patched, 7)
        with pytest.raises(RuntimeError, match="lightning"):
            train(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": every})
    train(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": every})
    assert outcome(tmp_path) == expected


def fail_in_step(patched, count):
    real, seen = Learner._optimise, []

    def optimise(self, member, batch):
        seen.append(1)
        if len(seen) == count:
            raise RuntimeError("lightning")
        return real(self, member, batch)

    patched.setattr(Learner, "_optimise", optimise)


def test_a_full_disk_keeps_the_run_resumable(unbroken, models_folder, tmp_path, monkeypatch):
    semantics, _, expected = unbroken
    real, seen = torch.save, []

    def save(value, target):
        seen.append(1)
        if len(seen) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(value, target)

    with monkeypatch.context() as patched:
        patched.setattr("collm.runs.checkpoint.torch.save", save)
        with pytest.raises(CheckpointError, match="no space left on the disk"):
            train(models_folder, tmp_path, semantics=semantics)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("step_*"))
    assert kept == ["step_00000001", "step_00000002"]
    train(models_folder, tmp_path, semantics=semantics)
    assert outcome(tmp_path) == expected


def test_a_corrupt_newest_checkpoint(unbroken, models_folder, tmp_path, monkeypatch, capsys):
    semantics, _, expected = unbroken
    with monkeypatch.context() as patched:
        stop_after(patched, 4)
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path, semantics=semantics)
    newest = sorted((tmp_path / "checkpoints").glob("step_*"))[-1] / "state.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    train(models_folder, tmp_path, semantics=semantics)
    assert "step_00000004 is damaged" in capsys.readouterr().err
    assert outcome(tmp_path) == expected


def test_other_settings_are_refused(models_folder, tmp_path, monkeypatch):
    stop_after(monkeypatch, 1)
    with pytest.raises(Interrupted):
        train(models_folder, tmp_path)
    with pytest.raises(CheckpointError, match="config.training.update_epochs was 1 and is now 2"):
        train(models_folder, tmp_path, training={"update_epochs": 2})


def shouting(module):
    """The code as it is, but with another digest of one module."""
    real = code_version.modules

    def modules(*arguments, **options):
        return {**real(*arguments, **options), module: "changed"}

    return modules


def test_a_run_of_other_code_is_trained_anew(unbroken, models_folder, tmp_path, monkeypatch, capsys):
    semantics, root, expected = unbroken
    shutil.copytree(root, tmp_path / "run")
    weights = tmp_path / "run" / "results" / "adapters" / "agent_0" / "adapter_model.safetensors"
    weights.write_bytes(b"old")
    monkeypatch.setattr(code_version, "modules", shouting("collm.methods.policy_gradient"))
    train(models_folder, tmp_path / "run", semantics=semantics)
    message = capsys.readouterr().err
    assert "the code changed since the finished run" in message and "(collm.methods.policy_gradient)" in message
    assert "0/6" not in message and "6/6" in message  # it was trained
    assert outcome(tmp_path / "run") == expected
    assert (tmp_path / "run" / "checkpoints.before1").is_dir()


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_run_on_another_base_is_trained_anew(models_folder, tmp_path, capsys, file):
    shutil.copytree(models_folder / "tiny", tmp_path / "models" / "tiny")
    train(tmp_path / "models", tmp_path, training={"epochs": 1})
    path = tmp_path / "models" / "tiny" / file
    if file == "model.safetensors":
        save_file({name: 1.5 * part for name, part in load_file(path).items()}, path, {"format": "pt"})
    else:
        path.write_text(path.read_text() + "\n")
    train(tmp_path / "models", tmp_path, training={"epochs": 1})
    assert f"settings changed since the finished run in {tmp_path}/checkpoints (inputs.model.tiny.{file})" in (
        capsys.readouterr().err
    )


def test_the_progress_line_counts_what_ends_the_run(models_folder, tmp_path, capsys):
    """Two or one updates a rollout and at most three: the run ends within its second rollout of six."""
    train(models_folder, tmp_path, training={"max_updates": 3})
    lines = [line.split()[3] for line in capsys.readouterr().err.splitlines() if line.startswith("toy/collm_cc seed 0")]
    assert lines[-1] == "2/2"


def test_the_expected_end_is_known_after_a_rollout(models_folder, tmp_path):
    made = session(models_folder, tmp_path, training={"epochs": 40, "update_epochs": 4, "max_updates": 160})
    trainer = Trainer(made, None)
    assert trainer.expected == trainer.total == 120
    trainer.counters = Counters(iteration=10, update=40)
    assert trainer.expected == 40  # a quarter is done
    trainer.counters = Counters(iteration=110, update=40)
    assert trainer.expected == trainer.total


# devices


def test_a_checkpoint_of_a_gpu_goes_on_without_one(unbroken, models_folder, tmp_path, monkeypatch, capsys):
    semantics, _, expected = unbroken
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path, semantics=semantics)
    lines = (tmp_path / "checkpoints" / "metrics.jsonl").read_text()
    trainer = Trainer(session(models_folder, tmp_path, semantics=semantics), None)
    assert (tmp_path / "checkpoints" / "metrics.jsonl").read_text() == lines  # nothing is cut off
    assert trainer.counters.iteration == 2
    trainer.run()
    assert "damaged" not in capsys.readouterr().err
    assert outcome(tmp_path) == expected


def test_a_value_head_of_a_gpu_loads_without_one(models_folder, tmp_path, monkeypatch):
    team = make_team(models_folder, "joint")
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        team.save(tmp_path)
    other = make_team(models_folder, "joint", seed=5)
    other.critics[0].load(tmp_path)
    assert torch.equal(other.critics[0].head.weight, team.critics[0].head.weight)


def test_baselines_are_not_trained(models_folder, tmp_path):
    with pytest.raises(
        ConfigError, match="method 'parallel' is not trained; methods that are: grpo, ac, magrpo, mareinforce"
    ):
        train(models_folder, tmp_path, method="parallel")


def test_max_updates_ends_a_run(models_folder, tmp_path):
    train(models_folder, tmp_path, training={"max_updates": 3})
    _, rows = outcome(tmp_path)
    assert [row["update"] for row in rows if row["event"] == "update"] == [1, 2, 3]
    assert rows[-1]["event"] == "evaluation" and rows[-1]["iteration"] == 2


def test_cut_prompts_are_counted_per_rollout(unbroken):
    _, _, (_, rows) = unbroken
    assert {row["cut_prompts"] for row in rows if row["event"] == "rollout"} == {0}
    for row in rows:
        if row["event"] == "update":
            assert row["cut_texts/critic"] == 0.0
        else:
            assert [row[f"cut_prompts/agent_{agent}"] for agent in (0, 1)] == [0.0, 0.0]
            assert all(0 <= row[f"cut_responses/agent_{agent}"] <= 1 for agent in (0, 1))
    assert any(row["cut_responses/agent_0"] > 0 for row in rows if row["event"] == "rollout")


def test_another_number_of_threads_is_said_and_recorded(models_folder, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(Interrupted):
            train(models_folder, tmp_path)
    monkeypatch.setattr("collm.runs.record.torch.get_num_threads", lambda: 7)
    train(models_folder, tmp_path)
    message = capsys.readouterr().err
    assert "this run was begun with 1 thread of torch and goes on with 7: sums may round differently" in message
    run = json.loads((tmp_path / "results" / "run.json").read_text())
    assert run["threads"] == 7 and run["threads_of_attempts"] == [1, 7]


def test_one_number_of_threads_is_not_worth_a_word(unbroken, capsys):
    _, root, _ = unbroken
    assert json.loads((root / "results" / "run.json").read_text())["threads_of_attempts"] == [1]
    assert "thread" not in capsys.readouterr().err


# warm-start


@pytest.fixture(scope="module")
def fitted(models_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("fitted")
    WarmStart(session(models_folder, root)).run()
    return root, outcome(root)


def test_warm_start_learns_and_reports(fitted):
    root, (hashes, rows) = fitted
    assert sorted(hashes) == ["agent_0/adapter_model.safetensors", "agent_1/adapter_model.safetensors"]
    steps = [row for row in rows if row["event"] == "warm_start"]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.2
    assert [row["event"] for row in rows].count("evaluation") == 2
    run = json.loads((root / "results" / "run.json").read_text())
    assert run["counts"] == {"examples": [8, 8], "steps": 6}
    assert run["reward"] == {"before": rows[0]["reward"], "after": rows[-1]["reward"]}


def test_warm_start_again_changes_nothing(fitted, models_folder):
    root, before = fitted
    WarmStart(session(models_folder, root)).run()
    assert outcome(root) == before


@pytest.mark.parametrize("within", ["check", "step"])
def test_warm_start_goes_on(fitted, models_folder, tmp_path, monkeypatch, within):
    _, expected = fitted
    with monkeypatch.context() as patched:
        if within == "check":
            break_check(patched)
        else:
            break_fit(patched)
        with pytest.raises(Interrupted):
            WarmStart(session(models_folder, tmp_path)).run()
    saved = list((tmp_path / "checkpoints").glob("step_*"))
    assert [path.name for path in saved] == (["step_00000003"] if within == "check" else [])
    WarmStart(session(models_folder, tmp_path)).run()
    assert outcome(tmp_path) == expected


def break_check(patched):
    """A signal within the third step, which is noticed before the fourth."""
    real, seen = SupervisedFit.step, []

    def step(self):
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    patched.setattr(SupervisedFit, "step", step)


def break_fit(patched):
    """A second signal, between the two agents' parts of the third step."""
    real, seen = SupervisedFit._backward, []

    def fit(self, agent, batch):
        seen.append(1)
        if len(seen) == 6:
            raise Interrupted(15)
        return real(self, agent, batch)

    patched.setattr(SupervisedFit, "_backward", fit)


def test_warm_start_from_its_own_best_answers(models_folder, tmp_path):
    made = session(models_folder, tmp_path, warm_start={"source": "best_of_n", "best_of": 4})
    WarmStart(made).run()
    run = json.loads((tmp_path / "results" / "run.json").read_text())
    assert run["counts"]["examples"][0] == run["counts"]["examples"][1] == 8


def test_train_starts_from_warm_started_adapters(fitted, models_folder, tmp_path):
    root, _ = fitted
    trainer = Trainer(session(models_folder, tmp_path), root / "results" / "adapters")
    fresh = Trainer(session(models_folder, tmp_path / "other"), None)
    for one, other in zip(trainer.team.agents, fresh.team.agents, strict=True):
        weights = [dict(member.parameters()) for member in (one, other)]
        assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(key.startswith("start.agent_0") for key in trainer.resumable.checkpoints.fingerprint)


def test_the_reference_of_a_resumed_run_is_its_start(fitted, models_folder, tmp_path, monkeypatch):
    """The frozen copy is no part of a checkpoint: it is made again from the adapters that training started from."""
    start, outcomes = fitted[0] / "results" / "adapters", []
    assert start.is_dir()
    for name in ("whole", "broken"):
        settings = {"training": {"kl_coefficient": 0.5, "agent_learning_rate": 1e-2, "checkpoint_every": 1}}
        if name == "broken":
            with monkeypatch.context() as patched:
                stop_after(patched, 3)
                with pytest.raises(Interrupted):
                    Trainer(session(models_folder, tmp_path / name, **settings), start).run()
        Trainer(session(models_folder, tmp_path / name, **settings), start).run()
        outcomes.append(outcome(tmp_path / name))
    assert outcomes[0] == outcomes[1]
    updates = [row for row in outcomes[0][1] if row["event"] == "update"]
    assert updates[0]["divergence/agent_0"] == pytest.approx(0.0, abs=1e-4)
    assert abs(updates[-1]["divergence/agent_0"]) > 1e-4


@pytest.mark.parametrize("reference", ["start", "base"])
def test_the_base_is_a_reference_if_asked_for(fitted, models_folder, tmp_path, reference):
    settings = {"training": {"kl_coefficient": 0.5, "kl_reference": reference, "max_updates": 1}}
    Trainer(session(models_folder, tmp_path, **settings), fitted[0] / "results" / "adapters").run()
    rows = [row for row in outcome(tmp_path)[1] if row["event"] == "update"]
    assert (abs(rows[0]["divergence/agent_0"]) < 1e-4) == (reference == "start")


def test_a_nan_stops_the_run_and_saves_nothing_half_done(models_folder, tmp_path, monkeypatch):
    real, seen = policy_gradient.policy_loss, []

    def policy_loss(*arguments):
        seen.append(1)
        return real(*arguments) * (float("nan") if len(seen) == 6 else 1.0)

    monkeypatch.setattr(policy_gradient, "policy_loss", policy_loss)
    with pytest.raises(NonFiniteLoss, match="policy loss of agent_1 is not finite"):
        train(models_folder, tmp_path)
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["metrics.jsonl", "nonfinite.json", "step_00000001"]
    rows = [json.loads(line) for line in (tmp_path / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["evaluation", "rollout", "update", "rollout", "update"]
    assert not (tmp_path / "results").exists()


class Broken(Toy):
    """The reward of one task is NaN in its second turn."""

    def step(self, task, turn, joint_action, world):
        step = super().step(task, turn, joint_action, world)
        if task.id != "toy-5" or turn != 1:
            return step
        return dataclasses.replace(step, reward=float("nan"), parts={**step.parts, "0": float("-inf")})


def test_a_nan_reward_names_task_and_keeps_texts_and_run(unbroken, models_folder, tmp_path, capsys):
    semantics, _, expected = unbroken

    def main(argv):
        made = session(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": 100})
        made.domain = Broken({})
        Trainer(made, None).run()
        return 0

    assert cli.run(main) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    path = tmp_path / "checkpoints" / "nonfinite.json"
    assert "task 'toy-5', turn 2: reward is nan, reward part '0' is -inf" in message and str(path) in message
    kept = json.loads(path.read_text())["samples"]
    assert [(row["task"], row["turn"], len(row["responses"])) for row in kept] == [("toy-5", 1, 2)]
    assert not (tmp_path / "results").exists()
    train(models_folder, tmp_path, semantics=semantics, training={"checkpoint_every": 100})  # the reward is mended
    assert outcome(tmp_path) == expected
