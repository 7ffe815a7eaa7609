"""Measures of prose without a reward: perplexity of the base, repetition, overlap with the source."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.toy import Toy, make_team, rollout_settings, tasks

from collm.training import evaluation, text_quality
from collm.training.rollout import Rollout


class Prose(Toy):
    """The toy as a benchmark of prose: texts are written from the word of a task."""

    source_field = "word"


@pytest.fixture(scope="module")
def team(models_folder):
    return make_team(models_folder)


def measured(team, domain, budget=4096, batch=64):
    quality = text_quality.TextQuality(team, domain, budget)
    rollout, roots = Rollout(team, domain, rollout_settings()), []

    def note(found):
        roots.extend(found)
        quality.note(found)

    rows = evaluation.sample_rows(rollout, tasks(3), 2, 0, {}, batch, note=note)
    quality.put(rows)
    return rows, roots


def test_perplexity_is_that_of_the_base_whatever_the_adapters_are(team, models_folder):
    rows, roots = measured(team, Prose({}))
    model = make_team(models_folder, randomise=False).agents[0].base.model  # new adapters change nothing
    for row, root in zip(rows, roots, strict=True):
        total, count = 0.0, 0
        for (said,) in root.responses:
            tokens = said.tokens[:-1] if said.ended else said.tokens
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*said.prompt, *tokens]])).logits[0].float().log_softmax(-1)
            total -= sum(logits[len(said.prompt) - 1 + place, token].item() for place, token in enumerate(tokens))
            count += len(tokens)
        assert row["text_quality"]["nats_per_token"] == pytest.approx(total / count, rel=1e-4)
        own = -sum(said.logprob for (said,) in root.responses) / sum(len(said.tokens) for (said,) in root.responses)
        assert abs(row["text_quality"]["nats_per_token"] - own) > 1e-3  # the adapters say something else


@pytest.mark.parametrize(("budget", "batch"), [(16, 64), (4096, 1)])
def test_batches_change_nothing_but_rounding(team, budget, batch):
    one, other = (measured(team, Prose({}), *sizes)[0] for sizes in ((4096, 64), (budget, batch)))
    values = [[row["text_quality"]["nats_per_token"] for row in rows] for rows in (one, other)]
    assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_texts_are_compared_with_their_source(team):
    rows, _ = measured(team, Prose({}))
    assert all(set(row["text_quality"]) == {"nats_per_token", "repetition", "overlap"} for row in rows)
    quality = text_quality.TextQuality(team, Prose({}), 4096)
    task = tasks(6)[5]  # "yellow and black"
    assert quality._of_texts(task, ["yellow sun", "Black holes, green"]) == {
        "repetition": 0.0,
        "overlap": pytest.approx((50.0 + 100 / 3) / 2),
    }


def test_nothing_said_has_no_perplexity(team):
    """An end token alone is no text; it is left out and not counted as 0."""
    _, roots = measured(team, Prose({}))
    quality = text_quality.TextQuality(team, Prose({}), 4096)
    end = min(team.agents[0].base.ends)
    roots[0].responses = [
        [dataclasses.replace(said, tokens=(end,), ended=True, text="")] for (said,) in roots[0].responses
    ]
    found = quality._surprise(roots[:2])
    assert found[0] is None and found[1] is not None and math.isfinite(found[1])


def test_only_prose_is_measured(team):
    rows, _ = measured(team, Toy({}))
    assert all("text_quality" not in row for row in rows) and text_quality.summary(rows) == {}


def test_the_summary_counts_2_grams_of_all_texts(team):
    rows, _ = measured(team, Prose({}))
    for row in rows:
        row["turns"][-1]["responses"] = ["a b c", "a b"]
    assert text_quality.summary(rows) == {"text_quality": {"distinct_2": pytest.approx(100 * 2 / 18)}}


def test_whole_copies_have_no_base(models_folder, capsys):
    team = make_team(models_folder, adapter="full")
    rows, _ = measured(team, Prose({}))
    assert "perplexity is not measured: team.adapter is full" in capsys.readouterr().err
    assert {row["text_quality"]["nats_per_token"] for row in rows} == {None}
