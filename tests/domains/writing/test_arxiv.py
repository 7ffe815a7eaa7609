"""arXiv: reward of both profiles, data, single-agent variant, demonstrations."""

import gzip
import json
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import differences, golden

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains.base import RawRow
from collm.domains.prose import content_words, stopwords
from collm.domains.writing.arxiv import Arxiv
from collm.domains.writing.arxiv_writer import Shape, expand
from collm.domains.writing.reward import DELIMITER, coherence, lexicon

RELEASED = Arxiv({}, "released")
PAPER = Arxiv({}, "paper")
TEXTS = st.text(st.characters(), max_size=400)
HOSTILE = [None, "", " " * 1_000_000, "wort " * 200_000, "\x00" * 1000, "\ud800 \udfff " * 100, "مرحبا بالعالم " * 100]


def reward(domain, first, second):
    return domain.score_case({"completion1": first, "completion2": second})[0]


def made_up(number, start=0):
    """`number` different words of six letters in no category of transition phrases."""
    digits = str.maketrans("0123456789", "bcdfghjklm")
    return [f"z{n:03d}zz".translate(digits) for n in range(start, start + number)]


def embedded_tasks():
    return [PAPER.task(row, index) for index, row in enumerate(PAPER.embedded(0)["train"])]


@pytest.mark.parametrize("row", golden("arxiv"), ids=lambda row: row["id"])
def test_released_profile_matches_golden_row(row):
    reward, components = RELEASED.score_case(row["inputs"])
    assert reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert differences(components, row["components"]) == {}
    assert sum(components[name] for name in ("structure", "length", "vocabulary", "style")) == pytest.approx(reward)
    step = RELEASED.step(None, 0, [row["inputs"]["completion1"], row["inputs"]["completion2"]], None)
    assert step.reward == reward and step.metrics["score"] == pytest.approx(100 * reward / 3)


# --- the paper's profile, each deviation with numbers worked out by hand ---


@pytest.mark.parametrize(("first", "second"), [(140, 140), (140, 180), (130, 182), (130, 221)])
def test_length_bands_of_both_profiles(first, second):
    texts = " ".join(made_up(first)), " ".join(made_up(second, 300))
    ratio = len(texts[1]) / len(texts[0])
    scores = [
        domain.score_case(dict(zip(("completion1", "completion2"), texts, strict=True)))[1]["length"]
        for domain in (PAPER, RELEASED)
    ]
    expected = {
        1.0: [1.0, 0.4],
        1.29: [1.0, (ratio - 0.8) / 0.5],
        1.4: [1 - (ratio - 1.3) / 0.2, 1.0],
        1.7: [0.0, 1 - (ratio - 1.6) / 0.4],
    }
    assert scores == pytest.approx(expected[round(ratio, 2)])


def test_paper_counts_distinct_words_without_stop_words():
    stop = sorted(stopwords())[:30]
    first = " ".join(made_up(60) + stop * 3)  # 60 content words, 90 words
    second = " ".join(made_up(90, 300) + made_up(50, 300))  # 90: ratio 1.5 in the paper
    case = {"completion1": first, "completion2": second}
    paper, released = (domain.score_case(case)[1]["vocabulary"] for domain in (PAPER, RELEASED))
    assert paper == pytest.approx(0.5 * (1 - 0.2 / 0.4))
    assert released == 0.5  # 90 over 90


def test_paper_texts_are_not_glued():
    words = made_up(139)
    first, second = " ".join([*words, "pith"]), " ".join(["us", *made_up(139, 300)])
    case = {"completion1": first, "completion2": second}
    assert RELEASED.score_case(case)[1]["categories"] == ["cause_effect"]  # "pith" + "us" makes "thus"
    assert PAPER.score_case(case)[1]["categories"] == []


