"""TLDR: reward of both profiles, data, single-agent variant, demonstrations."""

import gzip
import json
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_rows import differences, golden

from collm import domains
from collm.common.errors import ConfigError, DataError, RowError, UnusableRow
from collm.domains.base import RawRow
from collm.domains.prose import content_words
from collm.domains.writing.reward import (
    DELIMITER,
    coherence,
    jaccard,
    lexicon,
    split_paragraphs,
    transition_categories,
)
from collm.domains.writing.tldr import Tldr

RELEASED = Tldr({}, "released")
PAPER = Tldr({}, "paper")
TEXTS = st.text(st.characters(), max_size=400)
HOSTILE = [
    None,
    "",
    " " * 1_000_000,
    "wort " * 200_000,
    "\x00" * 1000,
    "\ud800 lone \udfff surrogates here and there to be scored",
    "مرحبا بالعالم " * 20,
    "paragraph 1:" + " " * 1_000_000 + "x",
    "e\u0301" * 5000,
]
# Ten content words, one of them after another in no category of transition phrases.
ANIMALS = "parrot tiger zebra lemur otter falcon badger walrus gecko heron"
ALL_CATEGORIES = "moreover chiefly indeed thus but next surely overall equally though unless until"


def reward(domain, first, second):
    return domain.score_case({"completion1": first, "completion2": second})[0]


def embedded_tasks():
    return [PAPER.task(row, index) for index, row in enumerate(PAPER.embedded(0)["train"])]


@pytest.mark.parametrize("row", golden("tldr"), ids=lambda row: row["id"])
def test_released_profile_matches_golden_row(row):
    reward, components = RELEASED.score_case(row["inputs"])
    assert reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert differences(components, row["components"]) == {}
    assert sum(components[name] for name in ("structure", "length", "vocabulary", "style")) == pytest.approx(reward)


@pytest.mark.parametrize("row", golden("tldr")[::5], ids=lambda row: row["id"])
def test_step_agrees_with_score_case(row):
    task = RELEASED.task(RawRow({"prompt": "POST: x"}, "here:1"), 0)
    texts = [row["inputs"]["completion1"], row["inputs"]["completion2"]]
    step = RELEASED.step(task, 0, texts, None)
    assert step.reward == pytest.approx(row["expected_reward"], abs=1e-9)
    assert step.metrics["score"] == pytest.approx(100 * row["expected_reward"] / 3)


# --- the paper's profile, each deviation with numbers worked out by hand ---


def test_paper_counts_distinct_words_without_stop_words():
    first = "the cat sat and the dog ran home"  # 7 distinct words, 5 of them content words
    assert reward(PAPER, first, ANIMALS) == pytest.approx(0.5 + 1 + 0.5)  # 10 / 5 = 2.0
    assert reward(RELEASED, first, ANIMALS) == pytest.approx(0.5 + 1 + 0.5 * (10 / 7 - 1.3) / 0.7)


def test_paper_searches_transitions_in_both_texts():
    first = "however the cat sat by the dog"  # "however": contrast and concession
    first += " home"
    second = ANIMALS + " panther rabbit"
    assert reward(RELEASED, first, second) == pytest.approx(0.5 + 1 + 0.5 * (12 / 7 - 1.3) / 0.7)
    assert reward(PAPER, first, second) == pytest.approx(0.5 + 1 + 0.5 + 0.4 * 0.6 * math.log(3))


def test_paper_texts_are_not_glued():
    first, second = "cat dog cat dog cat dog cat pith", "us " + ANIMALS
    assert "cause_effect" in transition_categories(first + second)  # "pith" + "us" would make "thus"
    assert "cause_effect" not in PAPER.score_case({"completion1": first, "completion2": second})[1]["categories"]


@pytest.mark.parametrize(
    ("categories", "paper", "released"),
    [(0, 0.0, 0.0), (1, 0.415888308, 0.4), (2, 0.659167373, 0.45), (4, 0.965662747, 0.55), (5, 1.0, 0.6)],
)
def test_coherence_of_both_profiles(categories, paper, released):
    assert coherence(categories, 0.6) == pytest.approx(paper, abs=1e-8)
    assert coherence(categories, None) == pytest.approx(released)


def test_best_style_is_1_in_the_paper_and_0_98_in_the_released_code():
    first = ANIMALS
    second = f"{ANIMALS} panther rabbit squid moth newt toad crow deer pony boar lynx swan {ALL_CATEGORIES}"
    assert len(transition_categories(second)) == 12
    texts = {"completion1": first, "completion2": second}
    assert PAPER.score_case(texts)[1]["style"] == pytest.approx(1.0)
    assert RELEASED.score_case(texts)[1]["style"] == pytest.approx(0.98)


