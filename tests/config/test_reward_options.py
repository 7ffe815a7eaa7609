"""Weights and reward functions in the configuration: refused early, kept out where they change nothing, depended on."""

from __future__ import annotations

import sys

import pytest
import yaml
from support.configurations import refused

from collm.config.checks import reward_bounds
from collm.config.job import build_domain
from collm.config.resolve import resolve_job, resolve_settings
from collm.domains import NAMES
from collm.domains.options import COMMON
from collm.pipeline import code_version, variants
from collm.pipeline.dependencies import DEPENDS, stage_settings

FUNCTION = """
from collm.domains.reward import reward_parts

@reward_parts(brief=(0.0, 0.5))
def brief(turn):
    return {"brief": 0.5 if len(turn.answers[0]) < 80 else 0.0}
"""
RUN = "domains: [tldr]\nmethods: [collm_cc]\nbaselines: [warm_start_single]\n"
OPTIONS = "domain: {tldr: {options: %s}}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a reward function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_config_reward.py").write_text(FUNCTION)
    reward_bounds.__globals__["_reward_bounds"].cache_clear()
    yield tmp_path
    sys.modules.pop("my_config_reward", None)


@pytest.mark.parametrize("domain", NAMES)
def test_at_their_defaults_they_are_not_there(overlay, domain):
    options = yaml.safe_dump(COMMON, default_flow_style=True, width=1000).strip()
    text = f"domains: [{domain}]\n"
    plain, same = overlay(text), overlay(text + f"domain: {{{domain}: {{options: {options}}}}}")
    settings = resolve_settings(plain, domain)
    assert not set(COMMON) & set(settings["options"])
    assert resolve_settings(same, domain)["options"] == settings["options"]
    for stage in DEPENDS:
        assert stage_settings(stage, resolve_settings(same, domain)) == stage_settings(stage, settings)


def test_a_weight_trains_again_and_leaves_data_and_scratch_models(here, overlay):
    plain = resolve_settings(overlay(RUN), "tldr", "collm_cc")
    for options in ("{weights: {style: 0.5}}", "{reward: 'my_config_reward:brief'}"):
        other = resolve_settings(overlay(RUN + OPTIONS % options), "tldr", "collm_cc")
        differ = [stage for stage in DEPENDS if stage_settings(stage, plain) != stage_settings(stage, other)]
        assert differ == ["warm_start", "train", "evaluate"]
    assert stage_settings("train", other)["options.reward"] == "my_config_reward:brief"


def test_the_shift_follows_the_best_reward(here, overlay):
    options = "{weights: {style: 2}, reward: 'my_config_reward:brief'}"
    text = RUN + "defaults: {rollout: {reward_shift: null}}\n"
    for method in ("collm_cc", "warm_start_single"):
        job = resolve_job(overlay(text + OPTIONS % options), "tldr", method)
        assert job.options["weights"] == {"style": 2} and build_domain(job).max_reward == 4.5
    assert resolve_job(overlay(text), "tldr", "collm_cc").rollout.reward_shift == -3.0 * job.rollout.reward_scale
    assert (
        resolve_job(overlay(text + OPTIONS % options), "tldr").rollout.reward_shift == -4.5 * job.rollout.reward_scale
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OPTIONS % "{weights: {styles: 0}}", "domain.tldr.options.weights.styles: unknown part; did you mean 'style'?"),
        (OPTIONS % "{weights: {style: much}}", "domain.tldr.options.weights.style"),
        (OPTIONS % "{weights: 2}", "domain.tldr.options.weights: 2 is refused"),
        (OPTIONS % "{reward: 'my_configs:brief'}", "domain.tldr.options.reward: there is no module 'my_configs'"),
        (OPTIONS % "{reward: 'my_config_reward:brie'}", "domain.tldr.options.reward: module 'my_config_reward' has no"),
        (OPTIONS % "{reward_mode: join}", "domain.tldr.options.reward_mode: 'join' is not allowed"),
        (OPTIONS % "{reward_mode: replace}", "domain.tldr.options.reward_mode is replace without a reward"),
        (
            "domains: [str_build]\ndomain: {str_build: {options: {weights: {palette: 0}}}}",
            "domain.str_build.options.weights.palette: unknown part; Allowed: adjacency, coverage, extra (profile",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(here, overlay, text, said):
    assert refused(overlay, text if "domains:" in text else RUN + text).startswith(said)


def test_the_released_profile_has_its_own_parts(overlay):
    text = "domains: [str_build]\nprofile: released\ndomain: {str_build: {options: {weights: {palette: 0}}}}"
    domain = build_domain(resolve_job(overlay(text), "str_build", "collm_cc"))
    assert domain.min_reward == -2.5 and domain.parts["palette"] == (0.0, 0.0)


def test_variants_may_differ_in_weights(overlay):
    text = RUN + "variants: {all: {}, plain: {domain: {tldr: {options: {weights: {style: 0}}}}}}"
    each = variants.each(overlay(text))
    best = {name: build_domain(resolve_job(own, "tldr", "collm_cc")).max_reward for name, own in each.items()}
    assert best == {"all": 3.0, "plain": 2.0}


def test_the_functions_module_belongs_to_the_code_of_a_run(here):
    def now(**options):
        return code_version.modules("train", "tldr", options=options)

    plain, with_weights = now(weights={}), now(weights={"style": 0})
    assert plain == code_version.modules("train", "tldr")
    assert code_version.changed(plain, with_weights) == ["collm.domains.reward"]
    sys.path.append(str(here))
    before = now(reward="my_config_reward:brief")
    assert code_version.changed(with_weights, before) == ["my_config_reward"]
    (here / "my_config_reward.py").write_text(FUNCTION + "# a comment\n")
    assert now(reward="my_config_reward:brief") == before
    (here / "my_config_reward.py").write_text(FUNCTION.replace("< 80", "< 90"))
    assert code_version.changed(before, now(reward="my_config_reward:brief")) == ["my_config_reward"]
