"""Captions with n and bands, spread of times, pass@k over k, and texts beside their score: numbers by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.result_files import config, rewrite, write_results

import make_tables
from collm.common import cli
from collm.common.files import read_jsonl, write_jsonl
from collm.domains import get
from collm.report import results, tables
from collm.report.evidence import captions, pass_at_k, text_quality, timing
from collm.report.front.overview_figure import within

TLDR = get("tldr")({})


def load(folder: Path, domains: list[str], seeds: list[int]) -> results.Results:
    return results.load(config(domains, seeds), folder / "results", folder / "data")


@pytest.fixture
def folder(tmp_path) -> Path:
    """TLDR with two seeds; evaluations hold texts, returns and times as a run writes them."""
    write_results(tmp_path, config(["tldr"], [0, 1]))
    for path in sorted(tmp_path.glob("results/tldr/*/seed*/samples.jsonl")):
        rows = read_jsonl(path)
        for row in rows:
            nats = math.log(10.0) if path.parts[-3] == "parallel" else math.log(100.0)
            row["text_quality"] = {"nats_per_token": nats, "repetition": 4.0, "overlap": 10.0 + row["sample"]}
        write_jsonl(path, rows)
        rewrite(path.with_name("evaluation.json"), _complete)
    return tmp_path


def _complete(record: dict) -> None:
    paid = {"discount": 0.5, "reward_scale": 2.0, "reward_shift": -1.0, "reward": "every_turn"}
    record["config"]["rollout"] |= paid
    record["config"]["evaluation"] = {"tasks_during": None, "samples_during": 2, "samples": 3}
    record["latency"] = {"seconds": 2.0, "per_task": [1.0, 2.0, 3.0], "tasks": 3, "turns": 3}
    record["summary"] = {"text_quality": {"distinct_2": 80.0 + record["seed"]}}


def change(folder: Path, name: str, what) -> None:
    for path in folder.glob(f"results/tldr/*/seed*/{name}"):
        rewrite(path, what)


def test_captions_count_seeds_tasks_and_samples(folder):
    loaded = load(folder, ["tldr"], [0, 1])
    words = captions.learning_curves(loaded, "tldr")
    assert "Every point: 4 of 4 test tasks × 2 samples; the table has 4 × 3: the same tasks." in words
    assert "n = 2 seeds: lines are the mean, bands 95 % bootstrap intervals over seeds; 7 points a run." in words
    assert "Star and dashed line: the warm start, measured as the curves are" in words and "return" not in words
    main = tables.main_frame(loaded, {"tldr": TLDR}, resamples=100)
    bars = captions.final_bars(loaded, TLDR, main)
    assert "n = 2 seeds × 4 test tasks × 3 samples" in bars and "interval over seeds" in bars
    assert TLDR.caution[1:] in bars and "Time: time" not in bars and "Diamonds" not in bars
    assert "TLDR n = 2 seeds × 4 test tasks × 3 samples" in captions.overview(loaded, main)
    assert "one line per run, 2 seeds" in captions.health(loaded, TLDR)
    assert "2 seeds" in captions.variants({"a": loaded, "b": loaded}, "tldr")


def test_captions_say_where_curves_and_tables_differ_and_where_not(folder):
    plan = {"tasks_during": 2, "samples_during": 1}
    change(folder, "evaluation.json", lambda record: record["config"].update(evaluation=plan))
    words = captions.learning_curves(load(folder, ["tldr"], [0, 1]), "tldr")
    assert "2 of 4 test tasks × 1 sample; the table has 4 × 3: more tasks, so that curves and table need not" in words
    plan |= {"tasks_during": None, "samples_during": 3}
    change(folder, "evaluation.json", lambda record: record["config"].update(evaluation=plan))
    loaded = load(folder, ["tldr"], [0, 1])
    assert "the same tasks and samples as in the table" in captions.learning_curves(loaded, "tldr")
    counted = dataclasses.replace(loaded, curves=loaded.curves.assign(episodes=5.0))  # what was played decides
    assert "5 episodes of test tasks (final numbers: 4 tasks × 3 samples)" in captions.learning_curves(counted, "tldr")
    change(folder, "evaluation.json", lambda record: record["config"].pop("evaluation"))
    assert "was not recorded" in captions.learning_curves(load(folder, ["tldr"], [0, 1]), "tldr")


def test_captions_say_where_shorter_runs_end(folder):
    loaded = load(folder, ["tldr"], [0, 1])
    curves = loaded.curves[loaded.curves["method"] != "magrpo"]  # it samples four times as many
    assert "Runs end at different steps (MAGRPO " in captions.learning_curves(loaded, "tldr")
    assert "Runs end" not in captions.learning_curves(dataclasses.replace(loaded, curves=curves), "tldr")


def test_one_seed_has_no_band(folder):
    assert "n = 1 seed, so there is no band" in captions.learning_curves(load(folder, ["tldr"], [0]), "tldr")


def test_times_have_their_spread(folder):
    loaded = load(folder, ["tldr"], [0, 1])
    assert timing.deviation([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]) == pytest.approx(math.sqrt(2 / 4))
    assert timing.deviation([[1.0], []]) is None
    assert timing.notes(loaded)[0].startswith("TLDR: time of 3 tasks per run; standard deviation between tasks: Paral")
    change(folder, "evaluation.json", lambda record: record.update(latency={"seconds": 2.0, "tasks": 1, "turns": 1}))
    assert timing.notes(load(folder, ["tldr"], [0, 1])) == [
        "TLDR: time of 1 task per run, without a spread between tasks: read it as an order of magnitude."
    ]


def test_time_of_one_seed_has_an_interval_over_tasks(folder):
    main = tables.main_frame(load(folder, ["tldr"], [0]), {"tldr": TLDR}, resamples=500)
    row = main[main["metric"] == "time_s"].iloc[0]
    assert (row["point"], row["interval"], row["tasks"]) == (2.0, "interval over tasks", 3)
    assert 1.0 <= row["low"] < 2.0 < row["high"] <= 3.0


def test_texts_stand_beside_their_score(folder):
    loaded = load(folder, ["tldr"], [0, 1])
    frame = text_quality.frame(loaded, {"tldr": TLDR}, resamples=200).set_index(["method", "metric"])
    assert frame.loc[("parallel", "perplexity"), "point"] == pytest.approx(10.0)
    assert frame.loc[("magrpo", "perplexity"), ["point", "low", "high"]].tolist() == pytest.approx([100.0] * 3)
    assert frame.loc[("magrpo", "overlap"), "point"] == pytest.approx(11.0)
    assert frame.loc[("magrpo", "distinct_2"), ["point", "low", "high"]].tolist() == pytest.approx([80.5, 80, 81])
    score = loaded.of("tldr", "magrpo").groupby(["seed", "task"])["metric.score"].mean().mean()
    assert frame.loc[("magrpo", "score"), "point"] == pytest.approx(score)
    shown = text_quality.display_frame(frame.reset_index(), TLDR)
    assert list(shown.columns)[:3] == ["Method", "Score (%) ↑", "Perplexity ↓"]
    assert shown["Perplexity ↓"].tolist()[:2] == ["10 [10, 10]", "100 [100, 100]"]


def test_samples_without_a_word_have_no_perplexity(folder):
    path = folder / "results/tldr/magrpo/seed0/samples.jsonl"
    rows = read_jsonl(path)
    rows[0]["text_quality"]["nats_per_token"] = None
    rows[1]["text_quality"]["nats_per_token"] = math.log(1000.0)
    write_jsonl(path, rows)
    frame = text_quality.frame(load(folder, ["tldr"], [0]), {"tldr": TLDR}, resamples=100)
    point = frame.set_index(["method", "metric"]).loc[("magrpo", "perplexity"), "point"]
    first = (math.log(1000.0) + math.log(100.0)) / 2  # two samples of the first of four tasks are left
    assert point == pytest.approx(math.exp((first + 3 * math.log(100.0)) / 4))


def test_older_evaluations_are_shown_without_measures(tmp_path):
    write_results(tmp_path, config(["tldr", "str_build"], [0]))
    loaded = load(tmp_path, ["tldr", "str_build"], [0])
    domains = {"tldr": TLDR, "str_build": get("str_build")({})}
    frame = text_quality.frame(loaded, domains, resamples=100)
    assert set(frame["metric"]) == {"score"} and set(frame["domain"]) == {"tldr"}
    assert "evaluate again for them" in text_quality.markdown(frame, domains)
    assert text_quality.cautions(domains, frame) == [f"TLDR: {TLDR.caution}."]


def test_tables_say_what_the_score_does_not_see(folder):
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    assert cli.run(make_tables.main, ["--config", str(folder / "config.json"), *places]) == 0
    written = {
        name: (folder / f"results/tables/{name}.md").read_text() for name in ("main", "overview", "text_quality")
    }
    for text in written.values():
        assert "words in random order can earn 3.0 of 3" in " ".join(text.split())
    assert "Beside it: text_quality.md" in " ".join(written["main"].split())
    assert "| MAGRPO " in written["text_quality"] and "Perplexity: exp of" in written["text_quality"]
    kept = pd.read_csv(folder / "results/tables/text_quality.csv")
    assert list(kept.columns) == text_quality.COLUMNS and len(kept) == 5 * 5


def test_returns_are_those_of_training(folder):
    """Two turns at a discount of a half, scaled by 2 and shifted by -1; baselines are paid as trained methods are."""
    for path in folder.glob("results/tldr/*/seed*/samples.jsonl"):
        rows = read_jsonl(path)
        for row in rows:
            row["turns"] = [row["turns"][0] | {"reward": 1.0}, row["turns"][0] | {"turn": 1, "reward": 2.0}]
        write_jsonl(path, rows)
    rewrite(folder / "results/tldr/parallel/seed0/evaluation.json", lambda record: record["config"].update(rollout={}))
    loaded = load(folder, ["tldr"], [0, 1])
    assert loaded.several_turns("tldr") and loaded.samples["return"].tolist() == [1.0 + 0.5 * 3.0] * len(loaded.samples)
    rewards = tables.reward_frame(loaded, resamples=100)
    assert set(rewards.loc[rewards["metric"] == "return", "method"]) == set(loaded.methods("tldr"))


def test_single_turns_have_no_returns_in_the_table(folder):
    assert "return" not in set(tables.reward_frame(load(folder, ["tldr"], [0, 1]), resamples=100)["metric"])


def test_pass_at_k_by_hand(tmp_path):
    write_results(tmp_path, config(["coophe"], [0]))
    for path in tmp_path.glob("results/coophe/*/seed0/samples.jsonl"):
        rows = read_jsonl(path)
        for row in rows:  # one of three samples of the first two of four tasks passes
            good = row["sample"] == 0 and row["task"] in ("coophe_0000", "coophe_0001")
            row["metrics"] = {"pass_rate": 50.0, "pass_at_1": 100.0 * good}
        write_jsonl(path, rows)
    domain = get("coophe")({})
    frame = pass_at_k.frame(load(tmp_path, ["coophe"], [0]), domain, resamples=100)
    own = frame[frame["method"] == "magrpo"]
    assert own["k"].tolist() == [1, 2, 3]
    assert own["point"].tolist() == pytest.approx([100 / 6, 100 / 3, 50.0])
    assert pass_at_k.frame(load(tmp_path, ["coophe"], [0]), TLDR).empty
    assert "pass@k" in captions.health(load(tmp_path, ["coophe"], [0]), domain)


def test_per_cent_stays_within_0_and_100():
    assert within((-9.0, 109.0), np.array([1.0, 99.0])) == (0.0, 100.0)
    assert within((40.0, 60.0), np.array([45.0, 55.0])) == (40.0, 60.0)
    assert within((90.0, 130.0), np.array([95.0, 120.0])) == (90.0, 120.0)
