"""Configuration: overlays, messages that name key, value and nearest key, and every shipped file."""

from __future__ import annotations

import json

import pytest
import yaml
from support.configurations import DEFAULT, SHIPPED, refused
from support.places import ROOT

from collm import domains
from collm.common.errors import ConfigError
from collm.config.job import build_domain, digest
from collm.config.load import check_config, load_config
from collm.config.resolve import merge, resolve_job, resolve_settings, starts_from
from collm.domains import NAMES
from collm.methods.registry import METHODS, ROWS

# shipped files


def suits(agents: str | list[str], domain: str) -> bool:
    """Whether a domain can be played by these agents: one model for any number of them, or a list with one for each."""
    sizes = domains.get(domain).team_sizes
    return isinstance(agents, str) or sizes is None or len(agents) in sizes


@pytest.mark.parametrize("file", [None, *SHIPPED], ids=lambda path: "default" if path is None else path.name)
def test_every_shipped_file_resolves_for_all_its_jobs(file):
    merged = load_config([DEFAULT] if file is None else [DEFAULT, file])
    merged["domains"] = [name for name in NAMES if suits(merged["defaults"]["team"]["agents"], name)]
    check_config(merged)
    for domain in merged["domains"]:
        for method in [*merged["methods"], *merged["baselines"]]:
            job = resolve_job(merged, domain, method)
            assert (job.domain, job.method) == (domain, method)
            assert len(job.team.agents) == job.team.num_agents
            if not ROWS[method].single:  # some benchmarks cannot be played by one agent alone
                assert build_domain(job).num_agents == job.team.num_agents
            assert set(job.models) == {*job.team.agents, job.team.critic}
            assert job.raw["training"]["agent_learning_rate"] == job.training.agent_learning_rate < 0.1


def test_the_default_file_alone_is_complete():
    merged = load_config([DEFAULT])
    assert yaml.safe_load(DEFAULT.read_text())["defaults"]["training"] == merged["defaults"]["training"]


# merging and resolving


def test_merge_is_deep_and_replaces_lists():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(base, {"a": {"c": [9]}, "e": None}) == {"a": {"b": 1, "c": [9]}, "d": 3, "e": None}
    assert merge({"a": {"b": 1}}, {"a": 5}) == {"a": 5}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_layers_win_in_order(overlay):
    merged = overlay(
        "defaults: {training: {epochs: 11, minibatch_size: 12}, methods: {magrpo: {training: {epochs: 22}}}}\n"
        "domain: {tldr: {training: {epochs: 33}, methods: {magrpo: {training: {epochs: 44}}}}}\n"
    )
    epochs = {
        (domain, method): resolve_job(merged, domain, method).training.epochs
        for domain in ("tldr", "str_build")
        for method in ("magrpo", "collm_cc")
    }
    assert epochs["tldr", "magrpo"] == 44
    own = merged["domain"]["str_build"]
    expected = own.get("methods", {}).get("collm_cc", {}).get("training", {}).get("epochs")
    expected = expected or own.get("training", {}).get("epochs")
    if expected is None:
        assert epochs["str_build", "collm_cc"] == 11
    assert resolve_job(merged, "tldr", "collm_dc").warm_start == resolve_job(merged, "tldr", "warm_start").warm_start


def test_models_from_scratch_differ_per_domain(overlay):
    own = "per_domain: {tldr: {vocabulary: 600, pretrain: {steps: 7}}, arxiv: {pretrain: {steps: 80}}}"
    merged = overlay(f"models: {{scratch: {{vocabulary: 900, {own}}}}}")
    models = {name: resolve_job(merged, name).models["scratch"] for name in ("tldr", "arxiv")}
    assert (models["tldr"]["vocabulary"], models["arxiv"]["vocabulary"]) == (600, 900)
    assert models["tldr"]["pretrain"] == {**models["arxiv"]["pretrain"], "steps": 7}
    assert "per_domain" not in models["tldr"]


