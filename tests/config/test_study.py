"""The study's configuration: equal environment steps, what the two sets of options differ in, and the dials."""

from __future__ import annotations

import dataclasses

import pytest
from support.places import ROOT

from collm.config.load import check_files, load_config
from collm.config.resolve import resolve_job, resolve_settings
from collm.methods.registry import METHODS
from collm.planning.counts import joint_samples_per_task
from collm.report.claims.declared import read

CONFIG = ROOT / "config"
SETS = {"stable": ["study.yaml"], "paper": ["study.yaml", "study_paper_options.yaml"]}
STEPS = {"tldr": 3840, "coophe": 8000, "str_build": 3840, "house_build": 3840, "navigate": 3840}
TURNS = {"tldr": 1, "coophe": 2, "str_build": 4, "house_build": 4, "navigate": 2}
DIALS = sorted((ROOT / "studies" / "dials").glob("*.yaml"))
# What the paper has instead of each option (config/paper.yaml).
PAPER = {
    **{"loss_per": "sequence", "importance_ratio": "product", "negative_weight": 1.0, "divergence_limit": None},
    **{"ratio_clip": None, "value_clip": None, "td_lambda": 0.0, "lambda_follows_critic": False, "critic_steps": 1},
    **{"critic_warm_up": 0, "rate_warm_up": 0, "rate_decay": "none", "kl_coefficient": 0.0, "update_epochs": 1},
    **{"entropy_coefficient": 0.0, "entropy_floor": None, "entropy_ceiling": None, "gradient_clip": None},
    **{"advantage_floor": 0.0, "advantage_clip": None, "score": "raw", "critic_type": "v"},
}


def configured(names, *more):
    return load_config([CONFIG / "config.yaml", *(CONFIG / name for name in names), *more])


@pytest.fixture(scope="module", params=SETS)
def study(request):
    """(name of the set of options, merged configuration)."""
    return request.param, configured(SETS[request.param])


def jobs_of(merged):
    return {(d, m): resolve_job(merged, d, m) for d in merged["domains"] for m in merged["methods"]}


def test_nothing_is_said_in_vain(capsys):
    for names in SETS.values():
        files = [CONFIG / "config.yaml", *(CONFIG / name for name in names)]
        check_files(files, load_config(files))
    assert capsys.readouterr().err == ""


def test_every_method_has_the_same_environment_steps(study):
    _, merged = study
    for (domain, method), job in jobs_of(merged).items():
        plan = job.training
        steps = plan.max_updates * plan.minibatch_size / plan.update_epochs
        assert steps == STEPS[domain], (domain, method)
        assert method in ("grpo", "ac") or job.rollout.turns == TURNS[domain]
        assert plan.minibatch_size % (job.rollout.generations if METHODS[method].critics is None else 1) == 0


def test_rollouts_are_about_as_large_whatever_the_method(study):
    """So that samples are as fresh, and curves have as many points."""
    name, merged = study
    sizes = {}
    for (domain, method), job in jobs_of(merged).items():
        turns = 1 if method in ("grpo", "ac") else job.rollout.turns  # alone, navigate ends after one turn
        one = dataclasses.replace(job, rollout=dataclasses.replace(job.rollout, turns=turns))
        sizes.setdefault(domain, []).append(job.training.tasks_per_rollout * joint_samples_per_task(one))
    for domain, own in sizes.items():
        assert max(own) <= 1.4 * min(own), (domain, own)


def test_the_set_paper_has_nothing_that_the_paper_lacks():
    for (domain, method), job in jobs_of(configured(SETS["paper"])).items():
        assert {key: getattr(job.training, key) for key in PAPER} == PAPER, (domain, method)
        assert job.rollout.reward == "every_turn" and job.semantics == "paper"
        if METHODS[method].critics is not None:
            assert job.rollout.generations == 1, (domain, method)


def test_the_set_stable_has_the_defaults():
    """But for what sets sizes: options are those of config.yaml."""
    default = configured([])
    for (domain, method), job in jobs_of(configured(SETS["stable"])).items():
        own = resolve_job(default, domain, method).training
        same = set(PAPER) - {"update_epochs"}
        assert {key: getattr(job.training, key) for key in same} == {key: getattr(own, key) for key in same}


def test_one_agent_alone_is_of_the_summed_size(study):
    """Numbers of a small Llama: 12 h^2 per layer and h per token of the vocabulary, twice if they are not tied."""
    _, merged = study
    for domain in merged["domains"]:
        sizes = []
        for method in ("collm_cc", "grpo"):
            settings = resolve_settings(merged, domain, method)
            spec = settings["models"][settings["team"]["agents"][0]]
            spec = {**spec, **merged["models"][settings["team"]["agents"][0]].get("per_domain", {}).get(domain, {})}
            sizes.append(12 * spec["layers"] * spec["hidden"] ** 2 + spec["vocabulary"] * spec["hidden"])
        assert 1.8 < sizes[1] / sizes[0] < 2.25, (domain, sizes)
        assert resolve_job(merged, domain, "ac").team.agents == resolve_job(merged, domain, "raw").team.agents


def test_claims_are_about_rows_that_the_study_runs(study):
    name, merged = study
    rows = {*merged["methods"], *merged["baselines"]}
    for claim in read(CONFIG / "claims.yaml").claims:
        for line in claim.of(name):
            assert line.domain in merged["domains"]
            assert {line.first, line.second} - {None} <= rows


# dials


def test_dials_are_those_that_claims_ask_for():
    asked = {
        name for c in read(CONFIG / "claims.yaml").claims for one in c.lines for name in one.settings.get("dial", {})
    }
    assert asked <= {file.stem for file in DIALS} and len(DIALS) == 6


@pytest.mark.parametrize("file", DIALS, ids=lambda file: file.stem)
def test_a_dial_changes_turns_and_payment_alone(file):
    base = configured(SETS["stable"])
    merged = configured(SETS["stable"], file)
    for method in ("magrpo", "collm_dc", "collm_cc"):
        job, plain = (resolve_job(one, "str_build", method) for one in (merged, base))
        assert file.stem == f"h{job.rollout.turns}_{job.rollout.reward}"
        assert job.training.tasks_per_rollout * joint_samples_per_task(job) == 120
        same = {"turns": plain.rollout.turns, "reward": plain.rollout.reward}
        assert dataclasses.replace(job.rollout, **same) == plain.rollout
        tasks = plain.training.tasks_per_rollout
        assert dataclasses.replace(job.training, tasks_per_rollout=tasks) == plain.training
