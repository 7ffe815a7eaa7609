"""What is said of texts without a reward, by hand; what the published reward of the writing benchmarks overlooks."""

from __future__ import annotations

import random

import pytest

from collm.domains import get
from collm.domains.prose import content_words, distinct_2, overlap, repetition, words
from collm.domains.writing.reward import lexicon


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("two words", 0.0), ("a b c d", 0.0), ("a b c a b c", 25.0), ("Go on, go on go ON", 50.0)],
)
def test_repetition_is_the_share_of_3_grams_that_were_there_before(text, share):
    assert repetition(text) == pytest.approx(share)


def test_overlap_counts_distinct_content_words_of_the_source():
    source = "The dog chased a red ball across the garden."
    assert overlap("A dog, the DOG, and a ball", source) == 100.0  # "and" and "the" are stop words
    assert overlap("dog dog cat fish bird", source) == 25.0
    assert overlap("the and of", source) == overlap("", source) == 0.0


def test_distinct_2_speaks_of_many_texts():
    assert distinct_2(["a b c", "a b c"]) == 50.0
    assert distinct_2(["a b", "b c"]) == 100.0  # no 2-gram goes from one text to the next
    assert distinct_2(["", "word"]) is None


def salad(rng: random.Random, size: int, ratio: float, known: list[str]) -> list[str]:
    """Two texts of words in random order, the second with every category of transition phrases."""
    first = [rng.choice(known) for _ in range(size)]
    second = first + [rng.choice(known) for _ in range(int(size * ratio) - size)]
    rng.shuffle(second)
    links = [phrases[0] for phrases in lexicon().categories.values()]
    return [" ".join(first), " ".join([*second, *links])]


@pytest.mark.parametrize(("name", "size", "ratio"), [("tldr", 60, 2.5), ("arxiv", 132, 1.0)])
def test_words_in_random_order_earn_everything(name, size, ratio):
    """Why `caution` is said wherever the score is shown, and what the other measures see."""
    domain = get(name)({}, "paper")
    rows = domain.embedded(0)["train"]
    task, others = domain.task(rows[0], 0), [domain.task(row, 1).fields[domain.source_field] for row in rows[20:]]
    own = content_words(task.fields[domain.source_field])
    known = sorted({word for text in others for word in words(text)} - own)
    rng = random.Random(0)
    texts = max(
        (salad(rng, size, ratio, known) for _ in range(20)), key=lambda pair: domain.step(task, 0, pair, None).reward
    )
    assert domain.step(task, 0, texts, None).reward == pytest.approx(3.0, abs=0.01)
    assert "can earn 3.0 of 3" in domain.caution
    assert overlap(texts[0], task.fields[domain.source_field]) == 0.0