def test_models_that_domains_share_differ_for_none(overlay):
    message = refused(overlay, "models: {scratch: {source: wheel, package: some}}")
    assert "models.scratch.per_domain" in message and "domain.<name>.team.agents" in message
    message = refused(overlay, "models: {scratch: {per_domain: {algebar: {vocabulary: 600}}}}")
    assert "algebar" in message and "algebra" in message


def test_methods_alike_share_settings(overlay):
    merged = overlay(
        "methods: [magrpo, mareinforce, grpo, ac, collm_dc]\nbaselines: [raw, parallel, warm_start_single]\n"
        "defaults: {methods: {magrpo: {training: {epochs: 22}}, mareinforce: {training: {update_epochs: 3}}}}\n"
        "domain: {tldr: {methods: {magrpo: {training: {epochs: 44}}, collm_dc: {rollout: {temperature: 0.5}}}}}\n"
    )
    jobs = {name: resolve_job(merged, "tldr", name) for name in [*merged["methods"], *merged["baselines"]]}
    epochs = {name: jobs[name].training.epochs for name in ("magrpo", "mareinforce", "grpo")}
    assert epochs == {"magrpo": 44, "mareinforce": 44, "grpo": 44}
    assert (jobs["magrpo"].training.update_epochs, jobs["mareinforce"].training.update_epochs) == (1, 3)
    assert jobs["ac"].rollout.temperature == 0.5
    for name in ("grpo", "ac", "raw", "warm_start_single"):
        assert (jobs[name].team.num_agents, jobs[name].team.agents) == (1, ("scratch",))
        assert resolve_job(merged, "str_build", name).rollout.turns == 1
    assert (jobs["parallel"].team.num_agents, resolve_job(merged, "str_build", "parallel").rollout.turns) == (2, 2)


def test_one_agent_alone_keeps_to_what_the_defaults_say_of_it(overlay):
    merged = overlay(
        "domains: [str_build, house_build]\n"
        "domain: {str_build: {training: {epochs: 5}, rollout: {turns: 3}, team: {num_agents: 2}},\n"
        "         house_build: {methods: {magrpo: {training: {epochs: 6}}, ac: {rollout: {turns: 2}}}}}\n"
        "defaults: {methods: {magrpo: {rollout: {turns: 4}}}}\n"
    )
    for name in ("grpo", "ac", "raw", "warm_start_single"):
        job = resolve_job(merged, "str_build", name)
        assert (job.team.num_agents, job.rollout.turns) == (1, 1)
    assert resolve_job(merged, "str_build", "ac").training.epochs == 5
    assert resolve_job(merged, "str_build", "magrpo").rollout.turns == 3
    assert resolve_job(merged, "house_build", "ac").rollout.turns == 2
    assert resolve_job(merged, "house_build", "grpo").training.epochs == 6


def test_every_option_but_one_has_the_papers_choice_as_default():
    """Critics that are new explain nothing, so that their targets are returns (docs/stability.md)."""
    training, rollout = (load_config([DEFAULT])["defaults"][block] for block in ("training", "rollout"))
    assert (training["critic_type"], training["td_lambda"], training["shared_backbone"]) == ("v", 1.0, False)
    assert (training["value_clip"], training["ratio_clip"], training["advantage_clip"]) == (None, None, None)
    assert (training["kl_coefficient"], training["entropy_coefficient"]) == (0.0, 0.0)
    assert (rollout["joint_mode"], training["global_information"]) == ("aligned", True)


def test_what_a_method_starts_from():
    assert {name: starts_from(name, True) for name in METHODS} == {
        **dict.fromkeys(METHODS, "warm_start"),
        "grpo": "warm_start_single",
        "ac": "warm_start_single",
    }
    assert starts_from("grpo", False) is None


# files and layers


