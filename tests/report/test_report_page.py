"""The report page: it opens with the numbers, says where they are from, escapes everything, and needs no network."""

from __future__ import annotations

import html.parser
import re
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from support import chromium
from support.result_files import config, manifest, write_results, write_run

import make_report
from collm.common import cli
from collm.common.files import write_atomic, write_json
from collm.domains import NAMES, get
from collm.report import results
from collm.report.front.claims import claims, what_it_is, who_reads_whom
from collm.report.front.markup import estimates, picture, table
from collm.report.front.page import _with_roles
from collm.report.tables import difference_frame, main_frame

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'


class Reader(html.parser.HTMLParser):
    """Texts of headings and cells, in order, and the tags that are left open."""

    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "th", "td", "li", "caption") and data.strip():
            self.found.append((self.open[-1], data.strip()))


def run(folder: Path, *more: str) -> int:
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    return cli.run(make_report.main, ["--config", str(folder / "config.json"), *places, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("report")
    write_results(place, config(["tldr", "str_build"], [0, 1]))
    for name in ("curves_tldr", "bars_tldr", "health_tldr", "worlds_str_build"):
        write_atomic(place / "results" / "figures" / f"{name}.svg", SVG)
    write_atomic(place / "results" / "episodes.html", "")
    assert run(place) == 0
    return place


@pytest.fixture(scope="module")
def text(folder) -> str:
    return (folder / "results" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text) -> list[tuple[str, str]]:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader.found


def test_it_opens_with_the_overview(read):
    headings = [words for tag, words in read if tag in ("h1", "h2")]
    assert headings == ["Teams of language models: results", "Overview", "TLDR", "StrBuild"]
    first = [words for tag, words in read[: read.index(("h2", "TLDR"))] if tag in ("th", "td")]
    assert first[:3] == ["Benchmark", "Metric", "Parallel (untrained)"]
    assert "Score (%) ↑" in first and "IoU (%) ↑" in first
    cells = [words for words in first if re.match(r"\d+\.\d \[", words)]
    assert len(cells) == 10, "five rows on two benchmarks"


def test_numbers_are_those_of_the_tables(read):
    assert ("caption", "StrBuild: final results") in read
    assert len([words for tag, words in read if tag == "td" and words == "2 × 4 × 3"]) == 10


def test_the_overview_has_the_numbers_of_the_main_table(folder, read):
    settings = config(["tldr", "str_build"], [0, 1])
    loaded = results.load(settings, folder / "results", folder / "data")
    domains = {name: get(name)({}) for name in ("tldr", "str_build")}
    main = main_frame(loaded, domains)
    before = [words for tag, words in read[: read.index(("h2", "TLDR"))] if tag == "td"]
    for name, domain in domains.items():
        own = main[(main["domain"] == name) & (main["metric"] == domain.metrics[0].name)]
        for row in own.itertuples():
            cell = f"{row.point:.1f} [{row.low:.1f}, {row.high:.1f}]"
            assert any(words.startswith(cell) for words in before), (name, row.method, cell)


def test_heads_and_agents_are_named_as_people_name_them(read, text):
    heads = [words for tag, words in read if tag in ("th", "caption")]
    assert "Cost (tokens)" in heads and "Adj (%)" in heads and "Reward" in heads
    assert [words for words in heads if "_" in words or words in ("tokens", "score", "iou", "reward")] == []
    assert "What the columns mean" in text and "Trained methods: MAGRPO, CoLLM-DC, CoLLM-CC. Baselines: " in text
    assert _with_roles("critic_0 and agent_1; agent_7", get("tldr")({})) == (
        "critic_0 (summariser) and agent_1 (elaborator); agent_7"
    )
    # The browser counts agents from 1: a sentence that counts from 0 would be read wrongly.
    assert [name for name in NAMES if re.search(r"[Aa]gents? 0", what_it_is(get(name)({})))] == []
    assert [name for name in NAMES if "`" in what_it_is(get(name)({}))] == []


@pytest.mark.skipif(chromium.program() is None, reason="no Chromium here; apt-get install chromium")
def test_pictures_fit_a_laptop_and_scroll_on_a_telephone(folder):
    wide = '<svg xmlns="http://www.w3.org/2000/svg" width="936pt" height="200pt" viewBox="0 0 936 200"/>'
    write_atomic(folder / "results" / "wide.svg", wide)
    shown = picture((folder / "results" / "wide.svg").read_bytes(), "w", "c")
    style = resources.files("collm.report.front").joinpath("static", "report.css").read_text(encoding="utf-8")
    write_atomic(folder / "results" / "wide.html", f"<!doctype html><style>{style}</style><main>{shown}</main>")
    width = "document.querySelector('img').offsetWidth"
    with chromium.opened() as page:
        for window, least, most in ((1200, 1100, 1180), (400, 870, 880)):
            page.size(window, 800)
            page.open(folder / "results" / "wide.html")
            assert least <= page.evaluate(width) <= most, window
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        page.open(folder / "results" / "report.html")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        first = "document.querySelector('tbody th').getBoundingClientRect().left"
        page.evaluate("void (document.querySelector('.wide').scrollLeft = 200)")
        assert page.evaluate(first) >= 0, "the name of a row stays in sight"


def test_warnings_and_origins_stand_beside_the_numbers(text):
    assert text.count("Embedded data, scratch model: not comparable with the paper") == 4
    assert "With 2 seeds the interval is at most the range of the runs" in text
    assert "8 to train, 8 to test" in text and "3 per test task" in text


def test_captions_count_what_pictures_stand_for(text):
    assert "n = 2 seeds × 4 test tasks × 3 samples" in text and "bands 95 % bootstrap intervals over seeds" in text
    assert text.count("<figcaption>") == text.count("<figure>") == 5


def test_what_a_score_does_not_see_is_said_beside_it(text):
    assert text.count("words in random order can earn 3.0 of 3") == 3  # overview, section, bars
    assert "Texts were not measured beside their score" in text  # results of an older version


def test_drawings_are_inside_and_missing_ones_are_named(text):
    assert text.count('src="data:image/svg+xml;base64,') == 5
    assert "curves_str_build.svg is not there" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:|//)""", text) and "<script" not in text


def test_links_to_pages_that_are_there(text):
    assert text.count('href="episodes.html') == 3 and "workflow.html" not in text


def test_the_same_results_give_the_same_page(folder, text):
    assert run(folder) == 0
    assert (folder / "results" / "report.html").read_text(encoding="utf-8") == text


def test_what_is_missing_is_said(tmp_path, capsys):
    write_results(tmp_path, config(["tldr"], [0, 1], ["collm_cc"]))
    gone = tmp_path / "results" / "tldr" / "collm_cc" / "seed1" / "samples.jsonl"
    gone.unlink()
    assert run(tmp_path) == 2 and "samples.jsonl" in capsys.readouterr().err
    assert run(tmp_path, "--partial") == 0
    assert str(gone) in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")


def test_labels_from_files_are_escaped(tmp_path):
    write_results(tmp_path, config(["tldr"], [0], ["collm_cc"]))
    write_json(tmp_path / "data" / "tldr" / "manifest.json", manifest("tldr") | {"label": "<img src=x onerror=1>"})
    assert run(tmp_path) == 0
    page = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;img src=x" in page


def test_claims_follow_from_the_intervals(tmp_path):
    write_results(tmp_path, config(["tldr"], [0, 1], ["magrpo", "collm_cc"]))
    loaded = results.load(config(["tldr"], [0, 1], ["magrpo", "collm_cc"]), tmp_path / "results", tmp_path / "data")
    domains = {"tldr": get("tldr")({})}
    main, differences = (frame(loaded, domains, resamples=200) for frame in (main_frame, difference_frame))
    (sentence,) = claims(main, differences, domains)
    assert sentence.startswith("TLDR: Score of CoLLM-CC is ")
    assert " %, the highest of the trained methods; that is +" in sentence
    assert (
        " points against Warm start, 95 % interval +" in sentence
        and "(2 seeds: read the interval as a range)." in sentence
    )
    close = main.assign(low=0.0, high=100.0)
    assert claims(close, differences, domains)[0].endswith("overlaps with that of MAGRPO: their order is not settled.")
    apart = main.assign(low=main["point"], high=main["point"])
    assert "overlaps" not in claims(apart, differences, domains)[0]
    alone = claims(main[main["method"] == "collm_cc"], differences, domains)[0]
    assert "highest" not in alone and "overlaps" not in alone
    still = differences.assign(low=-1.0, high=1.0)
    assert "which shows no change: the interval holds 0" in claims(main, still, domains)[0]
    assert claims(main[main["method"] == "parallel"], differences, domains) == []


def test_baselines_that_read_each_other_are_named(tmp_path):
    loaded = config(["tldr"], [0], ["magrpo"])
    write_results(tmp_path, loaded)
    assert "none reads" in who_reads_whom(results.load(loaded, tmp_path / "results", tmp_path / "data"))
    loaded["baselines"] = ["pipeline"]
    write_run(tmp_path / "results" / "tldr" / "pipeline" / "seed0", "tldr", "pipeline", 0, {"source": "scratch"})
    words = who_reads_whom(results.load(loaded, tmp_path / "results", tmp_path / "data"))
    assert words.endswith("but in Pipeline (not decentralised).")


def test_tables_of_texts():
    frame = pd.DataFrame({"A": ["<x>"], "B": ["1"], "C": ["2"]})
    written = table(frame, "T & T", heads=2, notes={0: "n"})
    assert '<th scope="row">&lt;x&gt;<span class="note">n</span></th><td class=name>1</td><td>2</td>' in written
    assert "T &amp; T" in written
    rows = pd.DataFrame([["m", "part.a_b", 1.0, 0.5, 2.0], ["n", "reward", 3.0, None, None]])
    rows.columns = ["method", "metric", "point", "low", "high"]
    assert estimates(rows, str.upper, str.title).to_dict("records") == [
        {"Method": "M", "Part.A_B": "1 [0.5, 2]", "Reward": "–"},
        {"Method": "N", "Part.A_B": "–", "Reward": "3"},
    ]
