"""Health of runs in the report: numbers, remarks, marks of runs that ended below their start, the figure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.result_files import config, rewrite, write_results

import make_tables
from collm.common import cli
from collm.common.files import read_jsonl, write_jsonl
from collm.domains import get
from collm.report import health, health_figure, results, starts
from collm.report.health_figure import PANELS, points

SEEDS = [0, 1]


def run(folder: Path) -> int:
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    return cli.run(make_tables.main, ["--config", str(folder / "config.json"), *places])


def load(folder: Path) -> results.Results:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return results.load(settings, folder / "results", folder / "data")


def change_lines(path: Path, event: str, change) -> None:
    """Apply `change` to every line of an event."""
    rows = read_jsonl(path)
    for row in rows:
        if row["event"] == event:
            row |= change(row)
    write_jsonl(path, rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two domains, two seeds; CoLLM-DC on TLDR ends below its warm start with seed 1, and its entropy grows there."""
    folder = tmp_path_factory.mktemp("made")
    write_results(folder, config(["tldr", "str_build"], SEEDS))
    bad = folder / "results" / "tldr" / "collm_dc" / "seed1"
    rows = read_jsonl(bad / "samples.jsonl")
    write_jsonl(bad / "samples.jsonl", [row | {"reward": row["reward"] / 4} for row in rows])
    change_lines(bad / "metrics.jsonl", "evaluation", lambda row: {"reward": 2.0 - 0.05 * row["iteration"]})
    grown = {f"entropy/agent_{agent}": lambda row, agent=agent: 1.0 + 0.1 * row["iteration"] for agent in (0, 1)}
    change_lines(bad / "metrics.jsonl", "update", lambda row: {name: value(row) for name, value in grown.items()})
    assert run(folder) == 0
    return folder


def frame(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "tables" / "health.csv").set_index(["domain", "method", "seed"])


def test_one_row_per_trained_run_with_its_numbers(made):
    rows = frame(made)
    methods = ("magrpo", "collm_dc", "collm_cc")
    assert list(rows.index) == [(d, m, s) for d in ("tldr", "str_build") for m in methods for s in SEEDS]
    row = rows.loc["tldr", "collm_cc", 0]
    assert (row["updates"], row["start"], row["below_start"]) == (30, "Warm start", False)
    lines = read_jsonl(made / "results/tldr/collm_cc/seed0/metrics.jsonl")
    updates = [line for line in lines if line["event"] == "update"]
    last = [line[f"entropy/agent_{agent}"] for line in updates[-6:] for agent in (0, 1)]
    assert row["entropy_last"] == pytest.approx(sum(last) / 12, rel=1e-4)
    assert row["explained_variance"] == pytest.approx(sum(0.6 * n / 30 for n in range(25, 31)) / 6, rel=1e-4)
    assert row["kl_to_start"] == pytest.approx(0.1)
    assert (row["invalid"], row["unparsed"], row["cut_responses"]) == pytest.approx((0.07, 0.02, 0.05))
    assert row["gradient_norm_largest"] == pytest.approx(
        max(line[f"gradient_norm/agent_{agent}"] for line in updates for agent in (0, 1)), rel=1e-4
    )
    assert row["samples_per_second"] == pytest.approx(updates[-1]["samples"] / 150, rel=1e-4)
    samples = read_jsonl(made / "results/tldr/warm_start/seed0/samples.jsonl")
    assert row["start_reward"] == pytest.approx(sum(sample["reward"] for sample in samples) / len(samples), rel=1e-4)
    assert pd.isna(rows.loc["tldr", "magrpo", 0]["explained_variance"])