def test_later_files_win(tmp_path):
    (tmp_path / "one.yaml").write_text("seeds: [1, 2]\nprofile: released\n")
    (tmp_path / "two.json").write_text('{"seeds": [7]}')
    merged = load_config([DEFAULT, tmp_path / "one.yaml", tmp_path / "two.json"])
    assert (merged["seeds"], merged["profile"]) == ([7], "released")


def test_a_resolved_file_loads_again(tmp_path):
    merged = load_config([DEFAULT])
    (tmp_path / "config.json").write_text(json.dumps(merged))
    assert load_config([tmp_path / "config.json"]) == merged


def test_resolving_does_not_change_the_configuration():
    merged = load_config([DEFAULT])
    before = digest(merged)
    resolve_settings(merged, "tldr", "magrpo")["training"]["epochs"] = 99
    assert digest(merged) == before


def test_one_model_name_serves_all_agents(overlay):
    assert resolve_job(overlay(""" seeds: [0] """), "tldr", "magrpo").team.agents == ("scratch", "scratch")


# messages


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("domain: {tldr: {rolout: {turns: 2}}}", ["domain.tldr.rolout", "{'turns': 2}", "did you mean 'rollout'?"]),
        (
            "defaults: {training: {learning_rate: 0.1}}",
            ["unknown key defaults.training.learning_rate", "value 0.1", "'agent_learning_rate'"],
        ),
        ("seed: 1", ["unknown key seed", "value 1", "did you mean 'seeds'?"]),
        ("domain: {str_build: {options: {feedbak: score}}}", ["feedbak", "did you mean 'feedback'?"]),
        ("domain: {str_build: {options: {feedback: postion}}}", ["'postion' is not allowed", "'position'"]),
        ("methods: [colm_cc]", ["methods.0", "'colm_cc' is not allowed", "did you mean 'collm_cc'?"]),
        ("domains: [tdlr]", ["domains.0", "'tdlr'", "did you mean 'tldr'?"]),
        ("semantics: peer", ["semantics", "'peer' is not allowed", "paper"]),
        ("defaults: {rollout: {turns: two}}", ["defaults.rollout.turns", "'two' is refused", "integer"]),
        ("defaults: {rollout: {turns: 0}}", ["defaults.rollout.turns", "0 is refused", "minimum of 1"]),
        ("defaults: {rollout: {turns: 1.5}}", ["defaults.rollout.turns", "1.5 is refused"]),
        ("defaults: {team: {adapter: qlora}}", ["defaults.team.adapter", "'qlora'", "did you mean 'lora'?"]),
        ("defaults: {team: {agents: smol}}", ["unknown model 'smol'", "known: scratch"]),
        ("defaults: {team: {agents: [scratch]}}", ["names 1 models for team.num_agents 2"]),
        ("data: {source: path}", ["data.source is 'path' but data.path is empty"]),
        ("data: null", ["data: None is refused"]),
        (
            "domain: {tldr: {methods: {magrpo: {rollout: {generations: 1}}}}}",
            ["magrpo: rollout.generations is 1", "at least 2"],
        ),
        (
            "defaults: {methods: {magrpo: {rollout: {generations: 5}}}}\n"
            "domain: {tldr: {methods: {magrpo: {rollout: {generations: 5}, training: {minibatch_size: 12}}}}}",
            ["tldr/magrpo: training.minibatch_size 12 is no multiple of rollout.generations 5"],
        ),
        (
            "methods: [marloo]\n"
            "domain: {tldr: {rollout: {joint_mode: cross}, methods: {magrpo: {training: {minibatch_size: 8}}}}}",
            ["tldr/marloo: training.minibatch_size 8 is no multiple", "generations 4 to the power of 2 agents (16)"],
        ),
        (
            "methods: [ac]\ndefaults: {team: {num_agents: 2}, methods: {ac: {team: {num_agents: 2}}}}",
            ["tldr/ac: team.num_agents is 2; ac is one agent alone", "methods.ac.team.num_agents to 1"],
        ),
        (
            "defaults: {training: {shared_backbone: true}}",
            ["collm_cc: training.shared_backbone is true", "set it under methods.collm_dc"],
        ),
        (
            "semantics: released\ndefaults: {training: {value_clip: 0.2}}",
            ["training.value_clip is 0.2", "set it to null or training.shared_backbone to true"],
        ),
        (
            "defaults: {rollout: {top_p: 0.9}, training: {kl_coefficient: 0.1, score: sampled}}",
            ["training.score is sampled with training.kl_coefficient 0.1 and rollout.top_p 0.9", "set score to raw"],
        ),
        (
            "defaults: {team: {adapter: full}, training: {kl_coefficient: 0.1}}",
            ["training.kl_coefficient is 0.1 with team.adapter full", "use team.adapter lora or set it to 0"],
        ),
        (
            "defaults: {team: {adapter: full}, training: {together: seeds}}",
            ["training.together is seeds with team.adapter full", "use team.adapter lora, or set training.together to"],
        ),
        (
            "report: {tracker: wandb}\ndefaults: {training: {together: all}}",
            ["training.together is all with report.tracker wandb", "use tensorboard or none"],
        ),
        (
            "domain: {tldr: {methods: {collm_cc: {training: {together: methods}}}}}",
            ["tldr: training.together is none for magrpo and methods for collm_cc", "set it under defaults"],
        ),
        (
            "defaults: {training: {together: methods}}\n"
            "domain: {tldr: {methods: {collm_cc: {team: {precision: bf16}}}}}",
            ["tldr: training.together is methods, and team.precision is fp32 for magrpo and bf16 for collm_cc"],
        ),
        (
            "defaults: {warm_start: {source: best_of_n}}\n"
            "domain: {tldr: {warm_start: {enabled: true, source: best_of_n}}}",
            ["best_of_n needs a pretrained model", "use demonstrations"],
        ),
    ],
)
def test_messages(overlay, text, parts):
    message = refused(overlay, text)
    for part in parts:
        assert part in message
    assert "\n" not in message


