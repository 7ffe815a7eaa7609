"""Sizes that are "auto": measured by trials that double, kept for the run, and no change of what it learns."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from support.runs import job, outcome, session, stop_after, train
from support.toy import make_team

from collm.common.errors import ConfigError, Interrupted, OutOfMemory
from collm.config import checks
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.config.setting import AUTO
from collm.runs import fitting, out_of_memory
from collm.runs.fitting import Search, largest
from collm.runs.trial_batches import Texts, TrialBatches
from collm.training.trainer import Trainer

KEYS = {"rollout": "max_rows", "training": "micro_batch_tokens"}
SHORT = {"epochs": 1, "max_updates": 2}


class Card:
    """Memory of `total` bytes, of which a trial takes `each` per row or token; more than there is raises."""

    def __init__(self, total, each=1):
        self.total, self.each, self.tried = total, each, []

    def free(self):
        return self.total

    def taken_by(self, work):
        work()
        return self.each * self.tried[-1]

    def trial(self, size):
        self.tried.append(size)
        if self.each * size > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def found(card, least=1, first=8, most=4096, reserved=0.0):
    return largest(Search(card.trial, least, first, most), card, reserved)


@pytest.mark.parametrize(
    ("total", "most", "size", "tried"),
    [
        (100, 4096, 64, [8, 16, 32, 64, 128]),  # 128 raises
        (140, 4096, 64, [8, 16, 32, 64, 128]),  # 128 is there, and more than its share of 140
        (160, 4096, 128, [8, 16, 32, 64, 128, 256]),
        (10_000, 100, 100, [8, 16, 32, 64, 100]),  # a run never has more
        (10_000, 5, 5, [5]),
        (5, 4096, 4, [8, 4]),
        (1.3, 4096, 1, [8, 4, 2, 1]),
        (1.2, 4096, None, [8, 4, 2, 1]),
    ],
)
def test_sizes_double_until_they_do_not_fit(total, most, size, tried):
    card = Card(total)
    assert found(card, most=most) == size
    assert card.tried == tried


def test_what_the_run_will_need_for_something_else_is_left_free():
    assert found(Card(160)) == 128
    assert found(Card(160), reserved=60) == 64
    assert found(Card(160), reserved=200) is None


def test_other_errors_of_a_trial_are_not_taken_for_a_full_card():
    def broken(size):
        raise RuntimeError("lightning")

    with pytest.raises(RuntimeError, match="lightning"):
        largest(Search(broken, 1, 8, 64), Card(100))


# a run


def automatic(made):
    raw = {**made.job.raw, **{block: {**made.job.raw[block], key: AUTO} for block, key in KEYS.items()}}
    made.job = dataclasses.replace(made.job, raw=raw)
    return made


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for a GPU's memory: trials run for real on the CPU, and beyond a limit there is none."""

    def of(rows, tokens):
        card, limits = Card(1e12, 0), {"decode": rows, "learn": tokens}
        for name, limit in limits.items():
            monkeypatch.setattr(TrialBatches, name, _limited(card, real[name], limit))
        monkeypatch.setattr(fitting, "memory_of", lambda device: card)
        return card

    real = {name: getattr(TrialBatches, name) for name in ("decode", "learn")}
    return of


