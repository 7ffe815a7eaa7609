"""Where files of experiments and variants lie, and which inputs variants share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config.load import load_config
from collm.config.resolve import resolve_settings
from collm.config.snapshot import digest
from collm.pipeline import targets, variants
from collm.pipeline.places import Places
from collm.runs.folders import RunFolders

RATE = {"methods": {"magrpo": {"training": {"agent_learning_rate": 1.0e-5}}}}
VARIANTS = {
    "plain": {},
    "rate": {"domain": {"tldr": RATE}},
    "warm": {"domain": {"tldr": {"warm_start": {"epochs": 7}}}},
    "both": {"domain": {"tldr": {"warm_start": {"epochs": 7}, **RATE}}},
    "larger": {"models": {"scratch": {"hidden": 256}}},
    "shorter": {"domain": {"tldr": {"data": {"train": "train[0:4]"}}}},
}


@pytest.fixture(scope="module")
def config() -> dict:
    axes = {"name": "exp", "domains": ["tldr"], "methods": ["magrpo"], "seeds": [0, 1], "baselines": ["warm_start"]}
    return load_config([ROOT / "config/config.yaml"], {**axes, "variants": VARIANTS})


def test_without_name_and_variants_paths_are_those_of_old():
    config = load_config([ROOT / "config/config.yaml"])
    assert variants.each(config) == {"": config} and variants.of(config, None) is config
    folders = RunFolders.of("tldr", "magrpo", 3, places=Places.of(config))
    assert folders == RunFolders.of("tldr", "magrpo", 3)
    assert [str(path) for path in (folders.data, folders.models, folders.out, folders.checkpoints)] == [
        "data/tldr",
        "resources/models",
        "results/tldr/magrpo/seed3",
        "checkpoints/tldr/magrpo/seed3",
    ]
    assert folders.adapters == Path("results/tldr/magrpo/seed3/adapters")


def test_inputs_are_shared_where_the_settings_that_they_depend_on_are_equal(config):
    found = {name: own["variant"]["inputs"]["tldr"] for name, own in variants.each(config).items()}
    shared = {"data": "", "models": "", "warm_start": ""}
    assert found["plain"] == found["rate"] == shared
    assert found["warm"] == found["both"] == {**shared, "warm_start": "warm"}, "the second takes what the first makes"
    assert found["larger"] == {**shared, "models": "larger", "warm_start": "larger"}
    assert set(found["shorter"].values()) == {"shorter"}, "models and warm starts stand on the data"


def test_where_a_variant_reads_and_writes(config):
    places = {name: Places.of(own) for name, own in variants.each(config).items()}
    both = RunFolders.of("tldr", "warm_start", 0, Path("x"), places["both"])
    assert both.out == Path("x/results/exp/both/tldr/warm_start/seed0"), "its samples are its own"
    assert both.adapters == Path("x/results/exp/warm/tldr/warm_start/seed0/adapters")
    assert both.where_trained().out == both.adapters.parent
    assert both.checkpoints == Path("x/checkpoints/exp/warm/tldr/warm_start/seed0")
    assert places["both"].trained("tldr", "magrpo", 0) == "results/exp/both/tldr/magrpo/seed0"
    assert places["plain"].trained("tldr", "warm_start", 0) == "results/exp/tldr/warm_start/seed0"
    assert (places["shorter"].data("tldr"), places["larger"].models("tldr")) == (
        "data/shorter/tldr",
        "resources/models/larger",
    )
    assert places["rate"].data("tldr") == "data/tldr" and Places.of(config).comparison == "results/exp"


def test_jobs_of_all_variants(config):
    trained, starts = targets.all_trained(config), targets.all_warm_starts(config)
    assert len(trained) == len(set(trained)) == 6 * 2
    places = ("exp", "exp/warm", "exp/larger", "exp/shorter")
    assert starts == [f"results/{place}/tldr/warm_start/seed{seed}/run.json" for place in places for seed in (0, 1)]
    assert targets.all_manifests(config) == ["data/tldr/manifest.json", "data/shorter/tldr/manifest.json"]
    assert [file.split("/")[2] for file in targets.all_models(config)] == ["larger", "shorter", "tldr"]
    shown = targets.shown_files(config)
    assert {"results/exp/tables/variants.md", "results/exp/figures/variants_tldr.svg"} <= set(shown)
    assert "results/exp/both/tables/main.csv" in shown and "results/exp/tables/main.csv" not in shown


def test_runs_name_the_snapshot_of_all_variants(config):
    own = variants.of(config, "rate")
    settings = resolve_settings(own, "tldr", "magrpo")
    assert settings["configuration"] == digest(config) != digest(own)
    assert settings["training"]["agent_learning_rate"] == 1.0e-5
    assert "variant" not in settings and "variants" not in settings
    json.dumps(own)


def test_a_stage_says_which_variants_there_are(config):
    with pytest.raises(ConfigError, match="name one of them by --variant: plain, rate, warm"):
        variants.of(config, None)
    with pytest.raises(ConfigError, match="unknown variant 'rat'"):
        variants.of(config, "rat")
    assert Places.of(variants.of(config, "")) == Places("exp")
