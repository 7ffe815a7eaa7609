"""Tables from synthetic results: numbers by hand, labels, paper columns, and bad input named by path."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.result_files import config, manifest, rewrite, write_results, write_run

import make_tables
from collm.common import cli
from collm.common.files import read_jsonl, write_json, write_jsonl
from collm.domains import NAMES, get
from collm.report import paper, results, table_text, tables

DEFAULT_ROWS = ["parallel", "warm_start", "magrpo", "collm_dc", "collm_cc"]
TLDR_SLICES = ("train[0:1000]", "train[1000:1100]")
QWEN = {"source": "hub", "id": "Qwen/Qwen3-1.7B"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """Results of both domains with two seeds, and the tables made from them."""
    folder = tmp_path_factory.mktemp("shared")
    write_results(folder, config(["tldr", "str_build"], [0, 1]))
    assert run(folder) == 0
    return folder


def run(folder: Path, *more: str) -> int:
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    return cli.run(make_tables.main, ["--config", str(folder / "config.json"), *places, *more])


def small(folder: Path, seeds: list[int], **keywords) -> Path:
    """TLDR with CoLLM-CC and the two baselines only."""
    write_results(folder, config(["tldr"], seeds, ["collm_cc"]), **keywords)
    return folder


def main_rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "tables" / "main.csv").set_index(["domain", "method", "metric"])


def test_main_csv_holds_every_cell_once_and_in_order(shared):
    frame = pd.read_csv(shared / "results" / "tables" / "main.csv")
    assert list(frame.columns) == [*tables.MAIN, "seeds_below_start"]
    assert list(dict.fromkeys(frame["method"])) == DEFAULT_ROWS
    per_domain = {name: list(dict.fromkeys(rows["metric"])) for name, rows in frame.groupby("domain", sort=False)}
    assert per_domain == {
        "tldr": ["time_s", "tokens", "score"],
        "str_build": ["time_s", "tokens", "iou", "adjacency", "coverage"],
    }
    assert not frame.duplicated(["domain", "method", "metric"]).any()
    assert len(frame) == 5 * (3 + 5)


def test_points_are_means_of_task_means(shared):
    rows = [
        row
        for seed in (0, 1)
        for row in read_jsonl(shared / "results" / "tldr" / "collm_cc" / f"seed{seed}" / "samples.jsonl")
    ]
    expected = sum(row["metrics"]["score"] for row in rows) / len(rows)  # all tasks have three samples here
    row = main_rows(shared).loc[("tldr", "collm_cc", "score")]
    assert row["point"] == pytest.approx(expected, rel=1e-5)
    assert row["low"] <= row["point"] <= row["high"]
    assert (row["interval"], row["seeds"], row["tasks"], row["samples"]) == ("interval over seeds", 2, 4, 24)
    seconds = [
        json.loads((shared / "results" / "tldr" / "collm_cc" / f"seed{seed}" / "evaluation.json").read_text())[
            "latency"
        ]["seconds"]
        for seed in (0, 1)
    ]
    timed = main_rows(shared).loc[("tldr", "collm_cc", "time_s")]
    assert timed["point"] == pytest.approx(sum(seconds) / 2, rel=1e-5)


def test_embedded_data_is_labelled_and_never_set_against_the_paper(shared):
    frame = pd.read_csv(shared / "results" / "tables" / "main.csv")
    assert frame["paper"].isna().all() and frame["difference"].isna().all()
    assert set(frame["label"]) == {"embedded data, scratch model: not comparable with the paper"}
    text = (shared / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    assert "Embedded data, scratch model: not comparable with the paper." in text and "Δ" not in text


def test_markdown_is_one_aligned_table_per_domain(shared):
    text = (shared / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## TLDR", "## StrBuild"]
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(line) for line in block.splitlines()}) == 1
    assert re.search(r"\| CoLLM-CC +\|.*\d\.\d \[\d+\.\d, \d+\.\d\].*\| 2 × 4 × 3 \|", text)
    assert "Score (%) ↑" in text and "Adj (%) ↓" in text and "Cost (tokens) ↓" in text
    assert "With 2 seeds the interval is at most the range of the runs" in text


def test_overview_has_a_line_per_domain_and_the_same_numbers_as_the_main_table(shared):
    tables = shared / "results" / "tables"
    lines = (tables / "overview.md").read_text(encoding="utf-8").splitlines()
    heads = [cell.strip() for cell in lines[0].split("|")[1:-1]]
    rows = [dict(zip(heads, [cell.strip() for cell in line.split("|")[1:-1]], strict=True)) for line in lines[2:4]]
    assert [(row["Benchmark"], row["Metric"]) for row in rows] == [("TLDR", "Score (%) ↑"), ("StrBuild", "IoU (%) ↑")]
    main = (tables / "main.md").read_text(encoding="utf-8")
    for row in rows:
        assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\] ↑\*", row["CoLLM-CC"]) and main.count(row["CoLLM-CC"]) == 2


def test_latex_is_balanced_and_escaped(shared):
    text = (shared / "results" / "tables" / "main.tex").read_text(encoding="utf-8")
    assert text.isascii()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    body = re.sub(r"%$", "", body, flags=re.MULTILINE)  # a line end taken out on purpose
    assert not re.search(r"(?<!\\)[%#]", body)
    assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")
    for name in ("table", "tabular"):
        assert body.count(rf"\begin{{{name}}}") == body.count(rf"\end{{{name}}}") == 2
    for rule in ("toprule", "midrule", "bottomrule"):
        assert body.count(rf"\{rule}") == 2
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {4, 6}
    assert table_text.escape("50 % of a_b & c^2 \\ {x} ~ ↑") == (
        r"50 \% of a\_b \& c\textasciicircum{}2 \textbackslash{} \{x\} \textasciitilde{} $\uparrow$"
    )


def test_other_tables(shared):
    folder = shared / "results" / "tables"
    rewards = pd.read_csv(folder / "rewards.csv").set_index("metric")
    own = rewards[(rewards["domain"] == "str_build") & (rewards["method"] == "collm_cc")]["point"]
    assert set(own.index) == {"reward", "part.coverage", "part.extra"}
    assert own["reward"] == pytest.approx(own["part.coverage"] + own["part.extra"], rel=1e-4)
    tree = json.loads((folder / "metrics.json").read_text())
    assert tree["str_build"]["collm_cc"]["reward"] == pytest.approx(own["reward"], rel=1e-4)
    assert set(tree["tldr"]) == set(DEFAULT_ROWS)
    assert set(tree["tldr"]["magrpo"]) == {"time_s", "tokens", "score", "reward"}
    apart = pd.read_csv(folder / "differences.csv").set_index(["domain", "method", "metric"])
    assert set(apart["reference"]) == {"warm_start"}
    main = main_rows(shared)["point"]
    gain = main["tldr", "collm_cc", "score"] - main["tldr", "warm_start", "score"]
    assert apart.loc[("tldr", "collm_cc", "score")]["point"] == pytest.approx(gain, rel=1e-4)
    curves = pd.read_csv(folder / "curves.csv")
    assert set(curves["event"]) == {"rollout", "evaluation"}
    assert set(curves["series"]) == {f"{d}/{m}" for d in ("tldr", "str_build") for m in DEFAULT_ROWS[2:]}


def test_one_seed_gives_intervals_over_tasks(tmp_path):
    assert run(small(tmp_path, [0])) == 0
    frame = main_rows(tmp_path)
    assert frame.loc[("tldr", "collm_cc", "score")]["interval"] == "interval over tasks"
    time = frame.loc[("tldr", "collm_cc", "time_s")]
    assert time["interval"] == "no interval" and pd.isna(time["low"])
    text = (tmp_path / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    assert "interval over tasks" in text and "says nothing about how another training run" in text


def test_same_results_same_bytes_and_other_rows_do_not_matter(tmp_path):
    assert run(small(tmp_path, [0, 1])) == 0
    folder = tmp_path / "results" / "tables"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(tmp_path) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    score = main_rows(tmp_path).loc[("tldr", "collm_cc", "score")]
    write_results(tmp_path, config(["tldr"], [0, 1], ["magrpo", "collm_cc"]))
    assert run(tmp_path) == 0
    assert main_rows(tmp_path).loc[("tldr", "collm_cc", "score")].equals(score)


def test_the_paper_stands_beside_its_own_rows_and_hub_models(tmp_path):
    small(tmp_path, [0], model=QWEN)
    write_json(tmp_path / "data" / "tldr" / "manifest.json", manifest("tldr", "hub", TLDR_SLICES))
    assert run(tmp_path) == 0
    frame = main_rows(tmp_path)
    score, time = frame.loc[("tldr", "collm_cc", "score")], frame.loc[("tldr", "collm_cc", "time_s")]
    assert score["paper"] == 95.2
    assert score["difference"] == pytest.approx(score["point"] - 95.2, abs=1e-3)
    assert time["paper"] == 1.8 and pd.isna(time["difference"])
    assert pd.isna(frame.loc[("tldr", "warm_start", "score")]["paper"])
    assert set(frame["label"]) == {"hub data (the paper's rows), Qwen/Qwen3-1.7B"}
    text = (tmp_path / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    assert f"95.2 ({score['difference']:.1f})" in text and "Score: paper (Δ)" in text


@pytest.mark.parametrize(
    ("source", "slices", "model", "comparable", "label"),
    [
        ("hub", TLDR_SLICES, QWEN, True, "hub data (the paper's rows), Qwen/Qwen3-1.7B"),
        (
            "hub",
            TLDR_SLICES,
            {"source": "hub", "id": "a/b"},
            True,
            "hub data (the paper's rows), a/b, paper: Qwen/Qwen3-1.7B",
        ),
        (
            "hub",
            ("train[0:50]", "train[1000:1100]"),
            QWEN,
            False,
            "hub data train[0:50] and train[1000:1100] (not the paper's rows), Qwen/Qwen3-1.7B",
        ),
        ("hub", TLDR_SLICES, {"source": "scratch"}, False, "hub data (the paper's rows), scratch model"),
        (
            "hub",
            TLDR_SLICES,
            {"source": "wheel", "package": "x"},
            False,
            "hub data (the paper's rows), model from a package",
        ),
        ("path", TLDR_SLICES, QWEN, False, "data from a folder, Qwen/Qwen3-1.7B"),
        ("embedded", TLDR_SLICES, QWEN, False, "embedded data, Qwen/Qwen3-1.7B"),
    ],
)
def test_when_numbers_are_comparable(source, slices, model, comparable, label):
    record = {"config": {"team": {"agents": ["m", "m"]}, "models": {"m": model}}}
    judged = paper.provenance(manifest("tldr", source, slices), record, paper.papers_rows(get("tldr")({})))
    expected = label if comparable else f"{label}: not comparable with the paper"
    assert judged == paper.Provenance(expected, comparable)


@pytest.mark.parametrize("name", ["str_build", "house_build"])
def test_building_domains_have_no_hub_set_but_the_papers_ten_tasks(name):
    def judge(train: str) -> paper.Provenance:
        rows = manifest(name, "embedded", (train, "paper[8:10]"))
        record = {"config": {"team": {"agents": ["m", "m"]}, "models": {"m": QWEN}}}
        return paper.provenance(rows, record, paper.papers_rows(get(name)({})))

    assert judge("paper[0:8]").comparable
    assert not judge("paper[0:8]+generated").comparable


@pytest.mark.parametrize("name", [name for name in NAMES if name not in paper.MODELS])
def test_a_domain_that_the_paper_does_not_have_is_never_comparable(name):
    domain = get(name)({})
    record = {"config": {"team": {"agents": ["m", "m"]}, "models": {"m": QWEN}}}
    for source, slices in domain.slices.items():
        judged = paper.provenance(manifest(name, source, slices), record, paper.papers_rows(domain))
        assert not judged.comparable and judged.label.endswith("not comparable with the paper")
        assert "not in the paper" in judged.label and "rows)" not in judged.label
    assert name not in {domain for domain, _, _ in paper.values()}


def test_other_peoples_numbers_are_quoted_as_such():
    record = {"config": {"team": {"agents": ["m"]}, "models": {"m": QWEN}}}
    judged = paper.provenance(manifest("physics", "hub", ("dev", "test")), record, {})
    assert judged.label == (
        "hub data dev and test, Qwen/Qwen3-1.7B, not in the paper, CoLLM-CC accuracy 35.3 in arXiv 2605.16757 "
        "(another protocol; Qwen3-0.6B): not comparable with the paper"
    )
    others = {name: paper.elsewhere(name) for name in NAMES}
    values = {name: float(text.split()[2]) for name, text in others.items() if text}
    assert values == {"arc_challenge": 55, "algebra": 41, "physics": 35.3, "medicine": 33, "navigate": 40}


def test_paper_values_cover_table_one():
    values = paper.values()
    assert values["tldr", "collm_cc", "score"] == 95.2 and values["str_build", "collm_dc", "iou"] == 44.6
    for domain in ("tldr", "str_build"):
        names = {metric for name, _, metric in values if name == domain}
        own = {metric.name for metric in tables.table_metrics(get(domain)({}).metrics)}
        assert names <= own


def test_missing_files_are_all_named(tmp_path, capsys):
    small(tmp_path, [0, 1])
    gone = [
        tmp_path / "results" / "tldr" / "collm_cc" / "seed1" / "samples.jsonl",
        tmp_path / "results" / "tldr" / "parallel" / "seed0" / "evaluation.json",
    ]
    for path in gone:
        path.unlink()
    assert run(tmp_path) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and all(str(path) in message for path in gone) and "--partial" in message
    assert not (tmp_path / "results" / "tables").exists()
    assert run(tmp_path, "--partial") == 0
    message = capsys.readouterr().err
    assert all(f"its run is left out: {path}" in message for path in gone)
    frame = main_rows(tmp_path)
    assert frame.loc[("tldr", "collm_cc", "score")]["seeds"] == 1
    assert frame.loc[("tldr", "warm_start", "score")]["seeds"] == 2
    apart = pd.read_csv(tmp_path / "results" / "tables" / "differences.csv")
    assert set(apart["seeds"]) == {1}


def test_the_report_of_one_benchmark_says_nothing_about_the_others(tmp_path, capsys):
    write_results(tmp_path, config(["tldr", "arxiv"], [0]))
    assert run(tmp_path, "--domains", "tldr") == 0
    assert "not shown" not in capsys.readouterr().err


def test_nothing_there_and_no_manifest(tmp_path, capsys):
    small(tmp_path, [0])
    (tmp_path / "data" / "tldr" / "manifest.json").unlink()
    assert run(tmp_path) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert run(tmp_path, "--partial") == 2
    assert "no complete run to show" in capsys.readouterr().err


def test_empty_and_malformed_files_are_named(tmp_path, capsys):
    small(tmp_path, [0])
    samples = tmp_path / "results" / "tldr" / "collm_cc" / "seed0" / "samples.jsonl"
    rows = read_jsonl(samples)

    def refused(text: str) -> None:
        assert run(tmp_path) == 2
        message = capsys.readouterr().err
        assert text in message and "Traceback" not in message

    samples.write_text("")
    refused(f"{samples} is empty")
    del rows[2]["metrics"]
    write_jsonl(samples, rows)
    refused(f"{samples}:3: not a sample line (KeyError('metrics'))")
    rows[2]["metrics"] = {}
    write_jsonl(samples, rows)
    refused("tldr/collm_cc: samples lack the metric 'score'")
    samples.write_text("{}\n{broken\n")
    refused(f"{samples}:2: not a JSON object")
    write_run(samples.parent, "tldr", "magrpo", 0, {"source": "scratch"})
    refused(f"{samples}:1: belongs to tldr/magrpo/seed0")
    write_run(samples.parent, "tldr", "collm_cc", 0, {"source": "scratch"})
    (samples.parent / "evaluation.json").write_text("{")
    refused("evaluation.json is not JSON")
    (samples.parent / "evaluation.json").write_text("[]")
    refused("evaluation.json holds no JSON object")


def test_seeds_on_other_tasks_or_models_are_refused(tmp_path, capsys):
    small(tmp_path, [0, 1])
    run_folder = tmp_path / "results" / "tldr" / "collm_cc" / "seed1"
    rows = [row for row in read_jsonl(run_folder / "samples.jsonl") if row["task"] != "tldr_0002"]
    write_jsonl(run_folder / "samples.jsonl", rows)
    assert run(tmp_path) == 2
    assert "seed 1 has no sample of task 'tldr_0002'" in capsys.readouterr().err
    write_run(run_folder, "tldr", "collm_cc", 1, {"source": "folder"})
    assert run(tmp_path) == 2
    assert "tldr/collm_cc: seeds ran with different models" in capsys.readouterr().err


def test_responses_that_were_not_timed_leave_a_dash(tmp_path):
    small(tmp_path, [0])
    for method in ("parallel", "warm_start", "collm_cc"):
        record = tmp_path / "results" / "tldr" / method / "seed0" / "evaluation.json"
        rewrite(record, lambda value: value.update(latency={"seconds": None, "tasks": 0}))
    assert run(tmp_path) == 0
    assert pd.isna(main_rows(tmp_path).loc[("tldr", "collm_cc", "time_s")]["point"])
    assert "–" in (tmp_path / "results" / "tables" / "main.md").read_text(encoding="utf-8")
    tree = json.loads((tmp_path / "results" / "tables" / "metrics.json").read_text())
    assert set(tree["tldr"]["collm_cc"]) == {"tokens", "score", "reward"}


def test_stale_runs_are_named_and_not_shown(tmp_path, capsys):
    small(tmp_path, [0])
    stale = tmp_path / "results" / "tldr" / "magrpo" / "seed7"
    write_run(stale, "tldr", "magrpo", 7, {"source": "scratch"})
    assert run(tmp_path) == 0
    assert str(stale) in capsys.readouterr().err
    assert run(tmp_path, "--domains", "tldr") == 0
    assert str(stale) in capsys.readouterr().err
    assert "magrpo" not in main_rows(tmp_path).index.get_level_values("method")


def test_without_warm_start_its_row_is_not_expected_and_differences_use_the_untrained_team(tmp_path):
    configuration = config(["tldr"], [0], ["collm_cc"])
    write_results(tmp_path, configuration)
    configuration["defaults"]["warm_start"]["enabled"] = False
    write_json(tmp_path / "config.json", configuration)
    assert run(tmp_path) == 0
    assert "warm_start" not in main_rows(tmp_path).index.get_level_values("method")
    apart = pd.read_csv(tmp_path / "results" / "tables" / "differences.csv")
    assert set(apart["reference"]) == {"parallel"}


def test_without_warm_start_no_single_agents_row_is_expected_either(tmp_path):
    configuration = config(["tldr"], [0], ["grpo", "collm_cc"])
    configuration["baselines"] = ["raw", "parallel", "warm_start", "warm_start_single"]
    write_results(tmp_path, configuration)
    for start in ("warm_start", "warm_start_single"):
        shutil.rmtree(tmp_path / "results" / "tldr" / start)
    configuration["defaults"]["warm_start"]["enabled"] = False
    write_json(tmp_path / "config.json", configuration)
    record = tmp_path / "results" / "tldr" / "grpo" / "seed0" / "evaluation.json"
    rewrite(record, lambda facts: facts["config"].update(warm_start={"enabled": False}))
    assert run(tmp_path) == 0
    methods = list(dict.fromkeys(main_rows(tmp_path).index.get_level_values("method")))
    assert methods == ["parallel", "raw", "grpo", "collm_cc"]
    apart = pd.read_csv(tmp_path / "results" / "tables" / "differences.csv")
    assert dict(zip(apart["method"], apart["reference"], strict=True)) == {"grpo": "raw", "collm_cc": "parallel"}


def test_what_training_starts_from_follows_from_the_table_of_rows():
    assert tables.references(single=False) == ("warm_start", "parallel")
    assert tables.references(single=True) == ("warm_start_single", "raw")


def test_one_agent_alone_is_compared_with_its_own_start(tmp_path, capsys):
    configuration = config(["tldr"], [0], ["grpo", "ac", "collm_cc"])
    configuration["baselines"] = ["raw", "parallel", "warm_start", "warm_start_single"]
    write_results(tmp_path, configuration)

    def references():
        assert run(tmp_path) == 0
        frame = pd.read_csv(tmp_path / "results" / "tables" / "differences.csv")
        return frame.groupby("method")["reference"].unique().map(list).to_dict()

    assert references() == {"grpo": ["warm_start_single"], "ac": ["warm_start_single"], "collm_cc": ["warm_start"]}
    assert "leave out" not in capsys.readouterr().err
    configuration["baselines"].remove("warm_start_single")
    write_json(tmp_path / "config.json", configuration)
    assert references() == {"collm_cc": ["warm_start"]}
    message = capsys.readouterr().err
    assert "tldr: differences leave out grpo, ac" in message and "add warm_start_single to baselines" in message
    for method in ("grpo", "ac"):
        record = tmp_path / "results" / "tldr" / method / "seed0" / "evaluation.json"
        rewrite(record, lambda facts: facts["config"].update(warm_start={"enabled": False}))
    assert references() == {"grpo": ["raw"], "ac": ["raw"], "collm_cc": ["warm_start"]}


def test_interquartile_mean_by_configuration(tmp_path):
    configuration = config(["tldr"], [0], ["collm_cc"])
    configuration["report"]["estimator"] = "iqm"
    write_results(tmp_path, configuration)
    assert run(tmp_path) == 0
    frame = results.sample_frame(results.expected_runs(configuration, tmp_path / "results")[-1])
    middle = frame.groupby("task")["metric.score"].mean().sort_values().iloc[1:3].mean()
    assert main_rows(tmp_path).loc[("tldr", "collm_cc", "score")]["point"] == pytest.approx(middle, rel=1e-5)
    assert "interquartile mean" in (tmp_path / "results" / "tables" / "main.md").read_text(encoding="utf-8")


# what was cut


def change_lines(path: Path, change) -> None:
    rows = read_jsonl(path)
    for place, row in enumerate(rows):
        change(place, row)
    write_jsonl(path, rows)


def test_notes_say_what_was_cut(tmp_path):
    """Cut prompts, unfinished responses and cut texts of critics stand under the table, by method."""
    small(tmp_path, [0])
    assert run(tmp_path) == 0
    tables_folder = tmp_path / "results" / "tables"
    assert "cut" not in (tables_folder / "main.md").read_text()

    def cut(place, row):
        row["turns"][0]["cut_prompts"] = [place < 3, False]
        row["turns"][0]["cut_responses"] = [True, place != 0]

    def cut_texts(place, row):
        if row["event"] == "update":
            row["cut_texts/critic"] = 0.25

    run_folder = tmp_path / "results" / "tldr" / "collm_cc" / "seed0"
    change_lines(run_folder / "samples.jsonl", cut)
    change_lines(run_folder / "metrics.jsonl", cut_texts)
    assert run(tmp_path) == 0
    text = " ".join((tables_folder / "main.md").read_text().split())
    assert "TLDR: prompts cut to fit: CoLLM-CC 12 %." in text  # 3 of 24
    assert "TLDR: responses cut off at the length limit: CoLLM-CC 96 %." in text  # 23 of 24
    assert "TLDR: texts of critics cut to fit: CoLLM-CC 25 %." in text
    latex = (tables_folder / "main.tex").read_text()
    assert r"prompts cut to fit: CoLLM-CC 12 \%." in latex


@pytest.mark.parametrize(
    ("share", "text"), [(0.0001, "under 1 %"), (0.03, "3 %"), (0.9999, "over 99 %"), (1.0, "100 %")]
)
def test_shares_are_not_rounded_away(share, text):
    assert tables.percent(share) == text
