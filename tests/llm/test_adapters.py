"""Adapters of every kind: in mixed decoding each agent has its own, and every part of them is trained."""

from __future__ import annotations

import json

import pytest
import torch
from peft.tuners.lora import Linear
from support import runs
from support.architectures import largest_difference, make, team_of, tokens_of
from support.toy import make_learner, numbers, play, update

from collm.common.errors import ModelError
from collm.llm.member import Member
from collm.llm.padded import multi_lora
from collm.llm.padded import passes as padded_passes
from collm.llm.passes import rounding
from collm.training.trainer import Trainer

EMBEDDED = {"rank": 4, "alpha": 8, "targets": ["q_proj", "embed_tokens"]}
OUTPUT = {"rank": 4, "alpha": 8, "targets": ["q_proj", "lm_head"]}


@pytest.fixture(scope="module")
def mixtral(models_folder, tmp_path_factory):
    return make("mixtral", models_folder / "tiny", tmp_path_factory.mktemp("experts") / "tiny")


@pytest.mark.parametrize("targets", [["q_proj", "embed_tokens"], ["q_proj", "lm_head"], ["embed_tokens"]])
def test_adapters_off_the_projections(models_folder, targets):
    team = team_of("tiny", models_folder / "tiny", lora={"rank": 4, "alpha": 8, "targets": targets})
    assert tokens_of(team, "mixed") == tokens_of(team, "sequential")
    assert largest_difference(team) < 1e-4


def test_agents_that_do_not_mix_are_announced_once_by_kind(mixtral, capsys):
    team_of("tiny", mixtral)
    lines = [line for line in capsys.readouterr().err.splitlines() if "one after another" in line]
    assert len(lines) == 1
    assert "ParamWrapper (model.layers.0.mlp" in lines[0]


def test_adapters_that_do_not_mix_are_refused_in_one_batch(mixtral):
    passes = team_of("tiny", mixtral).agents[0].base.passes
    with pytest.raises(ModelError, match="agent_0, agent_1 cannot be decoded in one batch: ParamWrapper"):
        passes.decode(["agent_0", "agent_1"], [], None, frozenset())


def test_embedding_adapters_are_trained(models_folder, tmp_path):
    team = team_of("tiny", models_folder / "tiny", "joint", lora=EMBEDDED)
    names = [name for name, _ in team.agents[0].parameters()]
    assert sum("lora_embedding" in name for name in names) == 2
    before = {name: part.detach().clone() for name, part in team.agents[0].parameters()}
    update(make_learner(team, "collm_cc", tmp_path), play(team))
    assert all(not torch.equal(before[name], part) for name, part in team.agents[0].parameters())


@pytest.mark.parametrize("kind", ["embedding", "experts"])
def test_what_is_trained_is_saved_and_loaded(kind, models_folder, mixtral, tmp_path):
    folder, changes = (models_folder / "tiny", {"lora": EMBEDDED}) if kind == "embedding" else (mixtral, {})
    team, other = (team_of("tiny", folder, deviation=deviation, **changes) for deviation in (0.3, 0.1))
    team.save(tmp_path)
    other.load_agents(tmp_path)
    first, second = numbers(team), numbers(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert tokens_of(team, "mixed") == tokens_of(other, "mixed")


def test_parts_that_the_optimiser_does_not_get_are_an_error(models_folder, monkeypatch):
    def parameters(self):
        return [item for item in self.model.named_parameters() if f".{self.adapter}." in item[0]]

    monkeypatch.setattr(Member, "parameters", parameters)
    with pytest.raises(ModelError, match=r"agent_0: parts of its adapter would never be trained: .*lora_embedding_A"):
        team_of("tiny", models_folder / "tiny", lora=EMBEDDED)


def test_parts_without_a_gradient_are_an_error(models_folder):
    with pytest.raises(ModelError, match=r"critic: parts of its adapter would never.*lm_head.*that a critic uses"):
        team_of("tiny", models_folder / "tiny", "joint", lora=OUTPUT)
    team_of("tiny", models_folder / "tiny", "shared", lora=OUTPUT)  # agents use it


# the check of a run


def old_grouping(patched):
    """Grouped decoding as it was: modules of other kinds than Linear take the adapter of the first agent."""

    def init(self, model, adapters):
        self.adapters = list(adapters)
        self.layers = [module for module in model.modules() if isinstance(module, Linear)]
        self._weights = [self._stack(layer, layer.base_layer.weight.dtype) for layer in self.layers]

    patched.setattr(padded_passes, "ungrouped", lambda model: [])
    patched.setattr(multi_lora.Grouping, "__init__", init)


def start_of(folder, out):
    """Adapters of two agents that differ by much."""
    team_of("tiny", folder).save(out)
    return out


def trained(folder, root, start, decode):
    Trainer(runs.session(folder.parent, root, method="magrpo", rollout={"decode": decode}), start).run()
    return [json.loads(line) for line in (root / "results" / "metrics.jsonl").read_text().splitlines()]


def short(patched):
    """Fewer tasks and epochs."""
    patched.setattr(runs, "tasks", lambda count: [*map(runs_task, range(3))])


def runs_task(index):
    from support.toy import task

    return task(index)


@pytest.mark.parametrize("decode", ["mixed", "sequential"])
def test_a_run_logs_how_far_decoding_is_from_scoring(mixtral, tmp_path, monkeypatch, decode):
    short(monkeypatch)
    rows = trained(mixtral, tmp_path, start_of(mixtral, tmp_path / "start"), decode)
    rollouts = [row for row in rows if row["event"] == "rollout"]
    assert 0 <= rollouts[0]["mismatch/agent_0"] < 1e-4 and 0 <= rollouts[0]["mismatch/agent_1"] < 1e-4
    assert len(rollouts) > 1 and not any("mismatch/agent_0" in row for row in rollouts[1:])


def test_a_run_stops_if_agents_decode_with_the_adapters_of_another(mixtral, tmp_path, monkeypatch):
    short(monkeypatch)
    start = start_of(mixtral, tmp_path / "start")
    old_grouping(monkeypatch)
    with pytest.raises(ModelError, match=r"agent_1 by \d.*nats per token.*set rollout.decode to sequential"):
        trained(mixtral, tmp_path, start, "mixed")
    rows = [json.loads(line) for line in (tmp_path / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["event"] == "rollout" and rows[-1]["mismatch/agent_1"] > rounding(torch.float32)
    assert rows[-1]["mismatch/agent_0"] < 1e-4
