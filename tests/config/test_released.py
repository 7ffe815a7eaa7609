"""What `semantics: released` fixes, whatever the files say, and how a run says so."""

from __future__ import annotations

from support.configurations import DEFAULT

from collm.config.checks import fixed_in_words
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.methods.registry import ROWS


def test_released_fixes_what_that_code_has_no_setting_for(overlay):
    merged = overlay(
        "semantics: released\ndefaults: {training: {advantage_clip: 0.2, ratio_clip: 0.2, update_epochs: 3}}"
    )
    for domain in merged["domains"]:
        for method in merged["methods"]:
            training = resolve_job(merged, domain, method).training
            assert (training.gradient_clip, training.tasks_per_rollout, training.update_epochs) == (None, 1, 1)
            assert (training.advantage_clip, training.ratio_clip, training.global_information) == (None, None, False)
            assert (training.shuffle, training.td_lambda, training.kl_coefficient) == (False, 0.0, 0.0)
    job, tasks = resolve_job(merged, "tldr", "collm_cc"), merged["defaults"]["training"]["tasks_per_rollout"]
    assert job.raw["fixed"] == {
        "training.tasks_per_rollout": tasks,
        "training.update_epochs": 3,
        "training.shuffle": True,
        "training.gradient_clip": 1.0,
        "training.advantage_floor": 1e-3,
        "training.advantage_clip": 0.2,
        "training.global_information": True,
        "training.td_lambda": 1.0,
        "training.ratio_clip": 0.2,
        "training.rate_decay": "linear",
    }
    line = fixed_in_words(job)
    assert line.startswith(f"semantics released fixes training.tasks_per_rollout 1 (configured: {tasks}); ")
    assert "training.gradient_clip None (configured: 1.0)" in line and "\n" not in line


def test_released_critics_play_one_response_where_there_are_several_turns(overlay):
    """The released code refuses trees to its critics; Monte Carlo methods and single turns keep what is configured."""
    merged = overlay(
        "semantics: released\nmethods: [magrpo, mareinforce, marloo, maremax, grpo, ac, collm_dc, collm_cc]\n"
        "defaults: {rollout: {generations: 4}, training: {minibatch_size: 8}}\n"
    )
    seen = set()
    for domain in merged["domains"]:
        for method in [*merged["methods"], *merged["baselines"]]:
            job = resolve_job(merged, domain, method)
            kept = resolve_job({**merged, "semantics": "paper"}, domain, method).rollout.generations
            one = ROWS[method].critics is not None and job.rollout.turns > 1
            assert kept > 1 and job.rollout.generations == job.raw["rollout"]["generations"] == (1 if one else kept)
            assert job.raw["fixed"].get("rollout.generations") == (kept if one else None), (domain, method)
            assert (f"; rollout.generations 1 (configured: {kept})" in fixed_in_words(job)) is one
            seen.add((ROWS[method].critics, job.rollout.turns > 1))
    assert seen == {(critics, several) for critics in (None, "local", "joint") for several in (False, True)}


def test_paper_fixes_nothing():
    job = resolve_job(load_config([DEFAULT]), "tldr", "collm_cc")
    assert job.raw["fixed"] == {} and fixed_in_words(job) is None