@pytest.mark.parametrize(
    ("categories", "paper", "released"), [(0, 0.0, 0.0), (1, 0.277258872, 0.4), (7, 0.831776617, 0.7), (12, 1.0, 0.95)]
)
def test_coherence_of_both_profiles(categories, paper, released):
    assert coherence(categories, 0.4) == pytest.approx(paper, abs=1e-8)
    assert coherence(categories, None) == pytest.approx(released)


def test_both_texts_need_128_to_256_words():
    for count, worth in ((127, 0.0), (128, 2.0), (256, 2.0), (257, 0.0)):
        assert reward(PAPER, " ".join(made_up(count)), " ".join(made_up(count, 300))) == pytest.approx(worth)


def test_shared_words_count_up_to_23_percent():
    common = made_up(40)
    first, second = " ".join(common + made_up(100, 100)), " ".join(common + made_up(100, 300))
    assert reward(PAPER, first, second) == pytest.approx(2.0 + 0.6 * (40 / 240) / 0.23)


# --- any text ---


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, st.integers(0, 63), st.lists(st.tuples(st.integers(0, 3000), st.characters()), max_size=6))
def test_reward_stays_in_range_for_random_and_mutated_text(first, second, index, edits):
    task = embedded_tasks()[index]
    texts = [demo.response for demo in PAPER.demonstrations(task, random.Random(index), 0.3)]
    for place, character in edits:
        text = texts[place % 2]
        texts[place % 2] = text[: place % (len(text) + 1)] + character + text[place % (len(text) + 1) :]
    for domain in (PAPER, RELEASED):
        for pair in ([first, second], texts, [texts[0], second]):
            step = domain.step(None, 0, pair, None)
            assert domain.min_reward <= step.reward <= domain.max_reward
            assert sum(step.parts.values()) == step.reward
            assert all(math.isfinite(value) for value in step.metrics.values())


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_texts_score_without_an_exception(text):
    other = " ".join(made_up(140))
    for domain in (PAPER, RELEASED):
        assert domain.step(None, 0, [text, other], None).reward <= 1.0
    assert 0.0 <= Arxiv({}, num_agents=1).step(None, 0, [text], None).reward <= 3.0


# --- data ---


def test_embedded_abstracts_are_valid():
    tasks = embedded_tasks()
    assert len(tasks) >= 60
    assert len({PAPER.key(task) for task in tasks}) == len(tasks)
    assert all(100 <= len(task.fields["abstract_text"].split()) <= 300 and task.fields["title"] for task in tasks)
    cut = 3 * len(tasks) // 4
    assert PAPER.slices["embedded"] == (f"train[0:{cut}]", f"train[{cut}:{len(tasks)}]")
    assert PAPER.slices["hub"] == PAPER.slices["path"] == ("train[0:1000]", "train[1000:1100]")


def test_read_takes_the_public_file_names_or_plain_ones(tmp_path):
    with pytest.raises(DataError, match=r"abstracts_100_300\.jsonl\.gz.*train\.jsonl.*arxiv_cs_500.*val\.jsonl"):
        PAPER.read(tmp_path)
    home = tmp_path / "arxiv_abstract"
    home.mkdir()
    row = json.dumps({"article_id": "row_1", "abstract_text": "We study.", "token_count": 2}) + "\n"
    (home / "val.jsonl").write_text(row)
    assert {split: len(rows) for split, rows in PAPER.read(tmp_path).items()} == {"val": 1}
    with gzip.open(home / "abstracts_100_300.jsonl.gz", "wt") as stream:
        stream.write(row * 3)
    assert {split: len(rows) for split, rows in PAPER.read(tmp_path).items()} == {"train": 3, "val": 1}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "abstract_text"),
        ({"abstract_text": " \n"}, "abstract_text"),
        ({"abstract_text": None}, "abstract_text"),
        ({"abstract_text": "x", "title": 3}, "title"),
        ({"abstract_text": "x", "article_id": []}, "article_id"),
    ],
)
def test_malformed_rows_are_refused(fields, field):
    with pytest.raises(RowError, match=rf"a\.jsonl:12: field '{field}'"):
        PAPER.task(RawRow(fields, "a.jsonl:12"), 0)


