"""The planner: counts of work, hours from rates, memory of the paper's jobs, all without models or data."""

from __future__ import annotations

import json

import pytest
from support.places import ROOT

from collm.common import cli
from collm.common.files import write_json
from collm.config.load import load_config
from collm.config.resolve import merge, resolve_job
from collm.methods.registry import ROWS
from collm.pipeline.provenance import data_settings
from collm.planning import counts, memory, plan, prepared
from collm.planning.data_estimate import estimate_data
from collm.planning.model_shapes import PUBLISHED
from collm.planning.throughput import Rates
from collm.stages import plan as stage
from collm.stages import prepare_data

BASE, PAPER, MINIATURE = (ROOT / "config" / f"{name}.yaml" for name in ("config", "paper", "miniature"))
FIVE = ["tldr", "arxiv", "coophe", "str_build", "house_build"]


@pytest.fixture(scope="module")
def paper():
    return load_config([BASE, PAPER])


@pytest.fixture(scope="module")
def planned(paper, tmp_path_factory):
    return plan.make_plan(paper, Rates(), tmp_path_factory.mktemp("empty"))


def run(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    return cli.run(stage.main, [str(argument) for argument in arguments])


def test_papers_five_benchmarks_fit_one_gpu_of_24_gb(planned):
    assert list(dict.fromkeys(line.domain for line in planned.lines)) == FIVE
    assert {line.method for line in planned.lines} >= {"grpo", "ac", "magrpo", "collm_dc", "collm_cc", "raw"}
    assert all(line.device == "cuda" and 2e9 < line.peak < 24 * 2**30 for line in planned.lines)
    tight = {(line.domain, line.method) for line in planned.lines if line.peak > 24e9}
    assert tight <= {("house_build", "collm_cc")}  # its critic reads two prompts that list a house
    assert planned.hours("cpu") == 0 and planned.hours("cuda") > 100


def test_papers_way_needs_what_the_paper_reports(paper, tmp_path):
    """Appendix D.2: CoopHE at 93.8 (MAGRPO), 126.3 (DC) and 107.4 GB (CC) with whole copies of the models."""
    full = merge(paper, {"domains": ["coophe"], "defaults": {"team": {"adapter": "full", "dtype": "float32"}}})
    peaks = {line.method: line.peak for line in plan.make_plan(full, Rates(), tmp_path).lines}
    assert peaks["magrpo"] > 90e9 and peaks["collm_dc"] > peaks["collm_cc"] > 100e9


@pytest.mark.parametrize(("method", "samples"), [("magrpo", 9640), ("collm_cc", 8438), ("collm_dc", 8592)])
def test_samples_bound_those_of_the_paper(paper, method, samples):
    work = counts.workload(resolve_job(paper, "coophe", method), 66, 16)
    assert samples <= work.samples <= 1.3 * samples  # episodes that end early play fewer


def test_trees_and_limits(paper):
    job = resolve_job(paper, "str_build", "magrpo")
    assert counts.joint_samples_per_task(job) == 2 + 4 + 8 + 16
    assert counts.training_counts(job, 8) == (8 * 16, 8 * 16 * 30, 8 * 16 * 15)
    short = merge(paper, {"domain": {"str_build": {"methods": {"magrpo": {"training": {"max_updates": 31}}}}}})
    assert counts.training_counts(resolve_job(short, "str_build", "magrpo"), 8) == (3, 90, 31)


def test_updates_as_the_paper_counts_them(paper):
    """CoopHE with MAGRPO: trees of 20 joint samples in minibatches of 16, none of them smaller but the last."""
    assert counts.training_counts(resolve_job(paper, "coophe", "magrpo"), 66) == (528, 10560, 660)
    assert counts.training_counts(resolve_job(paper, "coophe", "collm_cc"), 66) == (480, 10560, 2640)


def test_a_further_agent_on_a_base_of_4_billion():
    shape = PUBLISHED["Qwen/Qwen3-4B-Instruct-2507"]
    assert shape.lora(16) * (4 + 12) <= 0.08 * 2 * shape.parameters


def test_table_json_and_price(tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch, "--configfile", PAPER, "--price", 2, "--json", "plan.json") == 0
    printed = capsys.readouterr().out
    assert "all jobs fit in 24 GiB" in printed and "house_build" in printed
    written = json.loads((tmp_path / "plan.json").read_text())
    hours = written["totals"]["gpu_hours"]
    assert written["totals"]["price"] == pytest.approx(2 * hours) and f"GPU: {hours:.0f} hours" in printed
    line = next(line for line in written["lines"] if (line["domain"], line["method"]) == ("coophe", "collm_cc"))
    parts = line["memory"]["train"]
    assert {"weights", "adapters", "gradients and optimiser", "activations", "cache"} <= set(parts)
    assert line["peaks"]["train"] == pytest.approx(memory.peak(parts, "cuda")) and line["hours"] > 0


def test_given_rate(paper, tmp_path):
    slow, fast = (plan.make_plan(paper, Rates(given=rate), tmp_path).hours("cuda") for rate in (100.0, 200.0))
    assert fast < slow < 2 * fast  # starting a process takes the same


def test_miniature_names_every_row_and_takes_hours(tmp_path, monkeypatch, capsys):
    settings = load_config([BASE, MINIATURE])
    made = plan.make_plan(settings, Rates(), tmp_path)
    rows = {line.method for line in made.lines if line.domain == "physics"}
    assert rows == {*ROWS, "(model)"}
    assert all(line.seeds == 5 for line in made.lines if line.method != "(model)")
    assert 2 < made.hours("cpu") / 2 < 30 and made.hours("cuda") == 0
    assert run(tmp_path, monkeypatch, "--configfile", MINIATURE, "--seeds", 0) == 0
    assert " on 2 cores" in capsys.readouterr().out


def test_hours_follow_an_earlier_run(tmp_path):
    settings = merge(load_config([BASE]), {"domains": ["tldr"], "methods": ["collm_cc"], "baselines": []})
    job = resolve_job(settings, "tldr", "collm_cc")
    work = counts.workload(job, 54, 18)
    facts = {"config": {"team": job.raw["team"]}, "wall_seconds": 1000.0}
    recorded = {"samples": work.samples // 2, "tokens": work.samples // 2 * 2 * 50}
    folder = tmp_path / "results" / "tldr" / "collm_cc" / "seed3"
    write_json(folder / "run.json", {**facts, "counts": recorded})
    write_json(folder / "evaluation.json", {**facts, "wall_seconds": 10.0, "summary": {"episodes": work.episodes}})
    rates = Rates(tmp_path / "results")
    assert rates.mean_response(job) == 50
    line = next(line for line in plan.make_plan(settings, rates, tmp_path).lines if line.method == "collm_cc")
    assert line.basis == "measured"
    assert line.seconds["train"] == pytest.approx(2000, rel=0.02) and line.seconds["evaluate"] == pytest.approx(11.5)


def test_unknown_size_and_open_slice_are_told(paper, tmp_path):
    other = merge(paper, {"models": {"qwen3-1.7b": {"id": "someone/else"}}})
    with pytest.raises(Exception, match="is not known before it is there"):
        plan.make_plan(other, Rates(), tmp_path)
    opened = merge(paper, {"domains": ["tldr"], "domain": {"tldr": {"data": {"train": "train"}}}})
    with pytest.raises(Exception, match="give the slice an end"):
        plan.make_plan(opened, Rates(), tmp_path)


def test_prepared_data_of_other_settings_are_not_read(tmp_path, monkeypatch, capsys):
    """What `make demo` prepares is not what the paper's configuration asks for: a plan is that of a clean clone."""
    clean = plan.make_plan(load_config([BASE, PAPER]), Rates(), tmp_path)
    monkeypatch.chdir(tmp_path)
    for domain in ("house_build", "str_build"):
        assert cli.run(prepare_data.main, ["--config", str(BASE), "--domain", domain]) == 0
    after = plan.make_plan(load_config([BASE, PAPER]), Rates())
    assert [line.peak for line in after.lines] == [line.peak for line in clean.lines]
    assert (after.hours("cuda"), clean.notes) == (clean.hours("cuda"), ())
    assert [note.split(" was made with ")[0] for note in after.notes] == ["data/str_build", "data/house_build"]
    assert "planned with rows that ship with the project instead" in after.notes[0]
    capsys.readouterr()
    assert run(tmp_path, monkeypatch, "--configfile", PAPER) == 0
    assert capsys.readouterr().err.splitlines() == list(after.notes)


def test_prepared_data_of_the_same_settings_are_read(tmp_path, monkeypatch):
    default = load_config([BASE])
    monkeypatch.chdir(tmp_path)
    assert cli.run(prepare_data.main, ["--config", str(BASE), "--domain", "tldr"]) == 0
    train = tmp_path / "data" / "tldr" / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:3]))
    made_with = data_settings(default, "tldr")
    estimate = estimate_data(resolve_job(default, "tldr"), made_with)
    assert (estimate.train, estimate.note) == (3, None)
    other = estimate_data(resolve_job(default, "tldr"), {**made_with, "data.seed": 1})
    assert other.train > 3 and other.note.startswith("data/tldr was made with data.seed 0, this run says 1: planned")


def test_a_prepared_model_of_another_specification_is_not_read(tmp_path):
    job = resolve_job(load_config([BASE]), "tldr", "collm_cc")
    file = tmp_path / "resources/models/tldr/scratch/model.json"
    write_json(file, {"spec": dict(job.models["scratch"])})
    assert prepared.has_model(tmp_path, job, "scratch")
    write_json(file, {"spec": {**job.models["scratch"], "hidden": 48}})
    assert not prepared.has_model(tmp_path, job, "scratch")
