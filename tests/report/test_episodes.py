"""The data of the episode browser: who placed what, texts once, what files hold, and that nothing becomes markup."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import pytest
from support.episode_files import HOSTILE, write_episodes
from support.result_files import config, write_results

import episodes
from collm.common import cli
from collm.common.errors import DataError
from collm.common.files import read_jsonl, write_jsonl
from collm.domains.base import RawRow
from collm.domains.building.house_build import HouseBuild
from collm.report.episodes.pack import pack
from collm.report.episodes.page import in_script
from collm.report.episodes.views import views
from collm.report.results import Run

STRINGS = [RawRow({"string": string}, f"test:{place}") for place, string in enumerate(("#.#/.#.", "L"))]


def builders(place, sample, turn):
    return [f"/setblock {sample} 0 0 stone\n/setblock {turn} 1 0 stone", "/setblock 1 0 0 obsidian"]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_episodes(tmp_path, config(["str_build"], [0], ["magrpo"]), {"str_build": (STRINGS, builders)})
    return tmp_path


def run(folder: Path, *more: str) -> int:
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    return cli.run(episodes.main, ["--config", str(folder / "config.json"), *places, *more])


def run_of(folder: Path, method: str = "magrpo", domain: str = "str_build") -> Run:
    return Run(domain, method, 0, folder / "results" / domain / method / "seed0")


def unpacked(text: str, domain: str) -> dict:
    (block,) = re.findall(rf'id="pack-{domain}">([A-Za-z0-9+/=]*)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(block)))


# --- views ---


def wall(built, *placed):
    return {"targets": [[0, 0, 0]], "size": [3, 3], "built": built, "placed": list(placed)}


def test_the_last_agent_to_write_a_cell_owns_its_block():
    first = wall(
        [[0, 0, 0, "obsidian"], [1, 0, 0, "stone"]],
        [[0, 0, 0, "stone"], [1, 0, 0, "stone"], [2, 0, 0, "stone"], [2, 0, 0, "air"]],
        [[0, 0, 0, "obsidian"]],
    )
    assert views([first])[0]["built"] == [[0, 0, 0, "obsidian", 1], [1, 0, 0, "stone", 0]]


def test_owners_last_over_turns_as_long_as_blocks_stand():
    first = wall([[0, 0, 0, "stone"], [1, 0, 0, "stone"]], [[0, 0, 0, "stone"], [1, 0, 0, "stone"]], [])
    kept = wall([[0, 0, 0, "stone"], [2, 0, 0, "obsidian"]], [], [[1, 0, 0, "air"], [2, 0, 0, "obsidian"]])
    emptied, again = wall([], [], []), wall([[0, 0, 0, "stone"]], [], [])
    owners = [[cell[4] for cell in view["built"]] for view in views([first, kept, emptied, again])]
    assert owners == [[0, 0], [0, 1], [], [None]]


def test_boxes_of_a_house_are_owned_cell_by_cell():
    domain = HouseBuild({"generated": 1})
    task = domain.task(domain.embedded(0)["generated"][0], 0)
    block = domain.house(task).solid[0][1]
    x, y, z = domain.house(task).low
    texts = [f"/fill {x} {y} {z} {x + 1} {y} {z} {block}", f"/fill {x + 1} {y} {z} {x + 1} {y} {z} {block}\n/kill"]
    (view,) = views([domain.step(task, 0, texts, domain.start(task, 0)).record])
    assert view["kind"] == "house" and view["alive"] == 0 and view["kills"] == [False, True]
    assert view["built"] == [[x, y, z, block, 0], [x + 1, y, z, block, 1]]


def test_kinds_follow_from_what_a_record_holds():
    program = {"program": "", "errors": [], "passed": 0, "tests": 2, "timeouts": 0, "loaded": False}
    answers = {"letters": ["A", None], "confidences": [3, 0], "formed": [True, False], "joint_answer": "A"}
    kinds = [view and view["kind"] for view in views([program, answers, {"own": 1}, None])]
    assert kinds == ["program", "answers", "facts", None]


def test_records_without_owners_are_drawn_all_the_same():
    old = {"targets": [[0, 0, 0]], "size": [3, 3], "built": [[0, 0, 0, "stone"]], "accepted": [1], "rejected": [0]}
    assert views([None, old])[1]["built"] == [[0, 0, 0, "stone", None]]


# --- packs ---


def test_a_pack_holds_every_text_once_and_all_of_an_episode(folder):
    packed = pack("str_build", [run_of(folder, "parallel"), run_of(folder)], 100)
    assert len(packed.texts) == len(set(packed.texts)) and packed.left_out == 0
    untrained, trained = packed.runs
    assert (len(untrained["episodes"]), untrained["training"]) == (4, [])
    assert [episode["step"] for episode in trained["training"]][0] == 0 and len(trained["training"]) == 7
    row = read_jsonl(run_of(folder).folder / "samples.jsonl")[1]
    shown = trained["episodes"][1]
    assert packed.texts[shown["task"]] == row["task"] and shown["reward"] == row["reward"]
    for turn, kept in zip(row["turns"], shown["turns"], strict=True):
        for agent, one in enumerate(kept["agents"]):
            assert packed.texts[one["answer"]] == turn["responses"][agent]
            assert packed.texts[one["prompt"]] == turn["prompts"][agent]
            messages = [{"role": role, "content": packed.texts[number]} for role, number in one["shown"]]
            assert messages == turn["observations"][agent]
            assert one["told"] == {"facts": turn["feedback"][agent]}
        assert kept["view"]["kind"] == "wall" and kept["parts"] == turn["parts"]


def test_first_samples_of_all_tasks_stay_where_there_are_too_many(folder):
    packed = pack("str_build", [run_of(folder)], 3)
    kept = [(packed.texts[episode["task"]], episode["sample"]) for episode in packed.runs[0]["episodes"]]
    assert kept == [("str_build_0000", 0), ("str_build_0000", 1), ("str_build_0001", 0)] and packed.left_out == 1


def test_results_of_earlier_versions_are_shown_as_far_as_they_go(tmp_path):
    """Answers, rewards and the last turn's record alone; examples in metrics.jsonl without their turns."""
    write_results(tmp_path, config(["str_build", "tldr"], [0], ["magrpo"]))
    metrics = run_of(tmp_path).folder / "metrics.jsonl"
    short = {"task": "t", "reward": 1.0, "responses": ["a", "b"]}
    rows = [row | {"examples": [short]} if row["event"] == "evaluation" else row for row in read_jsonl(metrics)]
    write_jsonl(metrics, rows)
    packed = pack("str_build", [run_of(tmp_path)], 100)
    assert packed.runs[0]["training"] == [] and len(packed.runs[0]["episodes"]) == 12
    (turn,) = packed.runs[0]["episodes"][0]["turns"]
    assert turn["agents"][0] == {"answer": packed.texts.index("a"), "tokens": 20} and turn["view"]["kind"] == "wall"
    assert run(tmp_path) == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"domain": "tldr", "method": "magrpo", "seed": 0}, "samples.jsonl:1: not a sample line"),
        ({"seed": 5}, "samples.jsonl:1: belongs to str_build/magrpo/seed5"),
    ],
)
def test_lines_that_are_no_episodes_are_named(folder, line, words):
    path = run_of(folder).folder / "samples.jsonl"
    row = read_jsonl(path)[0]
    write_jsonl(path, [row | line if "seed" in line and len(line) == 1 else line])
    with pytest.raises(DataError, match=re.escape(words)):
        pack("str_build", [run_of(folder)], 9)


