"""The episode browser in a real Chromium: every kind of benchmark, keys, search, filters, and hostile texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import chromium
from support.episode_files import HOSTILE, write_episodes
from support.result_files import config

import episodes
from collm.common import cli
from collm.domains import get
from collm.domains.base import RawRow

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="no Chromium here; apt-get install chromium")

READY = "document.documentElement.dataset.ready === 'yes'"
QUESTION = {"question": "Which <b>one</b>?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"}
PROBLEM = {"task_id": "t/0", "prompt": "def solve(n):\n", "entry_point": "solve", "test": "def check(candidate):\n"}


def say(place, sample, turn):
    return [HOSTILE[(2 * place + sample) % len(HOSTILE)], HOSTILE[(2 * place + turn + 1) % len(HOSTILE)]]


def build(place, sample, turn):
    return ["/setblock 0 0 0 stone\n/setblock 4 4 0 oak_planks", f"/setblock {turn} 1 0 obsidian\n{HOSTILE[0]}"]


def raise_walls(place, sample, turn):
    return [f"/fill 0 0 0 1 0 0 planks\n{HOSTILE[1]}", "/kill" if turn else "/fill 1 0 0 1 0 0 planks"]


def answer(place, sample, turn):
    return ["Because.\nAnswer: A 4", "Answer: B 2" if turn == 0 else HOSTILE[1]]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A page with hostile texts in every benchmark."""
    folder = tmp_path_factory.mktemp("browser")
    names = ["tldr", "str_build", "house_build", "coophe", "arc_challenge"]
    configuration = config(names, [0, 1], ["magrpo", "collm_cc"])
    configuration["domain"]["house_build"]["options"]["generated"] = 1
    configuration["domain"]["coophe"]["options"] = {"generated": 4}
    post = RawRow({"prompt": f"POST: {HOSTILE[0]} TL;DR:", "completion": HOSTILE[1]}, "test:1")
    house = get("house_build")({"generated": 1}).embedded(0)["generated"]
    problems = get("coophe")({"generated": 4}).embedded(0)["generated"][:2]
    write_episodes(
        folder,
        configuration,
        {
            "tldr": ([post] * 3, say),
            "str_build": ([RawRow({"string": "L"}, "test:1"), RawRow({"string": "HI"}, "test:2")], build),
            "house_build": (house, raise_walls),
            "coophe": (problems, say),
            "arc_challenge": ([RawRow(QUESTION, "test:1")], answer),
        },
    )
    places = ["--results", str(folder / "results"), "--data", str(folder / "data")]
    assert cli.run(episodes.main, ["--config", str(folder / "config.json"), *places]) == 0
    return folder / "results" / "episodes.html"


@pytest.fixture(scope="module")
def browser():
    with chromium.opened() as page:
        page.size(1280, 800)
        yield page


@pytest.fixture
def page(browser, path):
    """The page at its start; afterwards it must have logged no error, asked for nothing and run nothing of a text."""
    browser.problems.clear()
    browser.requests.clear()
    browser.open(path, "", READY)
    yield browser
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file://", "about:"))] == []
    assert browser.evaluate("typeof window.hacked") == "undefined"


def go(page, path, fragment):
    page.open(path, f"#{fragment}", READY)


def text(page, selector="main"):
    return page.evaluate(f"document.querySelector({selector!r}).innerText")


def count(page, selector):
    return page.evaluate(f"document.querySelectorAll({selector!r}).length")


def choose(page, name, value):
    chosen = f"document.getElementById({name!r})"
    page.evaluate(f"void ({chosen}.value = {value!r}, {chosen}.dispatchEvent(new Event('change')))")


@pytest.mark.parametrize(
    ("domain", "words", "drawn"),
    [
        ("tldr", ["Agent 1, summariser", "structure", "cut off at the length limit"], None),
        ("str_build", ["Agent 2, second builder", "of 9 wanted cells", "agent 1: "], ".world svg.flat rect"),
        ("house_build", ["spiders killed", "y 0"], ".world svg polygon"),
        ("coophe", ["1 of 2 tests passed", "assert solve('<b>') == 3", "TypeError"], ".tests .no"),
        ("arc_challenge", ["confidence 4", "B ✓", "A ✗", "right: B"], ".letters li"),
    ],
)
def test_one_episode_of_each_kind(page, path, domain, words, drawn):
    go(page, path, domain)
    assert page.evaluate("document.getElementById('domain').value") == domain
    shown = text(page)
    assert [word for word in words if word not in shown] == []
    assert drawn is None or count(page, drawn) > 0
    assert count(page, ".head") == 4, "methods side by side"


def test_hostile_texts_are_shown_as_they_are(page, path):
    texts = "[...document.querySelectorAll('pre')].map((pre) => pre.textContent).join('|')"
    markup = "main :is(script, img, iframe, link, style, base)"
    for domain in ("str_build", "house_build", "arc_challenge"):
        choose(page, "domain", domain)
        page.wait(f"location.hash.startsWith('#domain={domain}')")
        assert HOSTILE[0] in page.evaluate(texts) or HOSTILE[1] in page.evaluate(texts)
        assert count(page, markup) == 0
    go(page, path, "tldr")
    page.press("p")
    seen = []
    for _ in range(6):
        seen.append(page.evaluate(texts))
        assert count(page, markup) == 0
        page.press("ArrowRight")
    assert [one for one in HOSTILE if one not in "|".join(seen)] == []


