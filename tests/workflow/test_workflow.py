"""The workflow: what Snakemake plans, what a changed key runs again, and a tiny run of everything from end to end."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.workflow import (
    DEFAULT,
    ENVIRONMENT,
    NOTHING,
    TINY,
    call,
    copy_of_repository,
    log_of_last_run,
    planned,
    snakemake,
)

from collm.config.load import load_config
from collm.pipeline.targets import trained_together

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]

DEMO = "config/demo.yaml"
SCREEN, LOG = "logs/screen.txt", "logs/snakemake.txt"
RUN_LINE = re.compile(
    r"(\w+) ([\w -]+) seed 0: reward -?\d+\.\d\d → -?\d+\.\d\d in \d+ s \((\d+)/8 runs, about .+ left\)"
)


def settings(folder: Path, file: str) -> dict[str, Any]:
    """What one configuration file says."""
    return yaml.safe_load((folder / file).read_text(encoding="utf-8"))


def training_jobs(folder: Path, *files: str) -> dict[str, int]:
    """Jobs that train, by rule: two per seed where runs are short, otherwise one per run."""
    config = load_config([folder / file for file in files])
    seeds, short = len(config["seeds"]), len(trained_together(config))
    alone = (len(config["domains"]) - short) * len(config["methods"])
    jobs = {"train": alone * seeds, "train_together_0": short * seeds, "train_together_1": short * seeds}
    return {rule: number for rule, number in jobs.items() if number}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy in which nothing has run."""
    return copy_of_repository(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy in which the tiny configuration has run from end to end; screen and log of it are in files."""
    folder = copy_of_repository(tmp_path_factory.mktemp("finished"))
    output = snakemake(folder, "--cores", "2", overlays=(TINY,))
    (folder / SCREEN).write_text(output, encoding="utf-8")
    (folder / LOG).write_text(log_of_last_run(folder), encoding="utf-8")
    return folder


@pytest.fixture
def plan(finished, tmp_path):
    """Plans the finished copy again after the changes of one more overlay."""

    def after(change: dict, *arguments: str) -> str:
        overlay = tmp_path / "change.yaml"
        overlay.write_text(yaml.safe_dump(change), encoding="utf-8")
        return snakemake(finished, "-n", *arguments, overlays=(TINY, str(overlay)))

    return after


def test_default_plan(clone):
    output = snakemake(clone, "-n")
    assert "profiles/default" in output
    config = settings(clone, DEFAULT)
    count = len(config["domains"])
    assert Counter(rule for rule, _ in planned(output)) == {
        **dict.fromkeys(("data", "scratch_model", "warm_start", "evaluate_together", "figure"), count),
        **training_jobs(clone, DEFAULT),
        **{"tables": 1, "worlds": 2, "episodes": 1, "report_page": 1, "all": 1},
    }


def test_plan_of_short_and_longer_runs(clone):
    expected = training_jobs(clone, DEFAULT, TINY)
    assert expected == {"train": 3, "train_together_0": 1, "train_together_1": 1}, "both kinds are planned"
    jobs = Counter(rule for rule, _ in planned(snakemake(clone, "-n", overlays=(TINY,))))
    assert {rule: number for rule, number in jobs.items() if rule.startswith("train")} == expected


def test_plan_of_the_demo(clone):
    output = snakemake(clone, "-n", overlays=(DEMO,))
    jobs, config = Counter(rule for rule, _ in planned(output)), settings(clone, DEMO)
    domains, seeds = len(config["domains"]), len(config["seeds"])
    assert (jobs["train_together_methods"], jobs["train"]) == (domains * seeds, 0)
    assert (jobs["warm_start"], jobs["evaluate_together"]) == (domains * seeds, domains * seeds)
    assert (jobs["data"], jobs["tables"]) == (domains, 1)
    assert "warning:" not in output, "every setting of the overlay gets through"
    assert "To run:" not in output and "Results:" not in output, "nothing runs, so nothing is promised"


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["demo"], "config/config.yaml config/demo.yaml"),
        (["all-benchmarks"], "config/config.yaml"),
        (["demo", "CONFIG=config/config.yaml mine.yaml"], "config/config.yaml mine.yaml"),
    ],
)
def test_what_make_runs(clone, arguments, files):
    lines = call(clone, "make", "-n", *arguments).splitlines()
    (run,) = (line for line in lines if line.startswith("snakemake --cores"))
    assert run == f"snakemake --cores all --configfile {files}"
    (report,) = (line for line in lines if line.startswith("snakemake reported"))
    assert report == f"snakemake reported --report results/workflow.html --configfile {files}"
    assert f"python src/make_report.py --config {files} --partial" in lines


def test_teams_of_three_are_planned_and_a_wrong_number_of_agents_is_refused(clone, tmp_path):
    jobs = Counter(rule for rule, _ in planned(snakemake(clone, "-n", overlays=("config/three_agents.yaml",))))
    assert jobs["data"] == jobs["warm_start"] == 3
    wrong = "domains: [coophe]\ndomain: {coophe: {team: {num_agents: 3, agents: [scratch, scratch]}}}\n"
    (tmp_path / "wrong.yaml").write_text(wrong)
    output = snakemake(clone, "-n", overlays=(str(tmp_path / "wrong.yaml"),), status=1)
    assert "team.agents names 2 models for team.num_agents 3" in output


def test_plan_of_the_paper_needs_no_data_model_or_gpu(clone):
    output = snakemake(clone, "-n", overlays=("config/paper.yaml",))
    jobs = Counter(rule for rule, _ in planned(output))
    assert jobs["train"] == 5 * 5 * 5 and jobs["pretrained_model"] == 6
    assert not {"warm_start", "scratch_model"} & set(jobs), "the paper trains hub models without warm start"
    assert output.count("gpu=1") == jobs["train"] + jobs["evaluate"]


def test_plan_of_the_miniature_with_one_seed(clone):
    output = snakemake(clone, "-n", "--config", "seeds=[0]", overlays=("config/miniature.yaml",))
    jobs = Counter(rule for rule, _ in planned(output))
    config = settings(clone, "config/miniature.yaml")
    count = len(config["domains"])
    assert (jobs["warm_start"], jobs["evaluate_together"]) == (count * 2, count)
    trained = {"train": count * len(config["methods"])}
    assert {rule: number for rule, number in jobs.items() if rule.startswith("train")} == trained, "no run is short"


def test_plan_of_one_benchmark_alone(clone):
    jobs = planned(snakemake(clone, "-n", "str_build"))
    assert "worlds" in dict(jobs) and not [wildcards for _, wildcards in jobs if "tldr" in wildcards]


def test_every_stage_has_a_target(clone):
    targets = {"all_data", "all_models", "all_warm_start", "all_train", "all_evaluate", "tables", "figures"}
    assert targets <= set(dict(planned(snakemake(clone, "-n", *targets))))


def test_jobs_ask_for_more_when_they_are_tried_again(clone):
    output = snakemake(clone, "-n", "all_train", overlays=("config/smol.yaml",))
    assert "mem_mb=6000" in output and "runtime=720" in output


def test_linters(clone):
    call(clone, "snakemake", "--lint")
    call(clone, "snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"domains": ["tdlr"]}, "'tdlr' is not allowed (did you mean 'tldr'?)"),
        ({"methods": ["colm_cc"]}, "did you mean 'collm_cc'?"),
        ({"defaults": {"training": {"epoch": 3}}}, "defaults.training.epoch (value 3) (did you mean 'epochs'?"),
    ],
)
def test_bad_configuration_is_named_before_anything_runs(clone, tmp_path, overlay, message):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    output = snakemake(clone, "-n", overlays=(str(tmp_path / "bad.yaml"),), status=1)
    assert message in output and "Traceback" not in output


def test_a_setting_that_does_not_get_through_is_told_once_with_the_line_that_does(clone, tmp_path):
    (tmp_path / "mine.yaml").write_text("domains: [tldr]\ndefaults: {warm_start: {epochs: 10}}\n", encoding="utf-8")
    output = snakemake(clone, "-n", overlays=(str(tmp_path / "mine.yaml"),))
    told = "defaults.warm_start.epochs: 10 does not reach tldr (domain.tldr.warm_start.epochs: 4 wins)"
    assert output.count(told) == 1
    assert "write domain: {tldr: {warm_start: {epochs: 10}}}" in output


def test_a_key_that_stands_twice_is_refused_with_both_lines(clone, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("seeds: [0]\ndomains: [tldr]\nseeds: [1]\n", encoding="utf-8")
    output = snakemake(clone, "-n", overlays=(str(file),), status=1)
    assert "twice.yaml" in output and "Traceback" not in output
    assert "line 3: key 'seeds' stands twice in one mapping, in lines 1 and 3" in output


def test_a_home_that_cannot_be_written_works_as_the_readme_says(clone, tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "HOME", "/dev/null")  # no folder can be made below it, not even by root
    monkeypatch.delitem(ENVIRONMENT, "XDG_CACHE_HOME", raising=False)
    call(clone, "snakemake", "-n", "tldr", status=1)
    assert "XDG_CACHE_HOME" in (clone / "README.md").read_text(encoding="utf-8")
    monkeypatch.setitem(ENVIRONMENT, "XDG_CACHE_HOME", str(tmp_path))
    assert planned(call(clone, "snakemake", "-n", "tldr"))


def test_dvc_knows_the_benchmarks_of_the_default_configuration(clone):
    stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    domains = settings(clone, DEFAULT)["domains"]
    assert stages["reproduce"]["matrix"]["domain"] == domains
    assert {f"results/{domain}" for domain in domains} <= set(stages["report"]["deps"])
    call(clone, "dvc", "stage", "list")


def test_tiny_run_leaves_every_artefact_and_a_report(finished):
    assert NOTHING in snakemake(finished, "-n", overlays=(TINY,))
    for run in (finished / "results").glob("*/collm_*/seed0"):
        kept = {path.name for path in run.iterdir()}
        assert {"adapters", "run.json", "metrics.jsonl", "samples.jsonl", "evaluation.json"} <= kept
    assert "StrBuild" in (finished / "results/tables/main.md").read_text(encoding="utf-8")
    assert (finished / "results/figures/worlds_str_build.svg").stat().st_size > 0
    record = json.loads((finished / "results/tldr/collm_cc/seed0/run.json").read_text(encoding="utf-8"))
    (snapshot,) = (finished / "results/configs").iterdir()
    assert snapshot.name == f"{record['config']['configuration']}.json"
    snakemake(finished, "--report", "results/workflow.html", overlays=(TINY,))
    assert "Learning curves" in (finished / "results/workflow.html").read_text(encoding="utf-8")
    assert "StrBuild: learning curves" in (finished / "results/report.html").read_text(encoding="utf-8")
    assert 'id="pack-tldr"' in (finished / "results/episodes.html").read_text(encoding="utf-8")


def test_the_screen_shows_a_line_per_run_and_the_table_while_the_log_holds_everything(finished):
    lines = (finished / SCREEN).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 40, "a line per run and little else"
    (start,) = (place for place, line in enumerate(lines) if line.startswith("To run:"))
    assert lines[start].startswith("To run: 6 runs and 2 warm starts on 2 benchmarks, 20 jobs in all; about ")
    assert lines[start].endswith(" on 2 cores if nothing else runs there.")
    assert lines[start + 1] == f"Results: {finished}/results; logs of the jobs: {finished}/logs"
    runs = [match.groups() for match in map(RUN_LINE.fullmatch, lines) if match]
    names = {f"{domain} {label}" for domain, label, _ in runs}
    labels = ("Warm start", "MAGRPO", "CoLLM-DC", "CoLLM-CC")
    assert names == {f"{domain} {label}" for domain in ("tldr", "str_build") for label in labels}
    assert [count for _, _, count in runs] == [str(number) for number in range(1, 9)]
    overview = (finished / "results/tables/overview.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|")] == [line for line in overview if line.startswith("|")]
    assert f"all metrics, with n: {finished}/results/tables/main.md" in lines
    log = (finished / LOG).read_text(encoding="utf-8")
    assert len(planned(log)) == 20 and "Job stats:" in log and "20 of 20 steps (100%) done" in log


def change_one_rate(domain: str) -> dict[str, Any]:
    """An overlay with another learning rate of CoLLM-CC on one benchmark."""
    return {"domain": {domain: {"methods": {"collm_cc": {"training": {"agent_learning_rate": 1.0e-5}}}}}}


def test_one_key_of_one_method_trains_only_that(plan):
    jobs = planned(plan(change_one_rate("str_build")))
    assert sorted(jobs) == [
        ("all", ""),
        ("episodes", ""),
        ("evaluate_together", "domain=str_build, seed=0"),
        ("figure", "domain=str_build"),
        ("report_page", ""),
        ("tables", ""),
        ("train", "domain=str_build, method=collm_cc, seed=0"),
        ("worlds", "domain=str_build"),
    ]


def test_one_key_of_a_short_run_trains_only_the_runs_that_share_its_job(plan):
    jobs = planned(plan(change_one_rate("tldr")))
    trained = [(rule, wildcards) for rule, wildcards in jobs if rule.startswith("train")]
    assert trained == [("train_together_1", "domain=tldr, seed=0")]


def test_evaluation_settings_train_nothing(plan):
    change = {"domain": {name: {"evaluation": {"samples": 2}} for name in ("tldr", "str_build")}}
    jobs = Counter(rule for rule, _ in planned(plan(change)))
    pages = {"episodes": 1, "report_page": 1}
    assert jobs == {"evaluate_together": 2, "tables": 1, "figure": 2, "worlds": 1, **pages, "all": 1}


def test_warm_start_settings_reach_all_that_starts_from_it_in_that_benchmark(plan):
    jobs = planned(plan({"domain": {"str_build": {"warm_start": {"noise": 0.25}}}}))
    assert Counter(rule for rule, _ in jobs)["train"] == 3
    assert ("evaluate_together", "domain=str_build, seed=0") in jobs
    assert not [wildcards for _, wildcards in jobs if "tldr" in wildcards]


def test_a_new_revision_trains_everything_again(plan):
    jobs = Counter(rule for rule, _ in planned(plan({"revision": "2"})))
    assert (jobs["scratch_model"], jobs["warm_start"]) == (2, 2)
    assert (jobs["train"], jobs["train_together_0"], jobs["train_together_1"]) == (3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"defaults": {"rollout": {"max_rows": 64}, "training": {"micro_batch_tokens": 4096, "checkpoint_every": 2}}},
        {"report": {"tracker": "tensorboard"}},
    ],
)
def test_knobs_that_do_not_change_results_run_nothing(plan, change):
    assert NOTHING in plan(change)


def test_changed_training_code_is_told_while_the_revision_stays_the_same(finished, plan):
    source = finished / "src/collm/methods/policy_gradient.py"
    before = source.read_text(encoding="utf-8")
    assert "policy_gradient" not in plan({})
    try:
        source.write_text(before.replace("return -ratio * advantage", "return ratio * advantage"), encoding="utf-8")
        output = plan({})
        assert NOTHING in output and "collm.methods.policy_gradient" in output and "revision" in output
        assert "collm.methods.policy_gradient" not in plan({"revision": "2"})
        source.write_text("# a comment\n" + before, encoding="utf-8")
        assert "policy_gradient" not in plan({})
    finally:
        source.write_text(before, encoding="utf-8")


def test_another_seed_adds_its_own_runs(plan):
    jobs = planned(plan({"seeds": [0, 1]}))
    trained = Counter(rule for rule, wildcards in jobs if "train" in rule and "seed=1" in wildcards)
    assert trained == {"train": 3, "train_together_0": 1, "train_together_1": 1}
    assert not [wildcards for _, wildcards in jobs if "seed=0" in wildcards]


def test_one_benchmark_runs_alone_after_a_change(finished, tmp_path):
    """Runs last: it changes the finished copy."""
    before = {path: path.stat().st_mtime_ns for path in (finished / "results/tldr").rglob("*")}
    change = {"domain": {"str_build": {"methods": {"magrpo": {"training": {"agent_learning_rate": 1.0e-5}}}}}}
    overlay = tmp_path / "change.yaml"
    overlay.write_text(yaml.safe_dump(change), encoding="utf-8")
    overlays = (TINY, str(overlay))
    output = snakemake(finished, "--cores", "2", "str_build", overlays=overlays)
    assert output.count("str_build MAGRPO seed 0: reward ") == 1 and "(1/1 runs" in output
    assert f"all metrics, with n: {finished}/results/str_build/tables/main.md" in output
    jobs = planned(log_of_last_run(finished))
    assert ("train", "domain=str_build, method=magrpo, seed=0") in jobs
    assert len([rule for rule, _ in jobs if rule in ("train", "evaluate_together")]) == 2
    assert {path: path.stat().st_mtime_ns for path in (finished / "results/tldr").rglob("*")} == before
    assert (finished / "results/str_build/tables/main.md").is_file()
    assert NOTHING in snakemake(finished, "-n", "str_build", overlays=overlays)
    used = json.loads((finished / "results/str_build/magrpo/seed0/run.json").read_text(encoding="utf-8"))["config"]
    assert used["training"]["agent_learning_rate"] == 1.0e-5
