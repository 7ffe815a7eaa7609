"""What another configuration made is refused by name: data, models, warm starts and trained teams."""

from __future__ import annotations

import pytest
import yaml
from support.places import ROOT

from collm.common import cli
from collm.common.errors import DataError, ModelError
from collm.common.files import write_json
from collm.config.load import load_config
from collm.config.resolve import merge, resolve_settings
from collm.pipeline import provenance
from collm.stages import evaluate, make_model, prepare_data, train, warm_start

DEFAULT = str(ROOT / "config" / "config.yaml")
SEED = {"data": {"seed": 1}}


@pytest.fixture(scope="module")
def config():
    return load_config([DEFAULT])


@pytest.fixture
def place(config, tmp_path, monkeypatch):
    """A folder with data, a model's description and two runs, made with the default configuration."""
    monkeypatch.chdir(tmp_path)
    assert cli.run(prepare_data.main, ["--config", DEFAULT, "--domain", "tldr"]) == 0
    data = tmp_path / "data" / "tldr"
    made_with = {
        "settings": provenance.model_settings(config, "tldr", "scratch"),
        "training_text": provenance.training_text(data),
    }
    spec = config["models"]["scratch"]
    write_json(tmp_path / "resources/models/tldr/scratch/model.json", {"spec": spec, "made_with": made_with})
    for method in ("warm_start", "collm_cc"):
        run = {"config": resolve_settings(config, "tldr", method)}
        write_json(tmp_path / "results" / "tldr" / method / "seed0" / "run.json", run)
    return tmp_path


def check_inputs(place, config, method="collm_cc"):
    provenance.check_inputs(config, "tldr", method, place / "data/tldr", place / "resources/models")


def check_run(place, config, method):
    provenance.check_run(config, "tldr", method, place / "results/tldr" / method / "seed0")


@pytest.mark.parametrize("method", ["collm_cc", "grpo", "warm_start"])  # grpo: one agent, on the data of two
def test_what_the_same_configuration_made_is_taken(place, config, method):
    check_inputs(place, config, method)
    check_run(place, config, "warm_start")
    check_run(place, config, "collm_cc")


@pytest.mark.parametrize(
    "change",
    [
        {"defaults": {"rollout": {"max_rows": 3}, "training": {"micro_batch_tokens": 999}}},
        {"seeds": [5], "report": {"resamples": 7}, "sandbox": "allow_weak"},
    ],
)
def test_what_changes_no_result_is_not_compared(place, config, change):
    other = merge(config, change)
    check_inputs(place, other)
    check_run(place, other, "warm_start")
    check_run(place, other, "collm_cc")


def test_other_data_are_refused(place, config):
    with pytest.raises(
        DataError, match=r"data/tldr was made with data\.seed 0, this run says 1; make it again: python"
    ):
        check_inputs(place, merge(config, SEED))
    with pytest.raises(DataError, match=r"made with options\.\w+ .*, this run says 150"):
        check_inputs(place, merge(config, {"domain": {"tldr": {"options": {"max_words": 150}}}}))
    write_json(place / "data/tldr/manifest.json", {"domain": "tldr", "source": "embedded"})
    with pytest.raises(
        DataError, match="does not say what it was made with, as that of an older version; make it again"
    ):
        check_inputs(place, config)


def test_other_models_are_refused(place, config):
    with pytest.raises(
        ModelError, match=r"models/tldr/scratch was made with hidden \d+, this run says 48; .*make_model"
    ):
        check_inputs(place, merge(config, {"models": {"scratch": {"hidden": 48}}}))
    with pytest.raises(ModelError, match='made with revision "1", this run says "2"'):
        check_inputs(place, merge(config, {"revision": "2"}))
    (place / "data/tldr/train.jsonl").write_text('{"id": "a", "domain": "tldr", "fields": {}}\n')
    with pytest.raises(ModelError, match=r"scratch was made with training rows of digest \"\w+\", this run says"):
        check_inputs(place, config)


@pytest.mark.parametrize(
    ("change", "method", "message"),
    [
        ({"domain": {"tldr": {"warm_start": {"noise": 0.25}}}}, "warm_start", r"made with warm_start\.noise"),
        ({"defaults": {"team": {"lora": {"rank": 3}}}}, "warm_start", r"team\.lora\.rank \d+, this run says 3"),
        ({"defaults": {"rollout": {"temperature": 0.5}}}, "collm_cc", r"rollout\.temperature .*, this run says 0\.5"),
        ({"models": {"scratch": {"hidden": 48}}}, "collm_cc", r"models\.scratch\.hidden"),
        (SEED, "collm_cc", r"seed0 was made with data\.seed 0, this run says 1; .*train.py --domain tldr --method c"),
    ],
)
def test_other_runs_are_refused(place, config, change, method, message):
    with pytest.raises(ModelError, match=message):
        check_run(place, merge(config, change), method)


def test_many_changes_are_counted(place, config):
    lora = {"defaults": {"team": {"lora": {"rank": 3, "alpha": 9}, "adapter": "full"}, "rollout": {"temperature": 0.5}}}
    with pytest.raises(ModelError, match=r"\(and \d+ more\); make it again"):
        check_run(place, merge(config, {**lora, **SEED}), "collm_cc")


@pytest.mark.parametrize("stage", [make_model, warm_start, train, evaluate])
def test_every_stage_refuses_other_data(place, stage, capsys):
    (place / "other.yaml").write_text(yaml.safe_dump(SEED))
    arguments = ["--config", DEFAULT, "other.yaml", "--domain", "tldr"]
    arguments += {make_model: ["--model", "scratch"], warm_start: []}.get(stage, ["--method", "collm_cc"])
    assert cli.run(stage.main, arguments) == cli.USER_ERROR
    assert "data/tldr was made with data.seed 0, this run says 1" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "made"), [(train, "warm_start"), (evaluate, "collm_cc")])
def test_adapters_of_another_configuration_are_refused(place, stage, made, config, capsys):
    run = place / "results/tldr" / made / "seed0/run.json"
    write_json(run, {"config": resolve_settings(merge(config, SEED), "tldr", made)})
    arguments = ["--config", DEFAULT, "--domain", "tldr", "--method", "collm_cc"]
    assert cli.run(stage.main, arguments) == cli.USER_ERROR
    assert f"results/tldr/{made}/seed0 was made with data.seed 1, this run says 0" in capsys.readouterr().err
