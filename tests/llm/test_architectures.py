"""Every architecture of docs/architectures.md, as the table says; caches of every kind repeat and choose rows."""

from __future__ import annotations

import pytest
import torch
from support.architectures import SIZES, largest_difference, make, table_row, team_of, tokens_of
from support.places import ROOT
from transformers import AutoModelForCausalLM

from collm.common.errors import ModelError
from collm.llm import model_config
from collm.llm.padded import probe
from collm.llm.padded.kv_cache import repeat_rows, select_rows

TABLE = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("kind", SIZES)
def test_table(kind, models_folder, tmp_path):
    assert table_row(kind, models_folder / "tiny", tmp_path) in TABLE


def test_table_has_no_other_rows():
    assert sum(line.startswith("| `") for line in TABLE) == len(SIZES)


@pytest.mark.parametrize("kind", ["mistral", "mixtral", "qwen3_5_text", "lfm2"])
def test_whole_copies(kind, models_folder, tmp_path):
    team = team_of(kind, make(kind, models_folder / "tiny", tmp_path / kind), "joint", adapter="full")
    assert tokens_of(team, "mixed") == tokens_of(team, "sequential")
    assert largest_difference(team) < 1e-4
    assert team.values(0, [(3, 4, 5), (6,)]).shape == (2,)


@pytest.mark.parametrize("kind", ["qwen3_next", "falcon_h1", "lfm2", "bamba", "mistral"])
def test_rows_of_every_cache_layer_are_repeated_and_chosen(kind, models_folder, tmp_path):
    """A layer with keys *and* states must not repeat one of them alone."""
    causal = AutoModelForCausalLM.from_pretrained(make(kind, models_folder / "tiny", tmp_path / kind)).eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    rows, after = torch.tensor([0, 0, 1, 1]), torch.tensor([[20], [21], [22], [23]])
    with torch.no_grad():
        cache = causal(input_ids=ids, use_cache=True).past_key_values
        repeat_rows(cache, 2)
        chosen = torch.tensor([3, 0])
        select_rows(cache, chosen)
        place = torch.full((2, 1), 4)  # Bamba counts wrong by itself
        out = causal(input_ids=after[chosen], position_ids=place, past_key_values=cache, use_cache=True)
        logits = out.logits[:, -1]
        whole = causal(input_ids=torch.cat([ids[rows], after], -1)[chosen], use_cache=False).logits[:, -1]
    assert torch.allclose(logits, whole, atol=1e-4)


def test_a_model_that_padding_disturbs_is_refused_when_it_is_loaded(models_folder, tmp_path, monkeypatch):
    folder = make("mistral", models_folder / "tiny", tmp_path / "mistral")
    real = probe.PaddedStepper.select
    monkeypatch.setattr(probe.PaddedStepper, "select", lambda self, rows: real(self, rows.flip(0)))
    with pytest.raises(
        ModelError, match=r"'mistral' \(MistralForCausalLM\) is not supported: decoding in batches is off"
    ):
        team_of("mistral", folder)


def test_logits_that_would_be_capped_are_refused_even_if_small(models_folder, tmp_path):
    with pytest.raises(ModelError, match="final_logit_softcapping is 30.0"):
        team_of("gemma2", make("gemma2", models_folder / "tiny", tmp_path / "gemma2"))


def test_length_of_context_without_position_embeddings(models_folder, tmp_path):
    folder = make("bloom", models_folder / "tiny", tmp_path / "bloom")
    assert team_of("bloom", folder).agents[0].base.context == 256  # the tokenizer says so
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="does not say how many tokens it can read.*write the length"):
        model_config.context_length(model_config.text_config(folder), folder)


def test_targets_that_fit_no_module_are_one_line(models_folder):
    lora = {"rank": 4, "alpha": 8, "targets": ["nowhere"]}
    with pytest.raises(ModelError, match="takes no adapter with team.lora.targets nowhere: .*Target modules"):
        team_of("tiny", models_folder / "tiny", lora=lora)