def test_agents_own_their_blocks_in_colour(page, path):
    go(page, path, "str_build")
    blocks = "document.querySelector('.card .flat').querySelectorAll('g rect')"
    fills = f"[...{blocks}].map((one) => one.getAttribute('fill')).filter((fill) => fill.startsWith('var(--agent'))"
    assert sorted(set(page.evaluate(fills))) == ["var(--agent-0)", "var(--agent-1)"]
    page.press("c")
    assert page.evaluate(fills) == [] and "obsidian" in text(page, ".legend")


def test_keys_move_search_and_open(page, path):
    go(page, path, "tldr")
    title = "document.querySelector('main h2').textContent"
    assert page.evaluate(title) == "tldr_0000"
    for _ in range(2):
        page.press("ArrowRight")
    assert page.evaluate(title) == "tldr_0001" and "task=tldr_0001" in page.evaluate("location.hash")
    page.press("ArrowLeft")
    assert (
        page.evaluate(title) == "tldr_0000"
        and page.evaluate("document.querySelector('.samples [aria-pressed=true]').textContent") == "2"
    )
    page.press("p")
    assert page.evaluate("[...document.querySelectorAll('.prompt')].every((one) => one.open)")
    page.evaluate("document.getElementById('list').focus()")
    page.press("End")
    assert page.evaluate(title) == "tldr_0002"
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.type("IFRAME SRCDOC")
    assert text(page, "#count").startswith(("1 of", "2 of", "3 of", "4 of", "5 of", "6 episodes"))
    assert page.evaluate("document.querySelector('main mark').textContent.toLowerCase()") == "iframe srcdoc"
    page.type(" nowhere")
    assert text(page, "#count").startswith("0 of") and "No episode here" in text(page)
    page.press("Escape")
    assert text(page, "#count") == "6 episodes" and page.evaluate("document.activeElement.id") == "query"
    page.press("Escape")
    page.press("?")
    assert page.evaluate("document.getElementById('keys').hidden") is False


def test_order_and_filters(page, path):
    go(page, path, "arc_challenge")
    choose(page, "only", "split")
    assert text(page, "#count") == "2 episodes", "agents gave different letters in both"
    go(page, path, "tldr")
    number = "Number(one.lastChild.textContent.replace('−', '-'))"
    rewards = f"[...document.querySelectorAll('#list .name')].map((one) => {number})"
    choose(page, "order", "worst")
    worst = page.evaluate(rewards)
    choose(page, "order", "best")
    assert worst == sorted(worst) and page.evaluate(rewards) == worst[::-1]
    choose(page, "only", "faulty")
    assert text(page, "#count").endswith("episodes")
    assert page.evaluate("document.querySelector('#only [value=split]').hidden"), "no letters here"


def test_the_slider_goes_through_training(page, path):
    go(page, path, "str_build")
    assert "after training (final evaluation)" in text(page, ".steps")
    page.press(",")
    assert "environment steps" in text(page, ".steps output") and "step=" in page.evaluate("location.hash")
    assert "environment steps" in text(page, ".head:nth-child(4)")
    for _ in range(14):  # seven evaluations of either method, at steps of its own
        page.press(",")
    assert text(page, ".steps output") == "0 environment steps"
    go(page, path, "str_build&sample=1")
    assert count(page, ".steps") in (0, 1)


def test_another_seed_and_fewer_methods(page, path):
    choose(page, "seed", "1")
    assert "seed=1" in page.evaluate("location.hash")
    page.evaluate("document.querySelector('#methods input').click()")
    assert count(page, ".head") == 3


def test_the_page_says_what_it_is_and_links_to_the_numbers(page, path):
    assert "A column is a method" in text(page, "header")
    assert page.evaluate("document.querySelector('header a').getAttribute('href')") == "report.html"
    go(page, path, "str_build")
    assert "reward of the last turn, final evaluation" in text(page, ".head")
    last = "[...document.querySelectorAll('.card .reward')].slice(-4).map((one) => one.lastChild.textContent)"
    assert page.evaluate(last) == page.evaluate(
        "[...document.querySelectorAll('.score')].map((one) => one.textContent)"
    )


def test_no_choice_is_cut_off(page, path):
    """A select as wide as its text would need: its box holds it at every width."""
    measure = (
        "[...document.querySelectorAll('.side select, .top select')].filter((one) => one.offsetParent && (() => {"
        "const font = getComputedStyle(one); const pen = document.createElement('canvas').getContext('2d');"
        "pen.font = `${font.fontSize} ${font.fontFamily}`;"
        "return Math.max(...[...one.options].filter((option) => !option.hidden)"
        ".map((option) => pen.measureText(option.text).width)) + 34 > one.offsetWidth; })()).map((one) => one.id)"
    )
    for width in (400, 1280):
        page.size(width, 800)
        for domain in ("tldr", "coophe", "arc_challenge"):
            go(page, path, domain)
            assert page.evaluate(measure) == [], (width, domain)
    page.size(1280, 800)


def test_every_control_has_a_name_and_nothing_is_too_wide(page, path):
    unnamed = (
        "[...document.querySelectorAll('input, select, button')].filter((one) => !(one.getAttribute('aria-label') || "
        "one.textContent.trim() || (one.labels && one.labels.length))).map((one) => one.outerHTML)"
    )
    for domain in ("str_build", "house_build", "coophe"):
        go(page, path, domain)
        for width in (360, 800, 1280):
            page.size(width, 800)
            assert page.evaluate(unnamed) == []
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (width, domain)