# --- the page ---


def test_the_stage_writes_one_page_with_all_runs(folder, capsys):
    assert run(folder) == 0
    path = folder / "results" / "episodes.html"
    assert ": 19 episodes, " in capsys.readouterr().out
    text = path.read_text(encoding="utf-8")
    assert [one["method"] for one in unpacked(text, "str_build")["runs"]] == ["parallel", "warm_start", "magrpo"]
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:|//)""", text), "no network"
    assert "@@" not in text.replace("@@([A-Z]+)@@", "")
    before = path.read_bytes()
    assert run(folder) == 0 and path.read_bytes() == before, "the same results give the same page"


def test_nothing_that_a_model_wrote_stands_in_the_page_as_it_is(tmp_path):
    def say(place, sample, turn):
        return [HOSTILE[(place + sample + turn) % len(HOSTILE)], HOSTILE[(place + 1) % len(HOSTILE)]]

    write_episodes(tmp_path, config(["str_build"], [0], ["magrpo"]), {"str_build": (STRINGS, say)})
    assert run(tmp_path) == 0
    text = (tmp_path / "results" / "episodes.html").read_text(encoding="utf-8")
    assert "hacked" not in text and text.count("<script") == 3
    assert HOSTILE[0] in unpacked(text, "str_build")["texts"]


def test_json_in_a_script_cannot_end_it():
    value = {"label": "</script><!-- & <b>"}
    written = in_script(value)
    assert not set("<>&") & set(written) and json.loads(written) == value
