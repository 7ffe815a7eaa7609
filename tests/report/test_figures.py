"""Figures from synthetic results: files, bytes that repeat, what the lines and blocks are, and bad input."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from support.result_files import config, world, write_results

import make_figures
from collm.common import cli
from collm.common.errors import DataError
from collm.common.files import read_jsonl, write_jsonl
from collm.domains import get
from collm.methods.registry import METHODS, ROWS
from collm.pipeline import targets
from collm.report import figures, house_build_worlds, results, str_build_worlds, tables
from collm.report.worlds import TARGET, World

NAMES = [f"{kind}_{domain}" for kind in ("bars", "curves", "health") for domain in ("str_build", "tldr")]
NAMES += ["worlds_str_build"]


def run(folder: Path, out: str = "figures") -> int:
    places = {"--config": "config.json", "--results": "results", "--data": "data", "--out": out}
    return cli.run(make_figures.main, [part for key, name in places.items() for part in (key, str(folder / name))])


def load(folder: Path, domains: list[str], seeds: list[int]) -> results.Results:
    write_results(folder, config(domains, seeds))
    return results.load(config(domains, seeds), folder / "results", folder / "data")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Figures of both domains with one seed."""
    folder = tmp_path_factory.mktemp("drawn")
    write_results(folder, config(["tldr", "str_build"], [0]))
    assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory) -> results.Results:
    """StrBuild results with three seeds."""
    return load(tmp_path_factory.mktemp("three"), ["str_build"], [0, 1, 2])