def test_word_boundaries_option_ignores_hits_inside_words():
    text = "passport gifted reason"
    assert transition_categories(text) == ["cause_effect", "condition", "time"]
    assert transition_categories(text, word_boundaries=True) == []
    assert transition_categories("If so, wait.", word_boundaries=True) == ["cause_effect", "condition"]
    first = "cat dog cat dog cat dog cat owl"
    assert reward(Tldr({"word_boundaries": True}), first, ANIMALS + " passport") < reward(
        Tldr({}), first, ANIMALS + " passport"
    )


# --- properties ---


@settings(deadline=None, max_examples=150)
@given(TEXTS, TEXTS)
def test_reward_stays_in_range_for_any_text(first, second):
    for domain in (PAPER, RELEASED):
        step = domain.step(None, 0, [first, second], None)
        assert domain.min_reward <= step.reward <= domain.max_reward
        assert sum(step.parts.values()) == step.reward
        assert all(math.isfinite(value) for value in step.metrics.values())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 71), st.floats(0, 1), st.lists(st.tuples(st.integers(0, 2000), st.characters()), max_size=8))
def test_reward_stays_in_range_for_mutated_demonstrations(index, noise, edits):
    task = embedded_tasks()[index % 60]
    texts = [demo.response for demo in PAPER.demonstrations(task, random.Random(index), noise)]
    for place, character in edits:
        text = texts[place % 2]
        place %= len(text) + 1
        texts[(place + 1) % 2] = text[:place] + character + text[place + 1 :]
    for domain in (PAPER, RELEASED):
        assert 0.0 <= domain.step(task, 0, texts, None).reward <= 3.0


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_texts_score_without_an_exception(text):
    for domain in (PAPER, RELEASED, Tldr({"word_boundaries": True})):
        assert domain.step(None, 0, [text, "eight words that stand here for the test"], None).reward <= 1.0
    assert 0.0 <= Tldr({}, num_agents=1).step(None, 0, [text], None).reward <= 3.0


def test_a_wrong_number_of_responses_is_a_programming_error():
    with pytest.raises(ValueError, match="1 responses for 2 agents"):
        PAPER.step(None, 0, ["x"], None)


# --- single agent ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"  one {DELIMITER} two {DELIMITER} three ", ("one", f"two {DELIMITER} three")),
        (f"Paragraph 1: one\n{DELIMITER}\nparagraph 2:  two", ("one", "two")),
        ("PARAGRAPH 1: one PARAGRAPH 2: two", ("one", "two")),
        ("aaabbbbbb", ("aaa", "bbbbbb")),
        ("ab", ("a", "b")),
        ("", ("", "")),
        (DELIMITER, ("", "")),
    ],
)
def test_split_paragraphs(text, parts):
    assert split_paragraphs(text) == parts


def test_single_agent_gets_the_two_agent_reward():
    row = next(row for row in golden("tldr") if row["id"] == "tldr-pub-natural_2")
    both = [row["inputs"]["completion1"], row["inputs"]["completion2"]]
    step = Tldr({}, "released", num_agents=1).step(None, 0, [f"{both[0]}\n{DELIMITER}\n{both[1]}"], None)
    assert step.reward == pytest.approx(2.84)
    assert step.feedback == (None,)


# --- data ---


def test_embedded_posts_are_valid_and_long_enough():
    tasks = embedded_tasks()
    assert len(tasks) >= 60
    assert len({PAPER.key(task) for task in tasks}) == len(tasks)
    train, test = PAPER.slices["embedded"]
    cut = 3 * len(tasks) // 4
    assert (train, test) == (f"train[0:{cut}]", f"train[{cut}:{len(tasks)}]")
    assert PAPER.slices["hub"] == PAPER.slices["path"] == ("train[0:1000]", "train[1000:1100]")


def test_read_takes_the_public_file_names_or_plain_ones(tmp_path):
    home = tmp_path / "tldr"
    home.mkdir()
    row = json.dumps({"prompt": "POST: a", "completion": "b"}) + "\n"
    (home / "train.jsonl").write_text(row)
    assert {split: len(rows) for split, rows in PAPER.read(tmp_path).items()} == {"train": 1}
    with gzip.open(home / "tldr_1945.jsonl.gz", "wt") as stream:
        stream.write(row * 3)
    (home / "tldr_500.jsonl").write_text(row * 2)
    assert {split: len(rows) for split, rows in PAPER.read(tmp_path).items()} == {"train": 3, "test": 2}


def test_missing_data_lists_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"tldr_1945\.jsonl\.gz.*train\.jsonl.*tldr_500\.jsonl.*test\.jsonl"):
        PAPER.read(tmp_path)


@pytest.mark.parametrize("fields", [{}, {"prompt": ""}, {"prompt": "  \n"}, {"prompt": 3}, {"prompt": None}])
def test_a_row_without_a_prompt_is_refused(fields):
    with pytest.raises(RowError, match=r"posts\.jsonl:12: field 'prompt'"):
        PAPER.task(RawRow(fields, "posts.jsonl:12"), 0)