def _limited(card, real, limit):
    def trial(self, size):
        card.trial(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(self, size)

    return trial


def sizes_of(root):
    return json.loads((root / "results" / "run.json").read_text())["auto"]


def test_a_run_takes_what_fits_says_so_and_learns_the_same(models_folder, tmp_path, gpu, capsys):
    gpu(rows=5, tokens=500)
    made = automatic(session(models_folder, tmp_path / "auto", training=SHORT))
    Trainer(made, None).run()
    sizes = sizes_of(tmp_path / "auto")
    assert sizes == {"rollout.max_rows": 3, "training.micro_batch_tokens": 456}  # 228 is the longest text
    assert (made.job.rollout.max_rows, made.job.training.micro_batch_tokens) == tuple(sizes.values())
    assert f"auto: rollout.max_rows {sizes['rollout.max_rows']}, training" in capsys.readouterr().err
    numbers = {"max_rows": sizes["rollout.max_rows"]}, {"micro_batch_tokens": sizes["training.micro_batch_tokens"]}
    train(models_folder, tmp_path / "given", rollout=numbers[0], training={**SHORT, **numbers[1]})
    assert outcome(tmp_path / "auto") == outcome(tmp_path / "given")
    assert "auto" not in json.loads((tmp_path / "given" / "results" / "run.json").read_text())


def test_a_run_that_goes_on_keeps_its_sizes(models_folder, tmp_path, gpu, monkeypatch, capsys):
    plan = {"epochs": 2, "max_updates": 3, "minibatch_size": 2}
    gpu(rows=4, tokens=300)
    made = automatic(session(models_folder, tmp_path, training=plan))
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(Interrupted):
            Trainer(made, None).run()
    sizes = made.sizes
    card = gpu(rows=4000, tokens=4000)
    Trainer(automatic(session(models_folder, tmp_path, training=plan)), None).run()
    assert card.tried == [] and sizes_of(tmp_path) == sizes
    assert "measured again" not in capsys.readouterr().err


@pytest.mark.parametrize("change", ["another card", "damaged"])
def test_what_was_kept_for_another_card_or_is_damaged_is_measured_again(
    models_folder, tmp_path, gpu, change, monkeypatch, capsys
):
    file = tmp_path / "checkpoints" / fitting.FILE
    gpu(rows=4, tokens=300)
    automatic(session(models_folder, tmp_path, training=SHORT)).team("joint")
    before = json.loads(file.read_text())["sizes"]
    card = gpu(rows=40, tokens=4000)
    if change == "damaged":
        file.write_text('{"sizes": {}}')
    else:
        monkeypatch.setattr(fitting, "conditions", lambda *about: {"card": "another"})
    made = automatic(session(models_folder, tmp_path, training=SHORT))
    made.team("joint")
    assert card.tried and made.sizes != before and json.loads(file.read_text())["sizes"] == made.sizes
    assert "measured again" in capsys.readouterr().err


def test_a_card_that_holds_nothing_is_said_with_what_to_set(models_folder, tmp_path, gpu):
    gpu(rows=64, tokens=10)
    with pytest.raises(OutOfMemory, match="micro_batch_tokens is auto, and on this device not even 16 fits .*bfloat16"):
        automatic(session(models_folder, tmp_path)).team("joint")


def test_on_a_cpu_the_numbers_of_before(models_folder, tmp_path):
    config = load_config(["config/config.yaml"])
    given = resolve_job(config, "tldr", "collm_cc")
    layer = {block: {**config["defaults"][block], key: AUTO} for block, key in KEYS.items()}
    left = resolve_job({**config, "defaults": {**config["defaults"], **layer}}, "tldr", "collm_cc")
    assert (left.rollout, left.training) == (given.rollout, given.training)
    made = automatic(session(models_folder, tmp_path))
    made.team("joint")
    assert made.sizes == {"rollout.max_rows": 256, "training.micro_batch_tokens": 4096}  # of the test's job
    assert not (tmp_path / "checkpoints" / fitting.FILE).exists()


def test_an_evaluation_measures_rows_alone_and_keeps_nothing(models_folder, tmp_path, gpu):
    card = gpu(rows=3, tokens=0)
    made = automatic(session(models_folder, tmp_path))
    made.team(trained=False)
    assert made.sizes["rollout.max_rows"] == 2 and made.job.rollout.max_rows == 2
    assert card.tried == [4, 2] and not (tmp_path / "checkpoints" / fitting.FILE).exists()


@pytest.mark.parametrize(
    ("block", "changes", "message"),
    [
        ("training", {"together": "seeds"}, "rollout.max_rows and training.micro_batch_tokens auto: .*give numbers"),
        ("rollout", {"backend": "vllm"}, "rollout.max_rows is auto with rollout.backend vllm"),
    ],
)
def test_where_nothing_can_be_measured_it_is_refused(models_folder, tmp_path, block, changes, message):
    made = automatic(session(models_folder, tmp_path, **{block: changes})).job
    with pytest.raises(ConfigError, match=message):
        checks._check_together(made, "here")
        checks._check_backend(made, "here")


def test_memory_that_runs_out_all_the_same_names_what_auto_found(models_folder, tmp_path):
    made = automatic(session(models_folder, tmp_path)).job
    with (
        pytest.raises(OutOfMemory, match="set rollout.max_rows to less than the 256 that auto found"),
        out_of_memory.explained("playing", made, {}, torch.device("cuda")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_memory_of_a_gpu_is_what_torch_reserves(monkeypatch):
    reserved = {"now": 100, "most": 100}

    def work():
        reserved["most"] = 170

    stand_ins = {
        "mem_get_info": lambda device: (900, 1000),
        "memory_reserved": lambda device: reserved["now"],
        "max_memory_reserved": lambda device: reserved["most"],
        "get_device_properties": lambda device: SimpleNamespace(name="a card", total_memory=1000),
    }
    for name in ("empty_cache", "reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda *device: None)
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    memory = fitting.memory_of(torch.device("cuda", 0))
    assert memory.free() == 900 and memory.taken_by(work) == 70
    assert fitting.conditions(job(), torch.device("cuda", 0), 1)["card"] == ["a card", 1000]
    assert fitting.memory_of(torch.device("cpu")) is None


# trials


@pytest.mark.parametrize(
    ("critics", "changes"),
    [("joint", {}), ("local", {"adapter": "full"}), ("shared", {}), (None, {"adapters": "shared"})],
)
def test_trials_are_as_large_as_asked_and_leave_nothing(models_folder, monkeypatch, critics, changes):
    team = make_team(models_folder, critics, **changes)
    trials = TrialBatches(team, job(), Texts(prompt=20, response=6, copies=2, read=50 if critics else 0, samples=8))
    kinds = list({member.base: member for member in (*team.agents, *team.critics)}.values())
    rows, tokens = [], []
    for passes in {id(member.base.passes): member.base.passes for member in kinds}.values():
        monkeypatch.setattr(passes, "decode", _seen(passes.decode, rows))
        monkeypatch.setattr(passes, "logprobs", _pairs_seen(passes.logprobs, tokens))
    before = {name: part.detach().clone() for member in team.members for name, part in member.parameters()}
    trials.decode(6)
    trials.learn(64)
    assert rows and max(map(len, rows)) == 6 and {len(item.tokens) for batch in rows for item in batch} == {6}
    assert tokens and 32 <= max(tokens) <= 64  # 2 prompts with 2 responses each
    for member in team.members:
        assert all(part.grad is None for _, part in member.parameters())
        assert all(torch.equal(part, before[name]) for name, part in member.parameters() if len(team.members) == 1)


def _seen(decode, rows):
    def seen(*arguments):
        answers = decode(*arguments)
        rows.append([item for items in answers for item in items])
        return answers

    return seen


def _pairs_seen(logprobs, tokens):
    def seen(adapter, pairs, *more):
        prompts = {prompt for prompt, _ in pairs}
        tokens.append(sum(map(len, prompts)) + sum(len(response) for _, response in pairs))
        return logprobs(adapter, pairs, *more)

    return seen