# rewards, shifts and thresholds


@pytest.mark.parametrize(("profile", "shift"), [("paper", -2.0), ("released", -1.0)])
def test_a_null_shift_is_minus_the_best_reward(overlay, profile, shift):
    merged = overlay(f"domains: [house_build]\nprofile: {profile}\n")
    job = resolve_job(merged, "house_build")
    assert job.rollout.reward_shift == shift == job.raw["rollout"]["reward_shift"]
    scaled = overlay(
        f"domains: [house_build]\nprofile: {profile}\ndomain: {{house_build: {{rollout: {{reward_scale: 0.5}}}}}}"
    )
    assert resolve_job(scaled, "house_build").rollout.reward_shift == shift / 2


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("name", NAMES)
def test_the_default_shift_and_threshold_of_every_domain_suit_both_profiles(overlay, name, profile):
    merged = overlay(f"domains: [{name}]\nprofile: {profile}\n")
    rollout = resolve_job(merged, name).rollout
    assert rollout.reward_shift <= 0 or rollout.early_stop is None


@pytest.mark.parametrize(
    ("rollout", "profile", "words"),
    [
        ("reward_shift: -2.0", "released", ["house_build/magrpo: rollout.early_stop -0.1 is never passed", "-1;"]),
        ("early_stop: 0.0", "paper", ["early_stop 0 is never passed", "set reward_shift to null"]),
        ("early_stop: -99.0", "released", ["early_stop -99 is always passed", "between -0.1 and 1", "-1.1 and 0;"]),
        ("reward_scale: -1.0", "released", ["is always passed"]),
    ],
)
def test_a_threshold_that_is_never_or_always_passed_is_refused(overlay, rollout, profile, words):
    text = f"domains: [house_build]\nprofile: {profile}\ndomain: {{house_build: {{rollout: {{{rollout}}}}}}}"
    message = refused(overlay, text)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("value", ["5e-6", "1e3", "'0.5'"])
