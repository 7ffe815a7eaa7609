"""Arrows, stars and the mark of runs that ended below their start, from made-up samples with known answers."""

from __future__ import annotations

import pytest
from support.result_files import config, write_results

import make_tables
from collm.common import cli
from collm.common.files import read_jsonl, write_jsonl


@pytest.fixture
def overview(tmp_path):
    """Makes tables of TLDR where every sample of a run has the same score; gives the overview and the main table."""

    def make(levels: dict[str, list[float]], tasks: float = 0.0) -> tuple[str, str]:
        seeds = list(range(len(levels["warm_start"])))
        configuration = config(["tldr"], seeds, [name for name in levels if name not in ("parallel", "warm_start")])
        configuration["baselines"] = [name for name in levels if name in ("parallel", "warm_start")]
        write_results(tmp_path, configuration)
        for method, scores in levels.items():
            for seed, score in enumerate(scores):
                file = tmp_path / "results" / "tldr" / method / f"seed{seed}" / "samples.jsonl"
                rows = read_jsonl(file)
                for place, row in enumerate(rows):
                    value = score + tasks * (place // 3)  # three samples a task
                    row |= {"reward": value / 10, "metrics": {"score": value}}
                write_jsonl(file, rows)
        places = ["--results", str(tmp_path / "results"), "--data", str(tmp_path / "data")]
        assert cli.run(make_tables.main, ["--config", str(tmp_path / "config.json"), *places]) == 0
        return tuple(
            (tmp_path / f"results/tables/{name}.md").read_text(encoding="utf-8") for name in ("overview", "main")
        )

    return make


def cells(table: str) -> dict[str, str]:
    """The only row of an overview by its heads."""
    head, _, row = (line for line in table.splitlines() if line.startswith("|"))
    return dict(zip(*([cell.strip() for cell in line.split("|")] for line in (head, row)), strict=True))


def test_arrows_and_stars_follow_the_paired_difference(overview):
    """Tasks and seeds differ far more than methods do; paired, every seed has the same difference."""
    start = [20.0, 40.0, 60.0]
    levels = {
        "warm_start": start,
        "magrpo": [21.0, 41.0, 61.0],
        "collm_dc": start,
        "collm_cc": [10.0, 45.0, 62.0],
    }
    table, _ = overview(levels, tasks=5.0)
    row = cells(table)
    assert row["MAGRPO"].endswith("] ↑*") and row["CoLLM-DC"].endswith("] =")
    assert row["CoLLM-CC"].endswith("] ↓ †"), "one seed fell far, two rose a little: no star, and a run below its start"
    assert row["Warm start"].endswith("]")
    text = " ".join(table.split())
    assert "↑ ↓ =: above, below, equal to what training starts from (Warm start), same seeds and tasks" in text
    assert "over 3 seeds: it is then no wider than the runs themselves" in text
    fallen = "† TLDR, CoLLM-CC: mean reward 1.75, below its start at 2.75 (Warm start; seed 0 of 3)."
    assert fallen in text and text.index("↑ ↓ =:") < text.index(fallen)


def test_runs_below_their_start_are_named_and_shown(overview):
    levels = {"parallel": [5.0, 5.0], "warm_start": [4.0, 9.0], "magrpo": [8.0, 8.0], "collm_cc": [3.0, 8.0]}
    table, main = overview(levels)
    row = cells(table)
    assert row["CoLLM-CC"].endswith("] ↓* †") and row["MAGRPO"].endswith("] ↑ †") and row["Warm start"].endswith("] †")
    notes = (
        "- † TLDR, Warm start: mean reward 0.4, below its start at 0.5 (Parallel (untrained); seed 0 of 2). "
        "- † TLDR, MAGRPO: mean reward 0.8, below its start at 0.9 (Warm start; seed 1 of 2). "
        "- † TLDR, CoLLM-CC: mean reward 0.55, below its start at 0.65 (Warm start; seeds 0, 1 of 2)."
    )
    assert notes in " ".join(table.split()) and notes in " ".join(main.split())
    assert "| CoLLM-CC †" in main and "| Parallel (untrained) " in main


def test_one_seed_speaks_for_itself_and_nothing_is_marked_without_need(overview):
    table, main = overview({"warm_start": [4.0], "collm_cc": [6.0]}, tasks=1.0)
    assert cells(table)["CoLLM-CC"].endswith("] ↑*")
    assert "one seed, 4 test tasks or more: it speaks for this one run alone" in " ".join(table.split())
    assert "†" not in table + main


def test_without_a_start_there_is_nothing_to_mark(overview):
    table, _ = overview({"warm_start": [4.0, 5.0]})
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and "↓" not in table and "†" not in table