def test_a_run_below_its_start_is_marked_wherever_it_is_shown(made):
    tables = made / "results" / "tables"
    assert list(frame(made)["below_start"]).count(True) == 1 and frame(made).loc["tldr", "collm_dc", 1]["below_start"]
    texts = {name: (tables / name).read_text(encoding="utf-8") for name in ("main.md", "overview.md", "health.md")}
    assert "| CoLLM-DC †" in texts["main.md"] and "| CoLLM-DC, seed 1 †" in texts["health.md"]
    marked = [line for line in texts["overview.md"].splitlines() if line.startswith("| TLDR")]
    assert len(marked) == 1 and marked[0].count("†") == 1
    for name in ("main.md", "overview.md"):
        flat = " ".join(texts[name].split())
        assert "- † TLDR, CoLLM-DC: mean reward" in flat and "(Warm start; seed 1 of 2)" in flat
    assert r"CoLLM-DC $\dagger$" in (tables / "main.tex").read_text(encoding="utf-8")
    main = pd.read_csv(tables / "main.csv").groupby(["domain", "method"])["seeds_below_start"].first()
    assert main["tldr", "collm_dc"] == 1 and main["str_build", "collm_dc"] == main["tldr", "collm_cc"] == 0
    assert pd.isna(main["tldr", "parallel"]) and main["tldr", "warm_start"] == 0


def test_remarks_stand_under_the_table_with_the_settings_of_the_run(made):
    text = " ".join((made / "results/tables/health.md").read_text(encoding="utf-8").split())
    assert "- CoLLM-DC, seed 1: entropy of agent_0 grew from 1.35 to 3.75 nats per token while the reward fell" in text
    assert "Lower training.agent_learning_rate (0.0005 now)" in text
    assert text.count("- Nothing stands out.") == 1  # StrBuild
    assert frame(made).loc["tldr", "collm_dc", 1]["remarks"] == "entropy grew"


def test_remarks_of_several_seeds_are_said_once(made):
    loaded = load(made)
    runs = health.runs(loaded, starts.outcomes(loaded))
    twice = [run for run in runs if (run.domain, run.method) == ("tldr", "collm_dc")]
    remark = twice[1].remarks[0]
    both = [health.RunHealth("tldr", "collm_dc", seed, twice[1].health, [remark], None) for seed in (3, 5, 8)]
    assert health.remark_lines(both) == [f"CoLLM-DC, seed 3 (also seeds 5, 8): {remark.text}."]


def test_latex_is_balanced_and_escaped(made):
    text = (made / "results" / "tables" / "health.tex").read_text(encoding="utf-8")
    assert text.isascii() and r"\input{health.tex}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\begin{tabular}") == 2 and r"\label{tab:health-str-build}" in text
    assert r"Remarks: CoLLM-DC, seed 1: entropy grew." in text and r"$\rightarrow$" in text


def small(folder: Path, **changes) -> Path:
    """TLDR with CoLLM-CC and one seed."""
    write_results(folder, config(["tldr"], [0], ["collm_cc"]) | changes)
    return folder


def test_a_fall_that_only_the_final_evaluation_shows_is_a_remark(tmp_path):
    samples = small(tmp_path) / "results/tldr/collm_cc/seed0/samples.jsonl"
    write_jsonl(samples, [row | {"reward": 0.0} for row in read_jsonl(samples)])
    assert run(tmp_path) == 0
    assert frame(tmp_path).loc["tldr", "collm_cc", 0]["remarks"] == "below its start"
    text = (tmp_path / "results/tables/health.md").read_text(encoding="utf-8")
    assert "- CoLLM-CC, seed 0: mean reward 0 at the end, below its start at" in text


def test_without_the_row_of_the_start_evaluations_in_training_are_compared(tmp_path):
    small(tmp_path, baselines=["parallel"])  # the run was warm started, so the untrained team is no start
    found = starts.outcomes(load(tmp_path))
    lines = read_jsonl(tmp_path / "results/tldr/collm_cc/seed0/metrics.jsonl")
    rewards = [line["reward"] for line in lines if line["event"] == "evaluation"]
    assert [(one.start, one.end, one.origin) for one in found] == [(rewards[0], rewards[-1], starts.FIRST)]