def test_hub_rows_keep_the_known_fields():
    kept = {"article_id": "1", "abstract_text": "x", "token_count": 1}
    assert PAPER.hub_rows("val", [kept | {"other": 2}]) == [RawRow(kept, "OpenMLRL/arXiv_abstract:val:1")]


# --- prompts ---


def test_prompts_hold_the_abstract_and_differ_by_role():
    task = PAPER.task(RawRow({"abstract_text": "We study \ud800 stars."}, "here:1"), 0)
    first, second = (PAPER.observe(task, agent, 0, (), None) for agent in (0, 1))
    assert PAPER.roles == ("background", "complement")
    for messages, part in ((first, "background and motivation only"), (second, "method and implications only")):
        text = messages[-1]["content"]
        assert part in text and "do not repeat" in text and text.endswith("We study ? stars.")
        assert len(" ".join(message["content"] for message in messages).split()) <= 65
    single = Arxiv({}, num_agents=1)
    text = single.observe(task, 0, 0, (), None)[-1]["content"]
    assert DELIMITER in text and "Paragraph 2:" in text and single.roles == ("writer",)
    with pytest.raises(ConfigError, match="single turn"):
        PAPER.observe(task, 0, 1, (), None)


# --- demonstrations ---


def joint_rewards(noise, profile="paper", agents=2):
    domain = Arxiv({}, profile, agents)
    rewards = []
    for index, task in enumerate(embedded_tasks()):
        texts = [demo.response for demo in domain.demonstrations(task, random.Random(index), noise)]
        rewards.append(domain.step(task, 0, texts, None).reward)
    return rewards


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("profile", ["paper", "released"])
def test_clean_demonstrations_come_close_to_the_maximum(profile, agents):
    assert min(joint_rewards(0.0, profile, agents)) >= 2.9


def test_noise_lowers_the_reward_steadily():
    means = [statistics.mean(joint_rewards(noise)) for noise in (0.0, 0.25, 0.5, 1.0)]
    assert means == sorted(means, reverse=True)
    assert 1.5 <= means[2] <= 2.2 and means[3] >= 0.7


def test_demonstrations_use_the_given_task_only_and_repeat():
    phrases = content_words(" ".join(phrase for group in lexicon().categories.values() for phrase in group) + " outset")
    for task in embedded_tasks()[:10]:
        demos = PAPER.demonstrations(task, random.Random(1), 0.5)
        assert demos == PAPER.demonstrations(task, random.Random(1), 0.5)
        for demo in demos:
            assert content_words(demo.response) <= content_words(task.fields["abstract_text"]) | phrases | {"begin"}
            assert list(demo.messages) == PAPER.observe(task, demo.agent, 0, (), None)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=600), st.floats(0, 1), st.integers(0, 9), st.sampled_from(["paper", "released"]))
def test_demonstrations_and_corpus_take_any_abstract(abstract, noise, seed, profile):
    domain = Arxiv({}, profile)
    task = domain.task(RawRow({"abstract_text": f"x{abstract}"}, "here:1"), 0)
    for demo in domain.demonstrations(task, random.Random(seed), noise):
        demo.response.encode("utf-8")
    assert all(text.strip() for text in domain.corpus(task, random.Random(seed)))


def test_an_expansion_has_the_shape_it_is_asked_for():
    source = [f"Sentence number {n} says something about {word} here." for n, word in enumerate(made_up(12))]
    first, second = expand(source, Shape(words=130, ratio=1.4), random.Random(0))
    assert len(first.split()) == 130
    assert len(second) / len(first) == pytest.approx(1.4, abs=0.03)
    assert expand([], Shape(), random.Random(0)) == ("", "")
