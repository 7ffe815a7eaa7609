"""Options of the learner that the paper does not have: who turns them off, and what they refuse."""

from __future__ import annotations

import pytest
import yaml
from support.configurations import DEFAULT, refused
from support.places import ROOT

from collm.config.checks import fixed_in_words
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.domains import NAMES
from collm.methods.registry import METHODS

OFF = {
    "loss_per": "sequence",
    "importance_ratio": "product",
    "negative_weight": 1.0,
    "divergence_limit": None,
    "ratio_clip": None,
    "lambda_follows_critic": False,
    "critic_steps": 1,
    "critic_warm_up": 0,
    "rate_warm_up": 0,
    "rate_decay": "none",
    "kl_coefficient": 0.0,
    "entropy_coefficient": 0.0,
    "entropy_floor": None,
    "entropy_ceiling": None,
}
ON = {
    "loss_per": "token",
    "importance_ratio": "geometric",
    "negative_weight": 0.5,
    "divergence_limit": 0.05,
    "ratio_clip": 0.2,
    "lambda_follows_critic": True,
    "critic_steps": 3,
    "critic_warm_up": 2,
    "rate_warm_up": 5,
    "rate_decay": "cosine",
    "kl_coefficient": 0.01,
    "entropy_coefficient": 0.01,
    "entropy_floor": 0.2,
    "entropy_ceiling": 3.0,
}
PAPER = ["paper.yaml"], ["paper.yaml", "paper_full.yaml"]
IN_SMALL = ["smol.yaml"], ["mixed.yaml"]


def options_of(job):
    return {key: getattr(job.training, key) for key in OFF}


@pytest.fixture(scope="module")
def turned_on(tmp_path_factory):
    """The default configuration with every option on."""
    whole = yaml.safe_load(DEFAULT.read_text())
    whole["defaults"]["training"] |= ON
    file = tmp_path_factory.mktemp("on") / "config.yaml"
    file.write_text(yaml.safe_dump(whole, sort_keys=False))
    merged = load_config([file])
    assert options_of(resolve_job(merged, "algebra", "collm_cc")) == ON
    return file


@pytest.mark.parametrize("files", [*PAPER, *IN_SMALL], ids=lambda files: files[-1])
@pytest.mark.parametrize("default", ["as it is", "all on"])
def test_overlays_have_them_off_whatever_the_default_says(turned_on, files, default):
    start = DEFAULT if default == "as it is" else turned_on
    merged = load_config([start, *(ROOT / "config" / name for name in files)])
    domains = NAMES if files in PAPER else merged["domains"]
    methods = METHODS if files in PAPER else merged["methods"]
    for domain in domains:
        for method in methods:
            job = resolve_job(merged, domain, method)
            assert options_of(job) == OFF, (domain, method)
            assert files not in PAPER or (job.training.td_lambda, job.training.value_clip) == (0.0, None)


def test_the_miniature_and_the_demo_are_the_default_run_with_other_rows_and_seeds():
    less = {"defaults": {"training": {"together": "methods"}, "evaluation": {"samples": 2}}}
    less["domain"] = {"tldr": {"evaluation": {"samples": 3}}}
    for name, more in (("miniature.yaml", {}), ("demo.yaml", less)):
        own = yaml.safe_load((ROOT / "config" / name).read_text())
        rows = {key: own.pop(key) for key in ("domains", "methods", "baselines", "seeds")}
        assert all(rows.values()) and own == more, f"{name}: what else it says must not change what a run learns"


def test_released_turns_all_of_them_off_and_says_so(overlay):
    own = yaml.safe_dump({"training": ON}, default_flow_style=True, width=1000).strip()
    merged = overlay(f"semantics: released\ndefaults: {own}")
    job = resolve_job(merged, "tldr", "collm_cc")
    assert options_of(job) == OFF == {key: job.raw["training"][key] for key in OFF}
    assert {key: job.raw["fixed"][f"training.{key}"] for key in ON} == ON
    line = fixed_in_words(job)
    for key, value in ON.items():
        assert f"training.{key} {OFF[key]} (configured: {value})" in line


@pytest.mark.parametrize(
    ("training", "parts"),
    [
        (
            "shared_backbone: true, critic_steps: 2",
            [
                "collm_dc: training.critic_steps is 2 with training.shared_backbone true",
                "set critic_steps to 1 or shared",
            ],
        ),
        (
            "shared_backbone: true, critic_warm_up: 3",
            ["collm_dc: training.critic_warm_up is 3 with training.shared_backbone true", "set critic_warm_up to 0 or"],
        ),
        (
            "entropy_floor: 2.0, entropy_ceiling: 0.5",
            ["training.entropy_floor is 2 and training.entropy_ceiling 0.5", "change one, or set it to null"],
        ),
        (
            "entropy_floor: 0.5, entropy_ceiling: 0.5",
            ["training.entropy_floor is 0.5 and training.entropy_ceiling 0.5"],
        ),
        ("loss_per: word", ["defaults.methods.collm_dc.training.loss_per", "'word' is not allowed", "sequence"]),
        ("importance_ratio: mean", ["training.importance_ratio", "'mean' is not allowed", "geometric"]),
        ("rate_decay: exponential", ["training.rate_decay", "'exponential' is not allowed", "cosine"]),
        ("negative_weight: 0", ["training.negative_weight", "0 is refused"]),
        ("negative_weight: 1.5", ["training.negative_weight", "1.5 is refused"]),
        ("divergence_limit: 0", ["training.divergence_limit", "0 is refused"]),
        ("critic_steps: 0", ["training.critic_steps", "0 is refused"]),
        ("critic_warm_up: -1", ["training.critic_warm_up", "-1 is refused"]),
        ("rate_warm_up: -1", ["training.rate_warm_up", "-1 is refused"]),
        ("entropy_bound_coefficient: 0", ["training.entropy_bound_coefficient", "0 is refused"]),
    ],
)
def test_what_cannot_be(overlay, training, parts):
    message = refused(overlay, f"domains: [tldr]\ndefaults: {{methods: {{collm_dc: {{training: {{{training}}}}}}}}}")
    assert all(part in message for part in parts) and "\n" not in message, message


@pytest.mark.parametrize(
    "training",
    ["shared_backbone: true, critic_steps: 1, critic_warm_up: 0", "entropy_floor: 0.5", "entropy_ceiling: 0.5"],
)
def test_what_can_be(overlay, training):
    text = f"domains: [tldr]\ndefaults: {{methods: {{collm_dc: {{training: {{{training}}}}}}}}}"
    assert resolve_job(overlay(text), "tldr", "collm_dc").method == "collm_dc"
