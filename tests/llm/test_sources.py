"""Rows of text that models made from scratch are trained on: windows of all texts, or whole texts."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from collm.llm import sources

END = 0


class Numbers:
    """A stand-in for a tokenizer: a text is numbers, and each is its own token."""

    eos_token_id = END

    def __call__(self, text, split_special_tokens):
        assert split_special_tokens, "words that look like control tokens are words"
        return {"input_ids": [int(word) for word in text.split()]}


def text(first, length):
    """Numbers that no other text of these tests holds, if its `first` is another hundred."""
    return " ".join(str(first + place) for place in range(length))


def drawn(texts, count, seed=0, **options):
    """The first batches."""
    batches = sources._batches(Numbers(), texts, {"window": 8, "batch_size": 4, **options}, random.Random(seed))
    return [next(batches) for _ in range(count)]


LENGTHS = (1, 2, 3, 5, 7)
SHORT = [text(100 * (place + 1), length) for place, length in enumerate(LENGTHS)]


def test_rows_of_texts_are_whole_texts_with_their_end():
    whole = [[*map(int, each.split()), END] for each in SHORT]
    rows = [row for batch in drawn(SHORT, 64, rows="texts") for row in batch]
    assert len(rows) == 64 * 4 and all(row in whole for row in rows)
    assert {len(row) for row in rows} == {length + 1 for length in LENGTHS}, "every text is read"


def test_texts_of_a_batch_are_of_similar_length():
    """Of the batches that are drawn at once, none holds a text that is longer than one and shorter than another of
    a second batch; their order is drawn, too."""
    batches = drawn(SHORT, sources.SORTED_BATCHES, rows="texts")
    spans = [(min(map(len, batch)), max(map(len, batch))) for batch in batches]
    ordered = sorted(spans)
    assert all(before[1] <= after[0] for before, after in zip(ordered, ordered[1:], strict=False))
    assert spans != ordered, "no lesson from short to long"
    assert len({span[0] for span in spans}) >= 4


def test_of_a_text_longer_than_a_window_any_window_is_read():
    long = text(100, 20)
    tokens = [*range(100, 120), END]
    rows = [row for batch in drawn([long], 64, rows="texts") for row in batch]
    assert all(row == tokens[row[0] - 100 : row[0] - 92] and len(row) == 8 for row in rows)
    assert {row[0] for row in rows} == set(range(100, 114)), "from the first window to the one that holds the end"


@pytest.mark.parametrize("rows", ["texts", "joined"])
def test_rows_depend_on_the_seed_alone(rows):
    assert drawn(SHORT, 40, rows=rows) == drawn(SHORT, 40, rows=rows) != drawn(SHORT, 40, seed=1, rows=rows)


def test_joined_rows_are_windows_of_all_texts_drawn_as_ever():
    stream = [token for each in SHORT for token in [*map(int, each.split()), END]]
    draw = random.Random(5)
    expected = [
        [stream[start : start + 8] for start in [draw.randrange(len(stream) - 8) for _ in range(4)]] for _ in range(30)
    ]
    assert drawn(SHORT, 30, seed=5, rows="joined") == expected


def test_joined_texts_shorter_than_a_window_are_repeated():
    assert {len(row) for batch in drawn(["7 8"], 5, rows="joined") for row in batch} == {8}


def test_the_loss_is_that_of_real_tokens(models_folder):
    """Rows of different length share a batch: what fills the shorter ones up is neither learnt nor counted."""
    model = AutoModelForCausalLM.from_pretrained(models_folder / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(models_folder / "tiny")
    texts = ["red " * number + "sea" for number in range(1, 24)]
    options = {"steps": 1, "batch_size": 6, "window": 24, "rows": "texts", "learning_rate": 1e-3}
    batch = next(sources._batches(tokenizer, texts, options, random.Random(3)))
    total = count = 0.0
    with torch.no_grad():
        for row in batch:
            logits = model(input_ids=torch.tensor([row])).logits[0, :-1].double()
            total -= torch.log_softmax(logits, -1)[range(len(row) - 1), row[1:]].sum().item()
            count += len(row) - 1
    assert len({len(row) for row in batch}) > 1
    assert sources.pretrain(model, tokenizer, texts, options, 3) == pytest.approx(total / count, abs=1e-4)
