"""Log-likelihood accuracy of one model, against the definition computed token by token."""

import json
import subprocess
import sys

import likelihood
import pytest
import torch
from support.places import ROOT
from transformers import LlamaConfig, LlamaForCausalLM

from collm.common.errors import DataError
from collm.llm import sources

ROWS = [
    {"question": " What is 1 + 1? ", "choices": ["1", "2", "3", "4"], "answer": 1},
    {"question": "Which group is not cyclic?", "choices": ["Z_2", "Z_3", "Z_2 x Z_2", "Z_6"], "answer": 2},
    {"question": "Is Z_4 a field?", "choices": ["Yes", "No"], "answer": 1},
]
SCRIPT = ROOT / "benchmarks" / "single_model.py"


@pytest.fixture(scope="module")
def tokenizer():
    return sources.train_tokenizer([likelihood.prompt(row, "abstract_algebra") for row in ROWS], 300, 256)


def tiny(tokenizer, context=256):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)


def by_definition(model, tokens, continuation):
    """log p(continuation | tokens), one token at a time."""
    total, tokens = 0.0, list(tokens)
    for token in continuation:
        window = tokens[-model.config.max_position_embeddings :]
        with torch.no_grad():
            total += torch.log_softmax(model(torch.tensor([window])).logits[0, -1], dim=-1)[token].item()
        tokens.append(token)
    return total


def test_the_prompt_is_that_of_lm_eval():
    assert likelihood.prompt(ROWS[0], "abstract_algebra") == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "What is 1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_scores_are_those_of_the_definition(tokenizer, batch):
    model = tiny(tokenizer)
    outcome = likelihood.measure(model, tokenizer, ROWS, "abstract_algebra", batch)
    for row, scores in zip(ROWS, outcome.scores, strict=True):
        text = likelihood.prompt(row, "abstract_algebra")
        expected = []
        for letter in "ABCD"[: len(row["choices"])]:
            context, continuation = likelihood.encode(tokenizer, text, f" {letter}")
            assert tokenizer.decode([*context, *continuation]) == f"{text} {letter}"
            expected.append(by_definition(model, context, continuation))
        assert scores == pytest.approx(expected, abs=1e-4)
    assert outcome.chosen == [max(range(len(line)), key=line.__getitem__) for line in outcome.scores]
    right = sum(chosen == row["answer"] for chosen, row in zip(outcome.chosen, ROWS, strict=True))
    assert outcome.accuracy == right / 3


def test_continuations_of_several_tokens_and_long_contexts(tokenizer):
    model = tiny(tokenizer, context=12)
    pairs = [(list(range(40, 80)), [5, 6, 7]), ([9], [5]), (list(range(40, 44)), [5, 6])]
    found = likelihood.log_likelihoods(model, pairs, 2)
    cut = [(pairs[0][0][-10:], pairs[0][1]), *pairs[1:]]  # 12 fed tokens and the last one, which is only scored
    assert found == pytest.approx([by_definition(model, *pair) for pair in cut], abs=1e-4)


def test_no_rows(tokenizer):
    with pytest.raises(DataError, match="no row"):
        likelihood.measure(tiny(tokenizer), tokenizer, [], "abstract_algebra")


def test_the_script(tokenizer, tmp_path):
    model = tiny(tokenizer)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = [sys.executable, SCRIPT, "--model", tmp_path / "model", "--subject", "abstract_algebra", "--rows", rows]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    outcome = likelihood.measure(model, tokenizer, ROWS, "abstract_algebra")
    assert report["rows"] == 3 and report["accuracy"] == outcome.accuracy
    assert report["chosen"] == "".join("ABCD"[position] for position in outcome.chosen)
