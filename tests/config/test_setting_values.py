"""Values that would fail in a job are refused, or understood, before the first one."""

from __future__ import annotations

import copy

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config.job import digest
from collm.config.load import check_config, load_config
from collm.config.numbers import whole_numbers
from collm.config.resolve import resolve_job, resolve_settings
from collm.domains import NAMES

DEFAULT = ROOT / "config" / "config.yaml"


@pytest.fixture(scope="module")
def default():
    return load_config([DEFAULT])


@pytest.fixture
def overlay(tmp_path):
    """Loads the default configuration with an overlay on top."""

    def load(text):
        (tmp_path / "overlay.yaml").write_text(text)
        return load_config([DEFAULT, tmp_path / "overlay.yaml"])

    return load


def refused(overlay, text):
    with pytest.raises(ConfigError) as error:
        overlay(text)
    message = str(error.value)
    assert "\n" not in message
    return message


# whole numbers


def as_floats(value):
    """The same configuration with every whole number written as a float, seeds aside."""
    if isinstance(value, dict):
        return {key: inner if key == "seeds" else as_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def kinds(value):
    """The same structure with the names of types in place of values."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    return [kinds(entry) for entry in value] if isinstance(value, list) else type(value).__name__


def test_whole_numbers_that_are_written_as_floats_are_integers(default):
    written = as_floats(default)
    assert type(written["defaults"]["training"]["minibatch_size"]) is float
    check_config(written)
    assert type(whole_numbers(written)["report"]["resamples"]) is int
    for domain in NAMES:
        for method in ("magrpo", "collm_cc", "raw"):
            expected, settings = (resolve_settings(config, domain, method) for config in (default, written))
            assert settings == expected
            expected["team"]["lora"]["alpha"] = float(expected["team"]["lora"]["alpha"])
            differing = {key for key in expected if kinds(settings[key]) != kinds(expected[key])}
            assert differing <= {"options"}, domain
            for key, value in expected["options"].items():
                assert type(value) is type(settings["options"][key]) or isinstance(settings["options"][key], float)


def test_how_a_whole_number_is_written_does_not_change_a_job(overlay):
    two, decimal = (overlay(f"defaults: {{training: {{max_updates: {text}}}}}") for text in ("3", "3.0"))
    assert digest(resolve_settings(two, "algebra", "ac")) == digest(resolve_settings(decimal, "algebra", "ac"))
    assert type(resolve_job(decimal, "algebra", "ac").training.max_updates) is int


def test_options_and_models_are_whole_numbers_too(overlay):
    merged = overlay(
        "models: {scratch: {vocabulary: 600.0, per_domain: {tldr: {pretrain: {steps: 7.0}}}}}\n"
        "domain: {str_build: {options: {generated: 20.0, difficulty: [1.0]}}}\n"
    )
    model = resolve_settings(merged, "tldr")["models"]["scratch"]
    assert (repr(model["vocabulary"]), repr(model["pretrain"]["steps"])) == ("600", "7")
    options = resolve_settings(merged, "str_build")["options"]
    assert (repr(options["generated"]), repr(options["difficulty"])) == ("20", "[1]")


@pytest.mark.parametrize("value", [2.5, "2.5", True, [2], {}])
def test_what_is_no_whole_number_is_refused(overlay, default, value):
    config = copy.deepcopy(default)
    config["defaults"]["training"]["minibatch_size"] = value
    with pytest.raises(ConfigError, match="defaults.training.minibatch_size: .* is refused"):
        check_config(config)


# numbers that are none


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("defaults: {training: {agent_learning_rate: %s}}", "defaults.training.agent_learning_rate"),
        ("defaults: {rollout: {reward_shift: %s}}", "defaults.rollout.reward_shift"),
        ("defaults: {team: {lora: {alpha: %s}}}", "defaults.team.lora.alpha"),
        ("domain: {tldr: {methods: {magrpo: {rollout: {top_p: %s}}}}}", "domain.tldr.methods.magrpo.rollout.top_p"),
        ("domain: {coophe: {options: {check_seconds: %s}}}", "domain.coophe.options.check_seconds"),
        ("models: {scratch: {pretrain: {learning_rate: %s}}}", "models.scratch.pretrain.learning_rate"),
        ("defaults: {training: {epochs: %s}}", "defaults.training.epochs"),
        ("seeds: [0, %s]", "seeds"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_key(overlay, text, key, number):
    assert refused(overlay, text % number).startswith(f"{key}: {number} is refused")


def test_numbers_beyond_computers_are_refused(overlay):
    assert "defaults.training.epochs: a number of 31 digits" in refused(
        overlay, f"defaults: {{training: {{epochs: 1{'0' * 30}}}}}"
    )


# axes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: []\nbaselines: []", "methods and baselines are both empty, so there is nothing to run"),
        ("domains: []", "domains: [] is refused: it is empty; name at least one"),
        ("seeds: []", "seeds: [] is refused: it is empty; name at least one"),
        ("seeds: [1, 0, 1]", "seeds: 1 stands twice; name each once"),
        ("domains: [tldr, tldr]", "domains: 'tldr' stands twice; name each once"),
        ("methods: [ac, ac]", "methods: 'ac' stands twice; name each once"),
        ("baselines: [raw, raw]", "baselines: 'raw' stands twice; name each once"),
        ("domain: {str_build: {options: {difficulty: []}}}", "domain.str_build.options.difficulty: [] is refused"),
        ("defaults: {team: {lora: {targets: []}}}", "defaults.team.lora.targets: [] is refused: it is empty"),
        ("defaults: {team: {agents: []}}", "defaults.team.agents: [] is refused: it is empty"),
        (
            "methods: []\nbaselines: [warm_start]\ndefaults: {warm_start: {enabled: false}}",
            "tldr: no row is left to run: warm_start.enabled is false",
        ),
        ("models: {mine: {source: hub}}", "models.mine: source hub needs the key id; write models.mine.id"),
        ("models: {mine: {source: wheel}}", "models.mine: source wheel needs the key package"),
        ("models: {mine: {source: folder, path: ''}}", "models.mine: source folder needs the key path"),
        ("models: {mine: {source: scratch}}", "models.mine: source scratch needs the key layers"),
        ("models: {scratch: {hidden: 130}}", "models.scratch.hidden is 130 with 4 heads"),
        ("domain: {tldr: {rollout: {turns: 2}}}", "tldr/magrpo: rollout.turns is 2; at most 1 is possible in tldr"),
    ],
)
def test_lists_and_models_that_no_job_could_use(overlay, text, message):
    assert refused(overlay, text).startswith(message)


def test_no_method_or_no_baseline_is_fine(overlay):
    assert overlay("methods: []\nbaselines: [parallel]")["methods"] == []
    assert overlay("methods: [ac]\nbaselines: []")["baselines"] == []


# teams


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("models", ["[scratch]", "[scratch, scratch, scratch]"])
def test_a_list_of_models_of_another_length_is_refused_by_key(overlay, name, models):
    message = refused(overlay, f"domains: [{name}]\ndomain: {{{name}: {{team: {{agents: {models}}}}}}}")
    number = models.count("scratch")
    assert message.startswith(f"{name}/magrpo: team.agents names {number} models for team.num_agents 2; give one name")


def test_the_warm_start_that_a_method_starts_from_is_checked_too(overlay):
    message = refused(
        overlay,
        "domains: [tldr]\nmethods: [magrpo]\nbaselines: []\n"
        "domain: {tldr: {rollout: {turns: 2}, methods: {magrpo: {rollout: {turns: 1}}}}}",
    )
    assert message.startswith("tldr/warm_start: rollout.turns is 2; at most 1 is possible in tldr")


def test_a_list_of_models_for_one_agent_alone_is_refused_by_key(overlay):
    message = refused(overlay, "domains: [tldr]\nbaselines: [raw]\ndefaults: {team: {agents: [scratch, scratch]}}")
    assert message.startswith("tldr/raw: team.agents names 2 models for team.num_agents 1")
    assert message.endswith("raw is one agent alone: set methods.grpo.team.agents to one name")
