"""Variants beside each other: paired differences, probability of improvement, figures, and what cannot be paired."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from support.places import ROOT
from support.result_files import config, write_results

from collm.common.files import read_jsonl, write_json, write_jsonl

sys.path.insert(0, str(ROOT / "src"))
import compare_variants

VARIANTS = {"a": {}, "b": {"defaults": {"rollout": {"discount": 0.5}}}}
GAIN = 0.25


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Two variants with three seeds; every sample of the second scores `GAIN` more than the same of the first."""
    monkeypatch.chdir(tmp_path)
    settings = {**config(["tldr"], [0, 1, 2], ["magrpo", "collm_cc"]), "name": "exp", "variants": VARIANTS}
    for name in VARIANTS:
        write_results(tmp_path / name, settings)
        (tmp_path / "results/exp").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "results").rename(tmp_path / "results/exp" / name)
    (tmp_path / "a/data").rename(tmp_path / "data")
    for file in (tmp_path / "results/exp/b").glob("tldr/*/seed*/samples.jsonl"):
        write_jsonl(file, [{**row, "reward": row["reward"] + GAIN} for row in read_jsonl(file)])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return tmp_path


def compare(*arguments: str) -> None:
    assert compare_variants.main(["--config", "config.yaml", *arguments]) == 0


def rows(experiment) -> list[dict]:
    pandas = pytest.importorskip("pandas")
    return pandas.read_csv(experiment / "results/exp/tables/variants.csv").to_dict("records")


def test_paired_differences_are_what_was_added(experiment):
    compare("--kinds", "tables")
    table = rows(experiment)
    rewards = {row["method"]: row for row in table if row["metric"] == "reward"}
    assert set(rewards) == {"parallel", "warm_start", "magrpo", "collm_cc"}
    for row in rewards.values():
        assert (row["variant"], row["reference"], row["seeds"]) == ("b", "a", 3)
        # The same seeds and tasks on both sides: what they do cancels out, and nothing is left to chance.
        assert row["point"] == pytest.approx(GAIN) == row["low"] == row["high"]
        assert row["value"] - row["reference_value"] == pytest.approx(GAIN)
        assert row["above"] == 3 and row["probability"] >= 0.5
    assert {row["point"] for row in table if row["metric"] == "tokens"} == {0.0}
    text = (experiment / "results/exp/tables/variants.md").read_text(encoding="utf-8")
    assert "| TLDR" in text and "| CoLLM-CC" in text and "Reference: a" in text
    assert "+0.25 [0.25, 0.25]" in text and "3 × 4 × 3" in text


def test_a_line_per_variant_and_a_panel_per_method(experiment):
    compare("--kinds", "figures")
    written = {path.name for path in (experiment / "results/exp/figures").iterdir()}
    assert written == {f"variants_tldr.{suffix}" for suffix in ("png", "svg", "txt")}
    from collm.pipeline import variants as every
    from collm.report.results import load
    from collm.report.variants.curves import variant_curves

    settings = every.each(compare_variants.load_config(["config.yaml"]))
    results = {
        name: load(own, experiment / "results/exp" / name, experiment / "data") for name, own in settings.items()
    }
    figure = variant_curves(results, "tldr", 3.0)
    assert [axes.get_title() for axes in figure.axes] == ["MAGRPO", "CoLLM-CC"]
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["a", "b"]] * 2


def test_other_test_tasks_are_not_paired(experiment):
    for file in (experiment / "results/exp/b/tldr/magrpo").glob("seed*/samples.jsonl"):
        write_jsonl(file, [{**row, "task": f"other_{row['task']}"} for row in read_jsonl(file)])
    compare("--kinds", "tables")
    assert "magrpo" not in {row["method"] for row in rows(experiment)}
    text = (experiment / "results/exp/tables/variants.md").read_text(encoding="utf-8")
    assert "Not compared: b, tldr/magrpo: its test tasks are not those of the reference" in text


def test_without_variants_there_is_nothing_to_compare(experiment):
    settings = json.loads((experiment / "a/config.json").read_text(encoding="utf-8"))
    write_json(experiment / "plain.json", {**settings, "variants": {}})
    with pytest.raises(Exception, match="name two `variants` or more"):
        compare_variants.main(["--config", "plain.json"])
