"""The documentation site: it builds without a warning, needs no network, and says what the code says."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys

import pytest
from support import chromium
from support.places import ROOT

from collm import domains
from collm.config.schema import schema

LOADED = re.compile(r"<(?:script|img|iframe|link|source|video)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words(site, page):
    """What a page shows, on one line."""
    text = (site / page).read_text(encoding="utf-8")
    body = text[text.index("<article") : text.index("</article>")]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def test_nothing_is_loaded_from_a_server(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    assert [hit for page in pages for hit in LOADED.findall(page.read_text(encoding="utf-8"))] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)


def test_search_reads_from_disk_what_it_finds(site):
    assert "MAREINFORCE" in (site / "search/search_index.js").read_text(encoding="utf-8")
    assert '<script src="pages/iframe-worker.js">' in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "pages/iframe-worker.js").is_file() and not list((site / "pages").glob("*.py"))


@pytest.mark.parametrize("name", domains.NAMES)
def test_a_benchmark_shows_the_prompts_and_the_rewards_of_its_class(site, name):
    page = words(site, f"benchmarks/{name}.html")
    domain = domains.get(name)({})
    split = domain.slices["embedded"][1].split("[")[0]
    task = domain.task(domain.embedded(0)[split][0], 0)
    world = domain.start(task, 0)
    briefing = domain.briefing(task, world)
    for agent in range(domain.num_agents):
        for message in domain.observe(task, agent, 0, (), briefing[agent]):
            assert " ".join(message["content"].split()) in page
    assert f"{domain.min_reward:g} to {domain.max_reward:g} (paper)" in page
    assert all(metric.label in page for metric in domain.metrics)
    assert all(option.name in page for option in domain.declared_options)
    best = re.search(r"demonstrated (-?[\d.]+)", page[page.index("Other answers to the same row") :])
    assert float(best[1]) == pytest.approx(domain.max_reward, abs=0.005)


@pytest.mark.skipif(chromium.program() is None, reason="no Chromium here; apt-get install chromium")
def test_a_browser_finds_words_from_disk_asks_no_server_and_narrow_pages_fit(site):
    found = "document.querySelectorAll('.md-search-result__item').length"
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    with chromium.opened() as page:
        page.size(1280, 900)
        page.open(site / "index.html", "?q=mareinforce", f"{found} > 1")
        page.open(site / "index.html", "?q=xylophone", "/No matching/.test(document.body.textContent)")
        assert page.evaluate(found) == 0
        page.size(400, 900)
        for name in ("index", "methods", "configuration", "interface", "benchmarks/house_build"):
            page.open(site / f"{name}.html")
            assert page.evaluate(wide) <= 0, name
        assert page.problems == []
        assert [url for url in page.requests if not url.startswith(("file://", "about:", "data:"))] == []


@pytest.mark.skipif(chromium.program() is None, reason="no Chromium here; apt-get install chromium")
def test_pages_are_dark_where_the_reader_prefers_it(site):
    scheme = "document.body.getAttribute('data-md-color-scheme')"
    with chromium.opened() as page:
        for dark, name in ((False, "default"), (True, "slate"), (False, "default")):  # the last choice is not kept
            page.dark(dark)
            page.open(site / "methods.html")
            page.wait(f"{scheme} === '{name}'")
        assert page.problems == []


def test_files_that_sentences_name_are_links(site):
    text = (site / "benchmarks/coophe.html").read_text(encoding="utf-8")
    assert '<a href="../coding.html">docs/coding.md</a>' in text
    assert '<a href="new_domain.html">docs/new_domain.md</a>' in (site / "configuration.html").read_text(
        encoding="utf-8"
    )


def test_every_setting_has_its_line(site):
    page, declared = words(site, "configuration.html"), schema()
    blocks = ("team", "data", "rollout", "warm_start", "training", "evaluation")
    keys = [key for block in blocks for key in declared["$defs"][block]["properties"]]
    assert [key for key in keys if f" {key} " not in page] == []
    assert "How far demonstrations are degraded, 0 to 1: leaves the reinforcement learner something to find." in page


def test_formulas_are_drawn_and_their_functions_are_there(site):
    text = (site / "methods.html").read_text(encoding="utf-8")
    assert 'class="arithmatex"' not in text and text.count('<svg role="img"') > 40
    named = set(re.findall(r"`(policy_gradient|monte_carlo|actor_critic|collm_cc|collm_dc)\.(\w+)`", methods_page()))
    assert len(named) >= 6
    for module, function in named:
        source = (ROOT / f"src/collm/methods/{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", source, re.M), f"{module}.{function}"


def test_settings_that_the_methods_page_names_are_there():
    known = schema()["$defs"]
    named = re.findall(r"`(rollout|training)\.(\w+)`", methods_page())
    assert named and [pair for pair in named if pair[1] not in known[pair[0]]["properties"]] == []


def methods_page() -> str:
    """The source of the page."""
    return (ROOT / "docs/methods.md").read_text(encoding="utf-8")