def test_every_figure_is_there_with_its_caption(drawn):
    assert sorted(path.name for path in (drawn / "figures").iterdir()) == sorted(
        f"{name}.{kind}" for name in NAMES for kind in targets.SUFFIXES
    )
    for name in NAMES:
        caption = (drawn / "figures" / f"{name}.txt").read_text(encoding="utf-8")
        assert caption.startswith(("TLDR", "StrBuild")) and "seed" in caption and caption.endswith(".\n")
        assert (drawn / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = (drawn / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
        assert "dc:date" not in text


def test_the_same_results_give_the_same_bytes(drawn):
    assert run(drawn, "again") == 0
    for path in (drawn / "figures").iterdir():
        assert path.read_bytes() == (drawn / "again" / path.name).read_bytes(), path.name


def test_one_seed_shows_evaluations_training_reward_and_the_warm_start_level(tmp_path):
    loaded = load(tmp_path, ["tldr"], [0])
    axes = figures.learning_curves(loaded, "tldr", 3.0).axes[0]
    assert axes.get_xlabel().startswith("Environment steps") and "maximum 3" in axes.get_ylabel()
    lines = {line.get_label(): line for line in axes.get_lines()}
    curves = loaded.curves[(loaded.curves["method"] == "collm_cc") & (loaded.curves["event"] == "evaluation")]
    assert lines["CoLLM-CC"].get_xdata().tolist() == curves["env_step"].tolist()
    assert lines["CoLLM-CC"].get_ydata().tolist() == pytest.approx(curves["reward"].tolist())
    first = loaded.curves[(loaded.curves["event"] == "evaluation") & (loaded.curves["env_step"] == 0)]
    assert lines["Warm start"].get_xdata()[0] == 0 and lines["Warm start"].get_marker() == "*"
    assert lines["Warm start"].get_ydata()[0] == pytest.approx(first["reward"].mean())  # what the curves begin with
    assert lines["Warm start"].get_linestyle() == "--"
    assert sum(line.get_alpha() == 0.3 for line in axes.get_lines()) == 3  # the faint training rewards
    assert not axes.collections


def test_seeds_give_a_band_around_their_mean(three_seeds):
    axes = figures.learning_curves(three_seeds, "str_build", 2.0).axes[0]
    assert len(axes.collections) == 3 and all(line.get_alpha() != 0.3 for line in axes.get_lines())
    curves = three_seeds.curves[three_seeds.curves["method"] == "magrpo"]
    line = figures.evaluation_curve(curves)
    at = curves[(curves["event"] == "evaluation") & (curves["iteration"] == 10)]
    assert line["point"].iloc[2] == pytest.approx(at["reward"].mean())
    assert line["env_step"].iloc[2] == pytest.approx(at["env_step"].mean())
    assert at["reward"].min() <= line["low"].iloc[2] <= line["point"].iloc[2] <= line["high"].iloc[2]


def test_seeds_with_other_evaluations_are_refused(three_seeds):
    curves = three_seeds.curves[three_seeds.curves["method"] == "magrpo"]
    assert curves["iteration"].max() == 30
    without = curves[~((curves["seed"] == 1) & (curves["iteration"] == 15))]
    with pytest.raises(DataError, match="str_build/magrpo: not every seed was evaluated at iteration 15"):
        figures.evaluation_curve(without)


def test_the_ends_of_runs_of_different_lengths_are_one_point():
    rewards = {0: {0: 0.1, 8: 0.5, 12: 0.9}, 1: {0: 0.3, 8: 0.7, 16: 0.6, 18: 1.1}}
    rows = [
        ("algebra", "magrpo", "evaluation", seed, iteration, 10 * iteration, reward)
        for seed, values in rewards.items()
        for iteration, reward in values.items()
    ]
    columns = ["domain", "method", "event", "seed", "iteration", "env_step", "reward"]
    line = figures.evaluation_curve(pd.DataFrame(rows, columns=columns))
    assert line["env_step"].tolist() == [0, 80, 150]  # 120 and 180 at the ends; 160 of the longer run is left out
    assert line["point"].tolist() == pytest.approx([0.2, 0.6, 1.0])


@pytest.mark.parametrize(
    ("lowest", "highest", "unit", "ends"),
    [
        (0.0, 75.0, "%", (0, 100)),
        (0.0, 100.0, "%", (0, 100)),
        (0.0, 0.0, "%", (0, 100)),
        (0.0, 2.0, "%", (0, 2.6)),
        (0.0, 110.0, "%", (0, 143)),
        (-1.0, 50.0, "%", (-1.1, 65)),
        (0.0, 60.0, "tokens", (0, 78)),
    ],
)
def test_bars_in_per_cent_go_from_0_to_100(lowest, highest, unit, ends):
    assert figures.bar_range(lowest, highest, unit) == pytest.approx(ends)


def several_turns(loaded: results.Results, at_evaluations: bool) -> results.Results:
    """The same results as of two turns, with returns in evaluations or in training rollouts alone."""
    curves = loaded.curves.copy()
    held = curves["event"].isin(["rollout", "evaluation"] if at_evaluations else ["rollout"])
    curves["return"] = (2 * curves["reward"]).where(held)
    return dataclasses.replace(loaded, samples=loaded.samples.assign(turns=2), curves=curves)


def test_returns_stand_beside_rewards_where_there_are_several_turns(three_seeds):
    assert len(figures.learning_curves(three_seeds, "str_build", 2.0, "mean", 200).axes) == 1
    both = several_turns(three_seeds, True)
    rewards, returns = figures.learning_curves(both, "str_build", 2.0, "mean", 200).axes
    for first, second in zip(rewards.get_lines(), returns.get_lines(), strict=True):
        assert second.get_ydata() == pytest.approx(2 * np.asarray(first.get_ydata()))
    assert rewards.get_xlim() == returns.get_xlim()
    training = several_turns(three_seeds, False)
    panel = figures.learning_curves(training, "str_build", 2.0, "mean", 200).axes[1]
    assert "training tasks" in panel.get_ylabel() and len(panel.get_lines()) == 9  # a line per run


def test_curves_end_where_their_runs_end(three_seeds):
    curves = three_seeds.curves
    short = dataclasses.replace(
        three_seeds, curves=curves[(curves["method"] != "magrpo") | (curves["iteration"] <= 10)]
    )
    axes = figures.learning_curves(short, "str_build", 2.0, "mean", 200).axes[0]
    ends = {line.get_label(): max(line.get_xdata()) for line in axes.get_lines()}
    at = curves[(curves["method"] == "magrpo") & (curves["iteration"] == 10) & (curves["event"] == "evaluation")]
    assert ends["MAGRPO"] == pytest.approx(at["env_step"].mean())
    longest = short.curves["env_step"].max()
    assert axes.get_xlim()[1] == pytest.approx(1.01 * longest)


def test_teams_and_single_agents_have_starts_of_their_own(three_seeds):
    curves = three_seeds.curves[three_seeds.curves["domain"] == "str_build"]
    alone = curves[curves["method"] == "magrpo"].assign(method="grpo", reward=0.25)
    found = figures.starts(three_seeds, pd.concat([curves, alone]))
    assert list(found) == ["warm_start", "raw"]  # no record says that grpo was warm-started
    first = curves[(curves["event"] == "evaluation") & (curves["env_step"] == 0)]
    assert found["warm_start"] == pytest.approx(first["reward"].mean()) and found["raw"] == 0.25


def test_smoothing_by_hand():
    # Span 5: weights 1, 2/3, 4/9 back in time, normalised.
    assert figures.smoothed(pd.Series([1.0, 2.0, 6.0])).tolist() == pytest.approx(
        [1.0, (2 + 2 / 3) / (1 + 2 / 3), (6 + 2 * 2 / 3 + 4 / 9) / (1 + 2 / 3 + 4 / 9)]
    )


def test_methods_have_their_own_colour_and_marker():
    assert set(figures.COLOURS) == set(ROWS) and set(figures.MARKERS) == set(METHODS)
    assert len(set(figures.COLOURS.values())) == len(figures.COLOURS)
    assert len(set(figures.MARKERS.values())) == len(figures.MARKERS)


def test_a_row_without_a_colour_of_its_own_takes_a_spare_one():
    own = {"first": "red", "last": "blue"}
    rows = ["first", "new", "last", "newer", "newest"]
    assert dict(figures.WithSpares(own, ("grey", "brown"), dict.fromkeys(rows))) == {
        **own,
        **{"new": "grey", "newer": "brown", "newest": "grey"},
    }
    assert (figures.COLOURS["collm_cc"], figures.MARKERS["collm_cc"]) == ("#D55E00", "o")


def test_bars_show_the_table(three_seeds):
    domain = get("str_build")({})
    main = tables.main_frame(three_seeds, {"str_build": domain}, resamples=200)
    panels = figures.final_bars(main, "str_build", domain.metrics).axes
    labels = [axes.get_xlabel() for axes in panels]
    assert labels == ["IoU (%)", "Adj (%)", "Coverage (%)", "Cost (tokens)", "Time (s)"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "Parallel (untrained)",
        "Warm start",
        "MAGRPO",
        "CoLLM-DC",
        "CoLLM-CC",
    ]
    iou = main[main["metric"] == "iou"].set_index("method")["point"]
    bars = {to_hex(bar.get_facecolor()): bar.get_width() for bar in panels[0].patches}
    widths = {method: bars[figures.COLOURS[method].lower()] for method in iou.index}
    assert widths == pytest.approx(iou.to_dict())
    ys = panels[0].get_ylim()
    assert ys[0] > ys[1]  # the table's first row stands on top


def test_bars_of_nothing_but_zeros_have_the_range_of_their_unit(three_seeds):
    domain = get("str_build")({})
    main = tables.main_frame(three_seeds, {"str_build": domain}, resamples=200)
    main.loc[main["metric"] == "iou", ["point", "low", "high"]] = 0.0
    panel = figures.final_bars(main, "str_build", domain.metrics).axes[0]
    assert panel.get_xlim() == (0, 100) and list(panel.get_xticks()) == [0, 25, 50, 75, 100]


def test_a_single_rollout_can_be_seen(tmp_path):
    loaded = load(tmp_path, ["str_build"], [0])
    rollouts = loaded.curves["event"] == "rollout"
    one = loaded.curves[rollouts].drop_duplicates("method")
    short = dataclasses.replace(loaded, curves=pd.concat([loaded.curves[~rollouts], one]))
    lines = figures.learning_curves(short, "str_build", 2.0, "mean", 200).axes[0].lines
    assert [line.get_marker() for line in lines if len(line.get_xdata()) == 1] == ["."] * len(one) + ["*"]


def test_world_shows_blocks_targets_and_extras():
    built = [[0, 0, 0, "stone"], [2, 1, 0, "obsidian"]]
    record = {"targets": [[0, 0, 0], [1, 0, 0]], "built": built, "size": [3, 2]}
    axes = str_build_worlds.worlds([World("Method", "IoU 33 %", record)], "Heading").axes[0]
    filled = {patch.get_xy(): patch for patch in axes.patches[1:] if patch.get_fill()}
    assert set(filled) == {(0, 0), (2, 1)}
    assert to_hex(filled[0, 0].get_facecolor()) == str_build_worlds.MATERIALS["stone"].lower()
    assert filled[0, 0].get_hatch() is None and filled[2, 1].get_hatch() == "////"
    outlines = [patch.get_xy() for patch in axes.patches[1:] if not patch.get_fill()]
    assert outlines == [(0, 0), (1, 0)]
    assert axes.get_title() == "Method\nIoU 33 %"


def test_strange_blocks_get_colours_and_deep_worlds_are_refused():
    record = {"targets": [[0, 0, 0]], "built": [[0, 0, 0, "glass"]], "size": [1, 1]}
    figure = str_build_worlds.worlds([World("a", "", record)], "")
    assert "glass" in [text.get_text() for text in figure.legends[0].get_texts()]
    deep = record | {"built": [[0, 0, 0, "stone"], [0, 0, 1, "stone"]]}
    with pytest.raises(DataError, match=r"the world of a has depths \[0, 1\]"):
        str_build_worlds.worlds([World("a", "", deep)], "")
    with pytest.raises(DataError, match="no world to draw"):
        str_build_worlds.worlds([], "")


def test_worlds_are_those_of_the_real_domain(three_seeds):
    # What the domain records is what the drawing reads.
    domain = get("str_build")({})
    rows = domain.embedded(0)["paper"]
    task = domain.task(rows[8], 8)
    step = domain.step(task, 0, ["/setblock 0 0 0 stone", "/setblock 1 1 0 obsidian"], domain.start(task, 0))
    axes = str_build_worlds.worlds([World("a", "", step.record)], task.fields["string"]).axes[0]
    assert set(world(0.5, np.random.default_rng(0))) <= set(step.record)
    assert sum(not patch.get_fill() for patch in axes.patches) == 46  # target cells of ICML
    titles = [axes.get_title() for axes in str_build_worlds.final_worlds(three_seeds, domain).axes if axes.get_title()]
    assert [text.split("\n")[0] for text in titles][-1] == "CoLLM-CC" and "IoU" in titles[0]


def house_panel(texts, name="a"):
    domain = get("house_build")({})
    task = domain.task(domain.embedded(0)["paper"][9], 9)
    record = domain.step(task, 0, texts, domain.start(task, 0)).record
    return World(name, "IoU", record)


def test_houses_show_target_view_and_layers():
    texts = ["/fill 0 0 0 0 0 0 planks\n/fill 0 0 1 0 0 1 obsidian", ""]
    figure = house_build_worlds.houses([house_panel(texts)], "Heading")
    assert len(figure.axes) == 2 * 8  # target and world: isometric view and seven layers
    view, ground = figure.axes[8], figure.axes[9]
    assert view.get_title() == "a\nIoU" and figure.axes[1].get_title() == "y = 0"
    assert len(view.patches) == 1 + 5  # ground; two neighbours: the front one hides a face of the other
    marks = {patch.get_xy(): patch for patch in ground.patches[1:]}
    assert marks[0, 0].get_hatch() and marks[0, 0].get_facecolor()[:3] == to_rgb(house_build_worlds.MATERIALS["planks"])
    wrong = [patch for patch in ground.patches if to_hex(patch.get_edgecolor()) == TARGET.lower()]
    assert len(wrong) == 30 and sum(patch.get_linestyle() == ":" for patch in wrong) == 29
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["white_concrete", "obsidian"] and labels[-1] == "extra block"


def test_houses_refuse_nothing_and_different_houses():
    with pytest.raises(DataError, match="no world to draw"):
        house_build_worlds.houses([], "")
    other = house_panel(["", ""])
    moved = World("b", "", other.record | {"from": [1, 0, 0]})
    with pytest.raises(DataError, match="one task at a time"):
        house_build_worlds.houses([other, moved], "")


def test_final_houses_come_from_the_samples(tmp_path):
    loaded = load(tmp_path, ["house_build"], [0])
    figure = house_build_worlds.final_houses(loaded, get("house_build")({}))
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if "%" in axes.get_title()]
    assert titles[-1] == "CoLLM-CC" and len(titles) == 5


def test_the_workflow_asks_for_the_worlds_that_are_drawn():
    assert set(make_figures.WORLDS) == set(targets.WORLDS)
    assert make_figures.WORLDS["house_build"] is house_build_worlds.final_houses


def test_missing_and_empty_files_are_named(tmp_path, capsys):
    write_results(tmp_path, config(["tldr"], [0]))
    metrics = tmp_path / "results" / "tldr" / "collm_dc" / "seed0" / "metrics.jsonl"
    rows = read_jsonl(metrics)

    def refused(text: str) -> None:
        assert run(tmp_path) == 2
        assert text in capsys.readouterr().err
        assert not (tmp_path / "figures").exists()

    metrics.unlink()
    refused(f"not there: {metrics}")
    metrics.write_text("")
    refused(f"{metrics} is empty")
    write_jsonl(metrics, [row for row in rows if row["event"] == "update"])
    refused(f"{metrics} holds neither a rollout nor an evaluation")
    del rows[0]["env_step"]
    write_jsonl(metrics, rows)
    refused(f"{metrics}:1: evaluation without 'env_step'")
    samples = metrics.with_name("samples.jsonl")
    write_jsonl(metrics, rows[1:])
    samples.unlink()
    refused(f"not there: {samples}")
