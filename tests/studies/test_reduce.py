"""Finished runs become small files, and verdicts come from these alone."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import reduce
from support.places import ROOT
from support.result_files import config, rewrite, write_results

import claims
from collm import domains
from collm.common import cli
from collm.common.files import read_jsonl
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.report.claims.study import COLUMNS, Study
from collm.report.statistics import score_matrix

SEEDS = [0, 1, 2]
BUILT = domains.get("str_build")(
    resolve_job(load_config([ROOT / "config" / "config.yaml"]), "str_build").options, "paper", 2
)
ROWS = ["parallel", "warm_start", "magrpo", "collm_dc", "collm_cc"]


def results_of(folder, domains):
    """Made-up results with whole records, as the stages write them."""
    configuration = config(domains, SEEDS)
    write_results(folder, configuration)
    for domain in domains:
        for row in ROWS:
            for seed in SEEDS:
                run = folder / "results" / domain / row / f"seed{seed}"
                raw = dict(resolve_job(configuration, domain, row).raw)
                rewrite(run / "evaluation.json", lambda record, raw=raw: record.update(config=raw, git_commit="abc"))
                if (run / "metrics.jsonl").is_file():
                    counts = {"env_step": 480, "samples": 480, "update": 30, "tokens": 9000, "iteration": 30}
                    (run / "run.json").write_text(json.dumps({"counts": counts, "training_seconds": 150.5}))
    return ["--config", str(folder / "config.json"), "--root", str(folder)]


@pytest.fixture
def finished(tmp_path):
    """(options of a call for a folder of results, that folder, folder of the CSVs)."""
    where = results_of(tmp_path, ["tldr", "str_build"])
    return where, tmp_path, tmp_path / "study"


def test_runs_become_small_files(finished, capsys):
    where, folder, out = finished
    assert cli.run(reduce.main, [*where, "--options", "stable", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "30 of 30 runs are finished" in printed.err and "stable, tldr: 15 runs" in printed.out
    assert sorted(file.stem for file in out.iterdir()) == sorted(set(COLUMNS) - {"variance"})
    assert sum(file.stat().st_size for file in out.iterdir()) < 100_000
    study = Study.read(out)
    lines = read_jsonl(folder / "results/tldr/collm_cc/seed1/samples.jsonl")
    frame = pd.DataFrame([{**line, "score": line["metrics"]["score"]} for line in lines])
    by_task = score_matrix(frame, "score").values[0]
    assert study.scores("stable", "tldr", "collm_cc", "score")[1] == pytest.approx(by_task.mean(), rel=1e-5)
    values, _ = study.task_scores("stable", "tldr", "collm_cc", "score")
    assert values[1] == pytest.approx(by_task, rel=1e-3)
    evaluation = json.loads((folder / "results/tldr/collm_cc/seed1/evaluation.json").read_text())
    seconds = study.scores("stable", "tldr", "collm_cc", "seconds")[1]
    assert seconds == pytest.approx(evaluation["latency"]["seconds"], rel=1e-5)
    events = read_jsonl(folder / "results/str_build/magrpo/seed2/metrics.jsonl")
    tested = [event["reward"] for event in events if event["event"] == "evaluation"]
    assert study.curves("stable", "str_build", "magrpo")[2][:, 1] == pytest.approx(tested, rel=1e-5)
    row = study.of("runs", "stable", "str_build", "magrpo").iloc[0]
    assert (row["turns"], row["generations"], row["paid"], row["agents"]) == (2, 4, "every_turn", 2)
    assert (row["least_reward"], row["best_reward"]) == (BUILT.min_reward, BUILT.max_reward)
    assert (row["rollouts"], row["env_steps"], row["updates"], row["seconds"]) == (30, 480, 30, 150.5)
    assert row["commit"] == "abc" and len(row["samples_sha256"]) == 16
    assert len(study.of("health", "stable", "tldr", "collm_cc")) == 3
    assert study.of("runs", "stable", "tldr", "parallel")["env_steps"].isna().all()


def test_sets_of_options_stand_beside_each_other(finished):
    where, folder, out = finished
    for options in ("stable", "paper"):
        assert cli.run(reduce.main, [*where, "--options", options, "--out", str(out)]) == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert cli.run(reduce.main, [*where, "--options", "stable", "--out", str(out)]) == 0
    assert before == {file.name: file.read_bytes() for file in out.iterdir()}
    (folder / "results/tldr/magrpo/seed0/samples.jsonl").unlink()
    assert cli.run(reduce.main, [*where, "--options", "paper", "--out", str(out)]) == 0
    study = Study.read(out)
    assert len(study.scores("paper", "tldr", "magrpo", "score")) == 2
    assert len(study.scores("stable", "tldr", "magrpo", "score")) == 3


def test_verdicts_come_from_the_small_files_alone(finished, tmp_path):
    where, folder, out = finished
    assert cli.run(reduce.main, [*where, "--options", "stable", "--out", str(out)]) == 0
    kept = tmp_path / "elsewhere"
    out.rename(kept)
    for name in ("results", "data"):
        (folder / name).rename(folder / f"gone_{name}")
    tables = tmp_path / "tables_only"
    few = tmp_path / "claims.yaml"
    text = (ROOT / "config" / "claims.yaml").read_text(encoding="utf-8")
    few.write_text(text[: text.index("  - id: c\n")], encoding="utf-8")
    arguments = ["--claims", str(few), "--study", str(kept), "--out", str(tables)]
    assert cli.run(claims.main, arguments) == 0
    frame = pd.read_csv(tables / "tables/claims.csv")
    run = frame[(frame["options"] == "stable") & frame["domain"].isin(["tldr", "str_build"])]
    assert set(run["seeds"]) == {3} and run["spread_tasks"].notna().all()
    assert set(frame[~frame.index.isin(run.index)]["state"]) == {"not run"}


def test_runs_of_compare_are_known_by_their_variants(finished, tmp_path, capsys):
    where, folder, out = finished
    runs = [
        {"domain": "tldr", "variant": variant, "method": "magrpo", "seed": seed}
        | {"folder": str(folder / f"results/tldr/magrpo/seed{seed}")}
        for variant, seed in (("h1_every_turn", 0), ("h2_every_turn", 1), ("h2_every_turn", 2), ("h4_every_turn", 9))
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    assert cli.run(reduce.main, [*where[:2], "--study", str(tmp_path), "--out", str(out)]) == 0
    study = Study.read(out)
    assert set(study.scores("h2_every_turn", "tldr", "magrpo", "score")) == {1, 2}
    assert set(study.scores("h1_every_turn", "tldr", "magrpo", "score")) == {0}
    assert not study.scores("h4_every_turn", "tldr", "magrpo", "score")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "nowhere"], "nowhere/runs.json is not there"),
        (["--options", "paper", "--root", "nowhere"], "nowhere/results has no finished run"),
    ],
)
def test_what_is_not_there_is_said(arguments, words, capsys):
    assert cli.run(reduce.main, ["--config", str(ROOT / "config/config.yaml"), *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--options", "paper", "--study", "x"]])
def test_either_options_or_a_study(arguments, capsys):
    with pytest.raises(SystemExit):
        reduce.main(arguments)
    assert "write --options NAME" in capsys.readouterr().err
