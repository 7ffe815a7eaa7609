"""Coding domains in tables, figures and configuration."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.places import ROOT
from support.result_files import config as default_config
from support.result_files import write_results

import make_figures
import make_tables
from collm import domains
from collm.common import cli
from collm.common.errors import ConfigError
from collm.common.files import read_jsonl, write_jsonl
from collm.config.load import load_config
from collm.config.resolve import resolve_job, resolve_settings
from collm.pipeline import dependencies
from collm.report import paper

NAMES = ("coophe", "humaneval", "mbpp")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Tables and figures of two coding domains: 4 tasks, 3 samples each; the methods pass more and more."""
    folder = tmp_path_factory.mktemp("made")
    configuration = default_config(["coophe", "mbpp"], [0, 1])
    write_results(folder, configuration)
    for path in sorted(folder.glob("results/*/*/seed*/samples.jsonl")):
        passing = ["parallel", "warm_start", "magrpo", "collm_dc", "collm_cc"].index(path.parts[-3]) - 1
        rows = read_jsonl(path)
        for number, row in enumerate(rows):
            good = row["sample"] == 0 and number // 3 <= passing
            row["metrics"] = {"pass_rate": 100.0 if good else 50.0, "pass_at_1": 100.0 * good}
        write_jsonl(path, rows)
    places = ["--config", str(folder / "config.json"), "--results", str(folder / "results")]
    assert cli.run(make_tables.main, [*places, "--data", str(folder / "data")]) == 0
    assert cli.run(make_figures.main, [*places, "--data", str(folder / "data")]) == 0
    return folder


def test_pass_at_k_is_shown_up_to_the_number_of_samples(made):
    frame = pd.read_csv(made / "results" / "tables" / "main.csv").set_index(["domain", "method", "metric"])
    metrics = list(dict.fromkeys(frame.index.get_level_values("metric")))
    assert metrics == ["time_s", "tokens", "pass_rate", "pass_at_1", "pass_at_3"]
    points = frame.loc["coophe"]["point"].unstack("metric")
    # One of three samples passes, for as many of the four tasks as the method's place in the list.
    expected = {"parallel": 0, "warm_start": 1, "magrpo": 2, "collm_dc": 3, "collm_cc": 4}
    for method, tasks in expected.items():
        assert points.loc[method, "pass_at_1"] == pytest.approx(100 / 3 * tasks / 4, abs=1e-3)
        assert points.loc[method, "pass_at_3"] == pytest.approx(100 * tasks / 4)
        assert points.loc[method, "pass_rate"] == pytest.approx(50 + 50 / 3 * tasks / 4, abs=1e-3)


def test_tables_for_people_and_differences_have_it_too(made):
    text = (made / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    assert "pass@3" in text and "pass@5" not in text and "## CoopHE" in text and "## MBPP" in text
    frame = pd.read_csv(made / "results" / "tables" / "differences.csv").set_index(["domain", "method", "metric"])
    assert frame.loc[("mbpp", "collm_cc", "pass_at_3"), "point"] == pytest.approx(75.0)


def test_figures_are_drawn(made):
    for name in ("coophe", "mbpp"):
        for kind in ("bars", "curves"):
            assert (made / "results" / "figures" / f"{kind}_{name}.png").stat().st_size > 10_000


def test_the_paper_reports_coophe_alone():
    assert paper.papers_rows(domains.get("coophe")({})) == {"hub": ("test[0:66]", "test[66:82]")}
    assert paper.papers_rows(domains.get("humaneval")({})) == paper.papers_rows(domains.get("mbpp")({})) == {}
    names = {metric.name for metric in domains.get("coophe")({}).metrics}
    assert {"pass_rate", "pass_at_1", "pass_at_3", "pass_at_5", "pass_at_10"} == names
    assert {metric for domain, _, metric in paper.values() if domain == "coophe"} > names


@pytest.mark.parametrize("overlay", [None, "paper.yaml"])
@pytest.mark.parametrize("name", NAMES)
def test_configurations_fit_the_domains(name, overlay):
    files = [ROOT / "config" / file for file in ("config.yaml", overlay) if file]
    loaded = load_config(files)
    for method in ("magrpo", "collm_cc", "collm_dc", "warm_start", "parallel"):
        job = resolve_job(loaded, name, method)
        domain = domains.get(name)(job.options, job.profile, job.team.num_agents)
        assert job.rollout.turns == domain.options["demonstrated_turns"] == (2 if overlay else 1) <= domain.max_turns
        assert domain.max_reward + job.rollout.reward_shift > job.rollout.early_stop >= -1
        assert set(job.options) == set(domain.options)
        assert domain.slices["hub"] == (job.data["train"], job.data["test"]) or overlay is None


def test_the_policy_of_the_sandbox_reaches_jobs_and_is_checked(tmp_path):
    default = ROOT / "config" / "config.yaml"
    assert resolve_job(load_config([default]), "coophe").sandbox == "refuse"
    overlay = tmp_path / "weak.yaml"
    overlay.write_text("sandbox: allow_weak\n")
    assert resolve_job(load_config([default, overlay]), "coophe").sandbox == "allow_weak"
    overlay.write_text("sandbox: allow\n")
    with pytest.raises(ConfigError, match="sandbox: 'allow' is not allowed .*refuse, allow_weak"):
        load_config([default, overlay])


def test_the_policy_costs_no_rerun():
    settings = resolve_settings(load_config([ROOT / "config" / "config.yaml"]), "coophe", "collm_cc")
    assert settings["sandbox"] == "refuse" and "sandbox" in dependencies.KNOBS
    assert not any("sandbox" in dependencies.stage_settings(stage, settings) for stage in dependencies.DEPENDS)
