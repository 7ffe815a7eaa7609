"""Claims: what is measured, by hand; verdicts that must come out of made-up studies; what was not run is shown."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from support.made_up_study import curve_rows, score_rows, write_study
from support.places import ROOT

import claims as stage
from collm.common import cli
from collm.common.errors import ConfigError, DataError
from collm.report.claims import declared, forest, measures, verdicts
from collm.report.claims.declared import Region
from collm.report.claims.student import Mean
from collm.report.claims.study import Study

SHIPPED = ROOT / "config" / "claims.yaml"
PAIR = {"domains": ["tldr"], "pairs": [["collm_cc", "magrpo"]]}


def a_claim(name, *parts):
    words = {key: f"{key} of {name}" for key in ("title", "paper", "text", "supported", "contradicted")}
    return {"id": name, **words, "parts": list(parts)}


@pytest.fixture
def read(tmp_path):
    """Claims from parts of one claim, or from whole claims."""

    def make(*entries, options=("stable",)):
        whole = [entry if "id" in entry else a_claim("x", entry) for entry in entries]
        file = tmp_path / "claims.yaml"
        file.write_text(yaml.safe_dump({"level": 0.95, "options": list(options), "claims": whole}))
        return declared.read(file)

    return make


@pytest.fixture
def judge(read, tmp_path):
    """Verdicts on claims from made-up files."""

    def make(entries, options=("stable",), **files):
        study = Study.read(write_study(tmp_path / "study", **files))
        return verdicts.verdicts(read(*entries, options=options), study)

    return make


def scores(cc, other, domain="tldr", metric="score", options="stable"):
    pairs = {(options, domain, "collm_cc", metric): cc, (options, domain, "magrpo", metric): other}
    return score_rows(pairs)


# measures


def test_differences_are_paired_by_seed(judge):
    part = {"measure": "difference", "metric": "main", **PAIR, "above": 0}
    rows = scores([50.0, 60.0, 71.0, 90.0], [40.0, 51.0, 60.0])  # seed 3 has no partner
    one = judge([part], scores=rows)[0].readings[0]
    assert (one.seeds, one.estimate) == (3, 10.0)
    assert (one.low, one.high) == pytest.approx((10 - 4.302653 / math.sqrt(3), 10 + 4.302653 / math.sqrt(3)))
    assert one.probability == pytest.approx(6.5 / 9)  # of pairs of 50, 60, 71 and 40, 51, 60; one tie
    assert one.state == verdicts.SUPPORTS and math.isnan(one.spread_seeds)


def test_ratios_are_geometric_means(judge):
    part = {"measure": "ratio", "metric": "seconds", **PAIR, "above": 1}
    one = judge([part], scores=scores([2.0, 8.0], [1.0, 1.0], metric="seconds"))[0].readings[0]
    assert one.estimate == pytest.approx(4.0) and one.probability == 0.0  # more seconds are worse
    assert one.low < 1 < one.high and one.state == verdicts.OPEN
    wrong = judge([part], scores=scores([2.0, 0.0], [1.0, 1.0], metric="seconds"))[0].readings[0]
    assert wrong.state == verdicts.UNMEASURED and "no ratio" in wrong.note


def test_steps_to_a_level_that_all_reach(judge):
    part = {"measure": "steps_ratio", **PAIR, "share": 0.5, "window": 1, "above": 1}
    part["pairs"] = [["magrpo", "collm_cc"]]
    rows = curve_rows("stable", "tldr", "collm_cc", [[0.0, 1.0, 2.0]] * 2)
    rows += curve_rows("stable", "tldr", "magrpo", [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]])
    one = judge([part], curves=rows)[0].readings[0]
    # The least of the best rewards is 1, half of the way is 0.5: 50 steps for CC, 200 and 100 for MC.
    assert one.estimate == pytest.approx(math.sqrt(4.0 * 2.0)) and one.note == "level 0.5"
    rows = curve_rows("stable", "tldr", "collm_cc", [[0.0, 1.0]] * 2)
    rows += curve_rows("stable", "tldr", "magrpo", [[0.0, -1.0]] * 2)
    one = judge([part], curves=rows)[0].readings[0]
    assert one.state == verdicts.UNMEASURED and "no level above the start" in one.note


def test_steps_to_a_level_lie_between_evaluations():
    curve = np.array([[0.0, 1.0], [100.0, 2.0], [200.0, 4.0]])
    assert [measures.steps_to(curve, level) for level in (0.5, 1.5, 3.0, 4.0)] == [0.0, 50.0, 150.0, 200.0]
    assert measures.smoothed(curve, 2)[:, 1].tolist() == [1.0, 1.5, 3.0]
    with pytest.raises(ValueError, match="ends below 5"):
        measures.steps_to(curve, 5.0)


def test_the_last_third_of_a_curve():
    steps = np.arange(0.0, 10.0)
    change, spread = measures.last_third(np.column_stack([steps, 2.0 * steps]))
    assert (change, spread) == pytest.approx((6.0, 0.0), abs=1e-12)  # from 6 to 9
    change, spread = measures.last_third(np.column_stack([steps, [0.0] * 6 + [1.0, -1.0, -1.0, 1.0]]))
    assert (change, spread) == pytest.approx((0.0, math.sqrt(2.0)), abs=1e-12)
    with pytest.raises(measures.Unmeasured, match="3 evaluations in the last third are too few"):
        measures.last_third(np.column_stack([steps[:7], steps[:7]]))


def test_changes_are_shares_of_the_largest_reward_and_spreads_are_compared(judge):
    runs = [
        {"options": "stable", "domain": "tldr", "method": m, "seed": s, "best_reward": 4.0}
        for m in ("collm_cc", "magrpo")
        for s in (0, 1)
    ]
    wave = np.array([1.0, -1.0, -1.0, 1.0])
    rows = curve_rows("stable", "tldr", "collm_cc", [[*[0.0] * 6, *wave], [*[0.0] * 6, *(wave + [0.0, 0.4, 0.8, 1.2])]])
    rows += curve_rows("stable", "tldr", "magrpo", [[*[0.0] * 6, *(0.5 * wave)], [*[0.0] * 6, *(0.25 * wave)]])
    change = {"measure": "change", "domains": ["tldr"], "methods": ["collm_cc"], "above": 0.02}
    spread = {"measure": "spread_ratio", **PAIR, "above": 1}
    one, two = judge([a_claim("x", change, spread)], runs=runs, curves=rows)[0].readings
    assert one.estimate == pytest.approx((0.0 + 1.2 / 4.0) / 2) and one.line.compared == "CoLLM-CC"
    assert two.estimate == pytest.approx(math.sqrt(2.0 * 4.0)) and two.line.compared == "CoLLM-CC / MAGRPO"


@pytest.mark.parametrize(
    ("generations", "turns", "joint", "verdict"),
    [(1, 4, 4, "supported"), (2, 4, 30, "supported"), (4, 2, 20, "supported"), (2, 4, 29, "contradicted")],
)
def test_calls_are_counted_without_chance(judge, generations, turns, joint, verdict):
    part = {"measure": "calls", "domains": ["tldr"], "methods": ["magrpo"], "within": [1, 1]}
    row = {"options": "stable", "domain": "tldr", "method": "magrpo", "tasks_per_rollout": 3}
    row |= {"generations": generations, "turns": turns, "first_rollout": 3 * joint}
    assert judge([part], runs=[row | {"seed": 7}])[0].verdict == verdict


def test_the_slope_of_the_variance(judge):
    part = {"measure": "variance_slope", "domains": ["tldr"], "methods": ["magrpo"], "within": [-1.15, -0.85]}
    key = {"options": "stable", "domain": "tldr", "method": "magrpo", "draws": 9}
    rows = [key | {"seed": s, "generations": k, "variance": (3 + s) / k} for s in (0, 1, 2) for k in (1, 2, 4)]
    found = judge([part], variance=rows)[0]
    assert found.readings[0].estimate == pytest.approx(-1.0) and found.verdict == "supported"
    flat = [row | {"variance": 5.0 + 0.01 * row["seed"] * row["generations"]} for row in rows]
    assert judge([part], variance=flat)[0].verdict == "contradicted"


def test_a_lead_along_a_dial(judge):
    part = {"measure": "trend", "metric": "main", **PAIR, "above": 0, "options": ["dials"], "dial": {"h1": 1, "h3": 3}}
    rows = scores([10.0, 20.0], [10.0, 18.0], options="h1") + scores([30.0, 40.0], [24.0, 30.0], options="h3")
    found = judge([part], scores=rows)
    assert [one.options for one in found] == ["dials"]
    assert found[0].readings[0].estimate == pytest.approx((3.0 + 4.0) / 2)


def test_spreads_by_source():
    effects = np.array([1.0, 0.0, -1.0])[:, None] + np.array([5.0, -5.0, 0.0, 0.0])[None, :]
    # Without a rest the components are the variances of the effects.
    assert verdicts.spreads(effects) == pytest.approx((1.0, math.sqrt(50 / 3)))
    noise = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert verdicts.spreads(noise) == (0.0, 0.0)
    assert all(math.isnan(number) for number in verdicts.spreads(effects[:1]))


def test_spreads_need_the_same_tasks(judge):
    part = {"measure": "difference", "metric": "main", **PAIR, "above": 0}
    key = {"options": "stable", "domain": "tldr", "metric": "score"}
    rows = [key | {"method": "collm_cc", "seed": s, "tasks": "abc", "values": f"{3 + s} {5 + s}"} for s in (0, 1)]
    rows += [key | {"method": "magrpo", "seed": s, "tasks": "abc", "values": "1 1"} for s in (0, 1)]
    one = judge([part], scores=scores([4.0, 5.0], [1.0, 1.0]), tasks=rows)[0].readings[0]
    assert (one.spread_seeds, one.spread_tasks) == pytest.approx((math.sqrt(0.5), math.sqrt(2.0)))
    assert one.both_low < one.estimate < one.both_high
    others = [row | {"tasks": "xyz"} if row["method"] == "magrpo" else row for row in rows]
    one = judge([part], scores=scores([4.0, 5.0], [1.0, 1.0]), tasks=others)[0].readings[0]
    assert math.isnan(one.spread_tasks) and math.isnan(one.both_low)


# verdicts


@pytest.mark.parametrize(
    ("numbers", "region", "inside", "outside"),
    [
        ([1.0, 1.2, 0.8], Region(0.0, math.inf), True, False),
        ([-1.0, -1.2, -0.8], Region(0.0, math.inf), False, True),
        ([-1.0, -1.2, -0.8], Region(-math.inf, 0.0), True, False),
        ([0.1, -0.1, 0.0], Region(-1.0, 1.0), True, False),
        ([3.0, 3.1, 2.9], Region(-1.0, 1.0), False, True),
        ([-3.0, -3.1, -2.9], Region(-1.0, 1.0), False, True),
        ([0.9, 1.1, 1.0], Region(-1.0, 1.0), False, False),
        ([0.1, -4.0, 5.0], Region(-1.0, 1.0), False, False),
    ],
)
def test_a_line_supports_or_speaks_against_as_its_interval_lies(numbers, region, inside, outside):
    mean = Mean.of(numbers)
    supports, against = verdicts.tests(mean, region)
    assert (supports < 0.025, against < 0.025) == (inside, outside)
    low, high = mean.interval()
    assert (region.low < low and high < region.high, high < region.low or low > region.high) == (inside, outside)


def test_holm_by_hand():
    assert verdicts.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert verdicts.holm([0.6, 0.9]) == [1.0, 1.0] and verdicts.holm([]) == []


CLEAR, CLOSE = [1.0, 1.1, 0.9, 1.05, 0.95], [3.0, -2.0, 1.0, 0.5, -1.0]


def claim_of(name, domain="tldr"):
    part = {"measure": "difference", "metric": "reward", "domains": [domain], "pairs": PAIR["pairs"], "above": 0}
    return a_claim(name, part)


def rows_of(domain, differences):
    return scores(differences, [0.0] * len(differences), domain, metric="reward")


def test_verdicts_of_each_kind_and_what_was_not_run(judge):
    rows = rows_of("tldr", CLEAR) + rows_of("coophe", [-d for d in CLEAR]) + rows_of("arxiv", CLOSE)
    entries = [claim_of(domain, domain) for domain in ("tldr", "coophe", "arxiv", "mbpp")]
    found = judge(entries, scores=rows)
    assert [one.verdict for one in found] == ["supported", "contradicted", "inconclusive", "not run"]
    assert math.isnan(found[3].holm) and found[3].readings[0].state == verdicts.NOT_RUN
    p = 2 * Mean.of(CLEAR).p_not_above(0.0)
    assert found[0].p == pytest.approx(p) and found[0].holm == pytest.approx(3 * p)  # of three that were run


def test_a_claim_needs_all_its_lines_and_falls_with_one(judge):
    part = claim_of("x")["parts"][0] | {"domains": ["tldr", "coophe", "arxiv"]}
    entry = [a_claim("x", part)]
    both = rows_of("tldr", CLEAR) + rows_of("coophe", CLEAR)
    assert judge(entry, scores=both)[0].verdict == "inconclusive"  # arXiv was not run
    assert judge(entry, scores=both + rows_of("arxiv", CLEAR))[0].verdict == "supported"
    assert judge(entry, scores=both + rows_of("arxiv", CLOSE))[0].verdict == "inconclusive"
    found = judge(entry, scores=both + rows_of("arxiv", [-d for d in CLEAR]))[0]
    assert found.verdict == "contradicted"
    assert found.p == pytest.approx(2 * 3 * Mean.of(CLEAR).p_not_above(0.0))


def test_many_claims_ask_for_more(judge):
    """A p value of 0.02 is enough for one claim and not for four."""
    numbers = [1.0, 2.0, 0.4, 1.9, 0.35]
    assert 0.0125 < 2 * Mean.of(numbers).p_not_above(0.0) < 0.05
    domains = ("tldr", "coophe", "arxiv", "mbpp")
    rows = [row for domain in domains for row in rows_of(domain, numbers)]
    assert judge([claim_of("tldr")], scores=rows)[0].verdict == "supported"
    several = judge([claim_of(domain, domain) for domain in domains], scores=rows)
    assert {one.verdict for one in several} == {"inconclusive"}


def test_one_seed_decides_nothing(judge):
    found = judge([claim_of("x")], scores=rows_of("tldr", [5.0]))[0]
    assert found.verdict == "inconclusive" and "one seed" in found.readings[0].note


def test_methods_that_are_the_same_are_seldom_told_apart():
    """In about 5 of 100 studies of five seeds, as the level says."""
    rng, wrong = np.random.default_rng(0), 0
    region = Region(0.0, math.inf)
    for _ in range(400):
        supports, against = verdicts.tests(Mean.of(rng.normal(size=5).tolist()), region)
        wrong += min(supports, against) < 0.025
    assert 0.025 < wrong / 400 < 0.08


# the files


def test_the_shipped_claims_are_the_papers():
    shipped = declared.read(SHIPPED)
    assert [claim.id[0] for claim in shipped.claims] == sorted(claim.id[0] for claim in shipped.claims)
    assert {claim.id[0] for claim in shipped.claims} == set("abcdefghij")
    assert shipped.options == ("paper", "stable")
    for claim in shipped.claims:
        assert claim.paper and claim.supported and claim.contradicted and claim.lines


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measure": "diference"}, ["claims x, part 1", "did you mean 'difference'?"]),
        ({"domains": ["tdlr"]}, ["did you mean 'tldr'?"]),
        ({"pairs": [["collm_cc", "magpro"]]}, ["did you mean 'magrpo'?"]),
        ({"pairs": [["collm_cc"]]}, ["['collm_cc'] is no pair of methods"]),
        ({"below": 3}, ["names above and below", "write one of within, above, below"]),
        ({"above": "much"}, ["above is 'much'", "a number"]),
        ({"share": 1}, ["unknown key 'share'"]),
        ({"measure": "ratio", "above": 0}, ["above is 0", "a ratio is compared with numbers above 0"]),
        ({"measure": "calls"}, ["the key methods is missing"]),
    ],
)
def test_claims_that_say_nothing_are_refused(read, change, words):
    part = {"measure": "difference", "metric": "main", **PAIR, "above": 0} | change
    with pytest.raises(ConfigError) as error:
        read(part)
    assert all(word in str(error.value) for word in words), error.value


def test_files_that_are_wrong_are_named(tmp_path):
    rows = scores([1.0], [2.0])
    with pytest.raises(DataError, match=r"scores.csv has two lines for options stable, domain tldr, method collm_cc"):
        Study.read(write_study(tmp_path / "a", scores=[*rows, rows[0]]))
    (write_study(tmp_path / "b", scores=rows) / "scores.csv").write_text("options,domain\n")
    with pytest.raises(DataError, match=r"scores.csv has no column method; write it again with studies/reduce.py"):
        Study.read(tmp_path / "b")
    with pytest.raises(DataError, match=r"nowhere is no folder"):
        Study.read(tmp_path / "nowhere")


def test_tables_and_figures_of_the_shipped_claims(tmp_path):
    """Every claim is there, run or not, in all formats."""
    pairs = {("stable", "tldr", m, "score"): [60.0 + i, 61.0, 59.0 + i] for i, m in enumerate(("magrpo", "collm_cc"))}
    pairs |= {("stable", "tldr", "collm_dc", "score"): [60.5, 61.0, 60.0]}
    study = write_study(tmp_path / "study", scores=score_rows(pairs))
    out = tmp_path / "results"
    assert cli.run(stage.main, ["--claims", str(SHIPPED), "--study", str(study), "--out", str(out)]) == 0
    frame = pd.read_csv(out / "tables/claims.csv")
    shipped = declared.read(SHIPPED)
    assert len(frame) == sum(len(claim.lines) for claim in shipped.claims)
    of_a = frame[(frame["claim"] == "a") & (frame["options"] == "stable")]
    assert of_a["seeds"].tolist() == [3, 3, 3] and set(of_a["state"]) == {"supports"}
    assert set(of_a["verdict"]) == {"supported"}
    assert set(frame[frame["options"] == "paper"]["verdict"]) == {"not run"}
    text = (out / "tables/claims.md").read_text(encoding="utf-8")
    assert all(f"## {claim.id}: {claim.title}" in text for claim in shipped.claims)
    assert "Options `stable`: **supported**" in text and "not run" in text
    assert (out / "tables/claims.tex").read_text(encoding="utf-8").isascii()
    for name in ("claims", "profiles"):
        assert (out / f"figures/{name}.png").stat().st_size > 10_000
        assert (out / f"figures/{name}.svg").is_file()
        caption = (out / f"figures/{name}.txt").read_text(encoding="utf-8")
        assert "n = 3 seeds" in caption and "95 %" in caption and "test tasks" in caption and caption.endswith(".\n")
    assert "Options stable: n = 3 seeds × 1 benchmark (TLDR) a curve. " in caption
    assert "Options paper: not run." in caption
    drawn = forest.forest(shipped, verdicts.verdicts(shipped, Study.read(study)))
    shown = [axes.get_xlabel() + axes.get_title("left") for axes in drawn.axes]
    assert not [words for words in shown if "_" in words or "..." in words], "names as people write them"
    assert any("writing, all alike" in words for words in shown)
