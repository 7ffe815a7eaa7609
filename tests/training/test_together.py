"""Runs that share a process and a base: each ends as if it had been alone."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from support import runs
from support.toy import team_settings

from collm.llm import base_model
from collm.llm.bases import Bases
from collm.runs.signals import Signals
from collm.training.together import Turns
from collm.training.trainer import Trainer


@pytest.fixture
def float64(monkeypatch):
    """Models and the learner's own tensors in float64."""
    monkeypatch.setattr("collm.llm.team.DTYPES", {"float32": torch.float64})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def setup(models, root, seed, **changes):
    made = runs.session(models, root, **changes)
    return dataclasses.replace(made, seed=seed)


def together(setups):
    """Train these side by side; returns the number of bases that were loaded."""
    bases = Bases()
    with Signals() as signals:
        turns = Turns(signals)
        for made in setups:

            def work(made=made):
                trainer = Trainer(made, None, bases)
                trainer.team.neighbours, trainer.resumable.signals = turns, signals
                trainer.run()

            turns.add(work, contextlib.nullcontext)
        turns.play()
    return turns


CASES = [("magrpo", 0), ("magrpo", 1), ("collm_cc", 1), ("collm_dc", 2)]


def changes(method):
    return {"method": method, "rollout": {"generations": 2}, "training": {"epochs": 1 if method == "collm_cc" else 2}}


def test_runs_of_several_seeds_and_methods_end_as_alone(models_folder, tmp_path, float64):
    for method, seed in CASES:
        Trainer(setup(models_folder, tmp_path / f"alone {method}{seed}", seed, **changes(method)), None).run()
    together([setup(models_folder, tmp_path / f"{method}{seed}", seed, **changes(method)) for method, seed in CASES])
    for method, seed in CASES:
        compare(tmp_path / f"alone {method}{seed}", tmp_path / f"{method}{seed}")


def compare(alone, joined):
    hashes, rows = runs.outcome(alone)
    others, other_rows = runs.outcome(joined)
    assert set(hashes) == set(others)
    for name in hashes:
        if name.endswith(".safetensors"):
            own, other = (load_file(root / "results" / "adapters" / name) for root in (alone, joined))
            assert set(own) == set(other)
            for key, part in own.items():
                torch.testing.assert_close(other[key], part, rtol=0, atol=1e-9)
    for row, other in zip(rows, other_rows, strict=True):
        same(row, other)


def same(one, other):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-7, abs=1e-9)
    else:
        assert one == other
