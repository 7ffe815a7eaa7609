"""Names of experiments and variants: what is refused before anything runs, and what a variant's configuration is."""

from __future__ import annotations

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config import variants
from collm.config.load import load_config

FILES = [ROOT / "config/config.yaml"]
AXES = {"domains": ["tldr"], "methods": ["magrpo"]}
OTHER = {"defaults": {"rollout": {"discount": 0.5}}}


def load(overlay: dict) -> dict:
    return load_config(FILES, {**AXES, **overlay})


def test_a_variant_is_its_overlay_over_everything_else():
    config = load({"variants": {"g09": {}, "g05": OTHER}})
    assert variants.names(config) == ["g09", "g05"]
    own = variants.merged(config, "g05")
    assert own["defaults"]["rollout"]["discount"] == 0.5 and "variants" not in own
    assert variants.merged(config, "") == variants.merged(config, "g09")
    with pytest.raises(ConfigError, match="unknown variant 'g0'.*known: g09, g05"):
        variants.merged(config, "g0")


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden", "ü", "a b", "x" * 65])
def test_names_that_are_no_part_of_a_path(name):
    with pytest.raises(ConfigError, match="cannot be part of a path"):
        load({"variants": {name: {}}})
    with pytest.raises(ConfigError, match="name: .* cannot be part of a path"):
        load({"name": name})


@pytest.mark.parametrize("name", ["tldr", "tables", "figures", "configs", "benchmarks"])
def test_names_of_other_folders(name):
    with pytest.raises(ConfigError, match=f"{name!r} is the name of another folder below results"):
        load({"name": name})


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"defalts": {}}, "unknown key variants.b.defalts .*did you mean 'defaults'"),
        ({"seeds": [3]}, "unknown key variants.b.seeds"),
        ({"domains": ["arxiv"]}, "unknown key variants.b.domains"),
        ({"defaults": {"rollout": {"discoun": 1}}}, "unknown key variants.b.defaults.rollout.discoun .*'discount'"),
        ({"defaults": {"rollout": {"discount": 7}}}, "variants.b.defaults.rollout.discount: 7 is refused"),
        ({"models": {"scratch": {"layer": 3}}}, "variants.b: unknown key models.scratch.layer"),
        ({"defaults": {"team": {"agents": "nobody"}}}, "variants.b: unknown model 'nobody'"),
    ],
)
def test_faults_of_an_overlay_name_the_variant(overlay, message):
    with pytest.raises(ConfigError, match=message):
        load({"variants": {"a": {}, "b": overlay}})


def test_a_variant_that_changes_nothing():
    for overlay in ({}, {"domain": {"arxiv": {"rollout": {"discount": 0.5}}}}):
        with pytest.raises(ConfigError, match="variants.b changes nothing: .* variants.a gives them"):
            load({"variants": {"a": {}, "b": overlay}})
    with pytest.raises(ConfigError, match="variants.c changes nothing: .* variants.b gives them"):
        load({"variants": {"a": {}, "b": OTHER, "c": OTHER}})


def test_what_does_not_get_through_in_a_variant_is_told(capsys):
    overlay = {"defaults": {"rollout": {"discount": 0.5}, "warm_start": {"epochs": 9}}}
    load({"variants": {"a": {}, "b": overlay}})
    warning = "warning: variants.b: defaults.warm_start.epochs: 9 does not reach tldr"
    assert warning in capsys.readouterr().err
