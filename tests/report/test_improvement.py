"""The probability of improvement: by its definition, by hand, and its interval over seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from support.result_files import config, write_results

import make_tables
from collm.common import cli
from collm.common.files import read_jsonl, write_jsonl
from collm.report.improvement import probability


def test_it_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, size=(2, 7)).astype(float)
    pairs = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in itertools.product(first, second)]
    assert probability(first, second) == pytest.approx(sum(pairs) / 49)
    assert probability(first, second) + probability(second, first) == pytest.approx(1.0)


def test_it_is_taken_along_the_last_axis():
    first, second = np.array([[1.0, 3.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [0.0, 0.0]])
    assert probability(first, second).tolist() == [0.5, 0.5]


@pytest.fixture
def table(tmp_path):
    """Makes tables where every sample of a run has the same reward and score; gives the frame and its Markdown."""

    def make(scores: dict[str, dict[str, list[float]]]) -> tuple[pd.DataFrame, str]:
        seeds = list(range(len(next(iter(scores.values()))["warm_start"])))
        methods = [name for name in next(iter(scores.values())) if name != "warm_start"]
        configuration = config(list(scores), seeds, methods) | {"baselines": ["warm_start"]}
        write_results(tmp_path, configuration)
        for (domain, levels), seed in itertools.product(scores.items(), seeds):
            for method, values in levels.items():
                file = tmp_path / "results" / domain / method / f"seed{seed}" / "samples.jsonl"
                rows = [row | {"reward": values[seed]} for row in read_jsonl(file)]
                name = {"tldr": "score", "str_build": "iou"}[domain]
                write_jsonl(file, [row | {"metrics": row["metrics"] | {name: values[seed]}} for row in rows])
        places = ["--results", str(tmp_path / "results"), "--data", str(tmp_path / "data")]
        assert cli.run(make_tables.main, ["--config", str(tmp_path / "config.json"), *places]) == 0
        frame = pd.read_csv(tmp_path / "results/tables/improvement.csv").set_index(["domain", "method", "metric"])
        assert (tmp_path / "results/tables/improvement.tex").read_text(encoding="utf-8").isascii()
        return frame, (tmp_path / "results/tables/improvement.md").read_text(encoding="utf-8")

    return make


def test_a_table_by_hand(table):
    start = [1.0, 2.0, 3.0, 4.0]
    scores = {
        "tldr": {"warm_start": start, "magrpo": [5.0, 6.0, 7.0, 8.0], "collm_cc": [1.5, 2.5, 2.0, 3.0]},
        "str_build": {"warm_start": start, "magrpo": start, "collm_cc": [0.0, 0.0, 0.0, 9.0]},
    }
    frame, text = table(scores)
    sure = frame.loc["tldr", "magrpo", "reward"]
    assert (sure["probability"], sure["low"], sure["high"], sure["above"], sure["seeds"]) == (1.0, 1.0, 1.0, 4, 4)
    # 1.5: above 1; 2.5: above 1 and 2; 2: above 1 and half of 2; 3: above 1, 2 and half of 3, of sixteen pairs.
    mixed = frame.loc["tldr", "collm_cc", "score"]
    assert mixed["probability"] == pytest.approx((1 + 2 + 1.5 + 2.5) / 16) and mixed["above"] == 2
    assert 0 < mixed["low"] < mixed["probability"] < mixed["high"] < 1
    same = frame.loc["str_build", "magrpo", "iou"]
    assert same["probability"] == 0.5 and same["above"] == 0
    both = frame.loc["all", "collm_cc", "reward"]
    assert both["probability"] == pytest.approx((7 / 16 + 4 / 16) / 2) and (both["seeds"], both["above"]) == (8, 3)
    assert frame.loc["all", "magrpo", "overview"]["probability"] == 0.75
    assert "| TLDR        | MAGRPO   | Warm start | 1.00 [1.00, 1.00] |             4/4 |" in text


def test_runs_of_a_seed_are_drawn_together(table):
    """Starts differ widely and every run ends just above its own: drawn apart, the interval would be wider."""
    start = [float(10 * seed) for seed in range(8)]
    frame, _ = table({"tldr": {"warm_start": start, "collm_cc": [value + 1 for value in start]}})
    row = frame.loc["tldr", "collm_cc", "reward"]
    assert row["probability"] == pytest.approx((28 + 8) / 64) and row["above"] == 8
    assert row["low"] >= 0.5, "a seed that is drawn with itself is above or beside itself"
    assert "all" not in frame.index.get_level_values("domain")


def test_one_seed_gives_no_probability(table):
    frame, text = table({"tldr": {"warm_start": [1.0], "collm_cc": [2.0]}})
    row = frame.loc["tldr", "collm_cc", "reward"]
    assert row[["probability", "low", "high"]].isna().all() and row["above"] == 1
    assert "| TLDR        | CoLLM-CC | Warm start |           – |             1/1 |" in text