def test_a_completion_must_be_text():
    with pytest.raises(RowError, match=r"posts\.jsonl:3: field 'completion'"):
        PAPER.task(RawRow({"prompt": "p", "completion": 3}, "posts.jsonl:3"), 0)


def test_hub_rows_keep_the_two_fields():
    rows = PAPER.hub_rows("train", [{"prompt": "p", "completion": "c", "other": 1}])
    assert rows == [RawRow({"prompt": "p", "completion": "c"}, "trl-lib/tldr:train:1")]


# --- demonstrations ---


def joint_rewards(noise, profile="paper"):
    domain = Tldr({}, profile)
    rewards = []
    for index, task in enumerate(embedded_tasks()):
        texts = [demo.response for demo in domain.demonstrations(task, random.Random(index), noise)]
        rewards.append(domain.step(task, 0, texts, None).reward)
    return rewards


def test_clean_demonstrations_come_close_to_the_maximum():
    rewards = joint_rewards(0.0)
    assert sum(value >= 2.7 for value in rewards) >= 0.9 * len(rewards)


def test_noise_lowers_the_reward_steadily():
    means = [statistics.mean(joint_rewards(noise)) for noise in (0.0, 0.25, 0.5, 1.0)]
    assert means == sorted(means, reverse=True)
    assert 1.2 <= means[2] <= 1.8
    assert means[3] >= 0.5


def test_demonstrations_use_the_given_task_only():
    phrases = content_words(" ".join(phrase for group in lexicon().categories.values() for phrase in group))
    for task in embedded_tasks()[:20]:
        known = content_words(task.fields["prompt"] + " " + task.fields["completion"]) | phrases
        for demo in PAPER.demonstrations(task, random.Random(1), 0.5):
            assert content_words(demo.response) <= known
            assert list(demo.messages) == PAPER.observe(task, demo.agent, 0, (), None)
            assert (demo.task, demo.turn) == (task.id, 0)


def test_demonstrations_are_reproducible_and_absent_without_a_reference():
    task = embedded_tasks()[0]
    assert PAPER.demonstrations(task, random.Random(4), 0.5) == PAPER.demonstrations(task, random.Random(4), 0.5)
    bare = PAPER.task(RawRow({"prompt": task.fields["prompt"]}, "here:1"), 0)
    assert PAPER.demonstrations(bare, random.Random(4), 0.5) == []


def test_single_agent_demonstrations_split_into_the_two_texts():
    single = Tldr({}, num_agents=1)
    task = embedded_tasks()[0]
    (demo,) = single.demonstrations(task, random.Random(0), 0.0)
    assert single.step(task, 0, [demo.response], None).reward >= 2.7


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=600), st.text(max_size=200), st.floats(0, 1), st.integers(0, 9))
def test_demonstrations_and_corpus_take_any_post(post, completion, noise, seed):
    task = PAPER.task(RawRow({"prompt": f"POST: x{post}", "completion": completion}, "here:1"), 0)
    for demo in PAPER.demonstrations(task, random.Random(seed), noise):
        demo.response.encode("utf-8")
    assert all(text.strip() for text in PAPER.corpus(task, random.Random(seed)))


# --- the rest ---


def test_jaccard_of_two_empty_sets_is_one():
    assert jaccard(set(), set()) == 1.0
    assert jaccard({"a", "b"}, {"b", "c"}) == pytest.approx(1 / 3)


def test_unknown_names_tell_the_nearest():
    with pytest.raises(ConfigError, match="'tldr'"):
        domains.get("tl;dr")
    with pytest.raises(ConfigError, match="str_build"):
        domains.get("strbuild")
    with pytest.raises(ConfigError, match="did you mean 'word_boundaries'"):
        Tldr({"word_boundary": True})
    with pytest.raises(ConfigError, match="not of type bool"):
        Tldr({"word_boundaries": 1})
    with pytest.raises(ConfigError, match="profile 'papr'"):
        Tldr({}, "papr")
    with pytest.raises(
        ConfigError, match=r"0 agents are not possible; allowed are 1 or more \(domain\.tldr\.team\.num_agents\)"
    ):
        Tldr({}, num_agents=0)
    assert [domains.get(name).name for name in domains.NAMES] == list(domains.NAMES)


def test_posts_over_the_word_limit_are_left_out_by_name():
    row = RawRow({"prompt": "one two three four"}, "posts.jsonl:7")
    assert Tldr({"max_words": 4}).task(row, 0).fields["prompt"] == "one two three four"
    with pytest.raises(UnusableRow, match="posts.jsonl:7: a post of 4 words; option max_words is 3"):
        Tldr({"max_words": 3}).task(row, 0)