def test_the_exponent_trap(overlay, value):
    message = refused(overlay, f"defaults: {{training: {{agent_learning_rate: {value}}}}}")
    assert "defaults.training.agent_learning_rate" in message
    assert "YAML reads 5e-6 as text, write 5.0e-6" in message


def test_a_decimal_point_makes_it_a_number(overlay):
    merged = overlay("defaults: {training: {critic_learning_rate: 5.0e-6, gradient_clip: null}}")
    assert merged["defaults"]["training"]["critic_learning_rate"] == 5e-6


def test_overlay_alone_says_what_to_do(tmp_path):
    (tmp_path / "alone.yaml").write_text("seeds: [0]\n")
    with pytest.raises(ConfigError, match="key domains is missing; start from config/config.yaml"):
        load_config([tmp_path / "alone.yaml"])


@pytest.mark.parametrize(
    ("block", "key", "named"),
    [
        ("training", "epochs", "training.epochs is not set"),
        ("team", "lora", "team.lora is not set"),
        ("evaluation", "samples", "evaluation.samples is not set"),
    ],
)
def test_a_key_that_no_file_sets(tmp_path, block, key, named):
    merged = load_config([DEFAULT])
    del merged["defaults"][block][key]
    for own in merged["domain"].values():
        own.get(block, {}).pop(key, None)
    (tmp_path / "less.yaml").write_text(yaml.safe_dump(merged))
    with pytest.raises(ConfigError, match=f"tldr: {named}; start from config/config.yaml"):
        load_config([tmp_path / "less.yaml"])


@pytest.mark.parametrize("key", ["source", "path", "seed"])
def test_data_keys_are_needed(tmp_path, key):
    merged = load_config([DEFAULT])
    del merged["data"][key]
    (tmp_path / "less.yaml").write_text(yaml.safe_dump(merged))
    with pytest.raises(ConfigError, match=f"data: key {key} is missing"):
        load_config([tmp_path / "less.yaml"])


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.yaml is not there; the default one is config/config.yaml"):
        load_config([tmp_path / "nothing.yaml"])
    for text, words in (("a: [1", "is not valid YAML"), ("- 1", "holds no mapping"), ("", "holds no mapping")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            load_config([DEFAULT, tmp_path / "bad.yaml"])


def test_unknown_job():
    merged = load_config([DEFAULT])
    with pytest.raises(ConfigError, match=r"unknown domain 'tdlr' \(did you mean 'tldr'\?\); known: tldr, "):
        resolve_job(merged, "tdlr")
    with pytest.raises(ConfigError, match=r"unknown method 'magrop' \(did you mean 'magrpo'\?\)"):
        resolve_job(merged, "tldr", "magrop")


def test_digest_sees_values_not_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert len(digest({})) == 16


def test_json_numbers_with_exponents_are_numbers(tmp_path):
    merged = load_config([DEFAULT])
    merged["defaults"]["training"]["agent_learning_rate"] = 5e-06
    file = tmp_path / "config.json"
    file.write_text(json.dumps(merged))
    assert load_config([file])["defaults"]["training"]["agent_learning_rate"] == 5e-06


def test_the_papers_rates_for_lora_are_twenty_times_those_for_whole_copies():
    """docs/paper_index.md: the factor at which both move alike, measured on SmolLM2-135M."""
    files = [ROOT / "config" / name for name in ("config.yaml", "paper.yaml", "paper_full.yaml")]
    lora, full = load_config(files[:2]), load_config(files)
    for domain in full["domains"]:
        for method in full["methods"]:
            adapters, copies = (resolve_job(config, domain, method) for config in (lora, full))
            assert (adapters.team.adapter, copies.team.adapter) == ("lora", "full")
            for rate in ("agent_learning_rate", "critic_learning_rate"):
                paper = getattr(copies.training, rate)
                assert getattr(adapters.training, rate) == pytest.approx(20 * paper), (domain, method, rate)