def test_without_a_warm_start_the_untrained_team_is_the_start(tmp_path):
    small(tmp_path, baselines=["parallel"])
    rewrite(
        tmp_path / "results/tldr/collm_cc/seed0/evaluation.json",
        lambda record: record["config"]["warm_start"].update(enabled=False),
    )
    assert [one.origin for one in starts.outcomes(load(tmp_path))] == ["Parallel (untrained)"]


def test_a_warm_start_below_the_untrained_team_is_marked_too(tmp_path):
    samples = small(tmp_path) / "results/tldr/warm_start/seed0/samples.jsonl"
    write_jsonl(samples, [row | {"reward": -1.0} for row in read_jsonl(samples)])
    found = starts.outcomes(load(tmp_path))
    assert starts.below(found) == {("tldr", "warm_start")}
    assert starts.notes(found)[0].endswith("(Parallel (untrained); seed 0).")


def test_nothing_trained(tmp_path):
    write_results(tmp_path, config(["tldr"], [0], []))
    assert run(tmp_path) == 0
    assert frame(tmp_path).empty
    text = (tmp_path / "results/tables/health.md").read_text(encoding="utf-8")
    assert "No run was trained by reinforcement learning." in text
    health_figure.health(load(tmp_path), get("tldr")({}))


# the figure


def test_a_line_per_run_in_every_panel(made):
    loaded = load(made)
    figure = health_figure.health(loaded, get("tldr")({}))
    assert [axes.get_title() for axes in figure.axes] == [panel.title for panel in PANELS]
    lines = {axes.get_title(): axes.get_lines() for axes in figure.axes}
    counts = {title: len(drawn) for title, drawn in lines.items()}
    assert counts.pop("Explained variance of critics") == 2 and set(counts.values()) == {6}
    colours = [line.get_color() for line in lines["Entropy (nats per token)"]]
    assert colours[0] == colours[1] != colours[2] and len(set(colours)) == 3
    kl = lines["KL to the start (nats per token)"][0]
    assert list(kl.get_xdata()) == [0, 5, 10, 15, 20, 25, 30] and kl.get_ydata()[-1] == pytest.approx(0.1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["MAGRPO", "CoLLM-DC", "CoLLM-CC"]


def test_what_was_not_measured_is_said(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "results" / "tldr").glob("*/seed*/metrics.jsonl"):
        change = [
            {key: value for key, value in row.items() if "kl_" not in key and "explained" not in key}
            for row in read_jsonl(path)
        ]
        write_jsonl(path, change)
    figure = health_figure.health(load(tmp_path), get("tldr")({}))
    said = {axes.get_title(): [text.get_text() for text in axes.texts] for axes in figure.axes}
    assert said["KL to the start (nats per token)"] == ["not measured"]
    assert said["Explained variance of critics"] == ["no critics"]


def test_points_stand_at_the_updates_that_were_learnt_from():
    lines = [
        {"event": "evaluation", "kl_to_start/agent_0": 0.0},
        {"event": "rollout", "invalid/agent_0": 0.1, "invalid/agent_1": 0.3},
        {"event": "update", "gradient_norm": 9.0, "gradient_norm/agent_0": 1.0, "gradient_norm/critic": 5.0},
        {"event": "update", "gradient_norm/agent_0": 2.0, "gradient_norm/agent_1": 4.0},
        {"event": "evaluation", "kl_to_start/agent_0": 0.5},
    ]
    by_metric = {panel.metric: points(lines, panel).to_numpy().tolist() for panel in PANELS}
    assert by_metric["kl_to_start"] == [[0, 0.0], [2, 0.5]]
    assert by_metric["invalid"] == [[0, pytest.approx(20)]]
    assert by_metric["gradient_norm"] == [[1, 1.0], [2, 3.0]]
    assert by_metric["entropy"] == []
