"""How well one model answers multiple-choice questions by itself: accuracy by log-likelihood, as lm-eval measures MMLU.

A question is shown with its options and "Answer:"; the model's answer is the letter with the greatest log-probability
as continuation (" A", " B", ...). Wording and truncation are those of lm-eval's task `mmlu_<subject>` without examples,
so that both tools can be compared on the same rows. Plain transformers: nothing here knows of teams or adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from collm.common.errors import DataError
from collm.domains.choice.questions import LETTERS


@dataclass(frozen=True)
class Outcome:
    """Share of right answers, the chosen position per question, and log-probabilities [question][option] in nats."""

    accuracy: float
    chosen: list[int]
    scores: list[list[float]]


def prompt(row: Mapping[str, Any], subject: str) -> str:
    """The text before the answer letter; `subject` as in the data set's name, "college_physics"."""
    head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, row["choices"], strict=False))
    return f"{head}{row['question'].strip()}\n{options}Answer:"


def measure(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], subject: str, batch: int = 8, specials: bool = False
) -> Outcome:
    """Log-likelihood accuracy of a causal language model of transformers on rows {question, choices, answer}.

    Args:
        rows: `choices` is a list of texts, `answer` the position of the right one.
        subject: see `prompt`.
        batch: sequences per forward pass; results do not depend on it but for rounding.
        specials: let the tokenizer add its special tokens (lm-eval's default for most models is not to).
    Raises:
        DataError: there is no row.
    """
    if not rows:
        raise DataError("no row to measure; name a file with at least one question")
    pairs = [
        encode(tokenizer, prompt(row, subject), f" {letter}", specials)
        for row in rows
        for letter in LETTERS[: len(row["choices"])]
    ]
    values = iter(log_likelihoods(model, pairs, batch))
    scores = [[next(values) for _ in row["choices"]] for row in rows]
    chosen = [max(range(len(line)), key=line.__getitem__) for line in scores]
    right = sum(position == row["answer"] for position, row in zip(chosen, rows, strict=True))
    return Outcome(right / len(rows), chosen, scores)


def encode(tokenizer: Any, context: str, continuation: str, specials: bool = False) -> tuple[list[int], list[int]]:
    """Token ids of a context and of its continuation, cut from the ids of both together."""
    whole = tokenizer(context + continuation, add_special_tokens=specials)["input_ids"]
    head = tokenizer(context, add_special_tokens=specials)["input_ids"]
    return whole[: len(head)], whole[len(head) :]


@torch.inference_mode()
def log_likelihoods(model: Any, pairs: Sequence[tuple[list[int], list[int]]], batch: int = 8) -> list[float]:
    """Summed log-probability of every continuation after its context; contexts too long lose their first tokens.

    Pairs that feed the model the same tokens (letters of one question) share one row of a forward pass.
    """
    longest = model.config.max_position_embeddings
    fed = [tuple([*context, *continuation][-(longest + 1) :][:-1]) for context, continuation in pairs]
    waiting: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(fed):
        waiting.setdefault(tokens, []).append(index)
    order = sorted(waiting, key=len, reverse=True)
    values = [0.0] * len(pairs)
    model.eval()
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        for tokens, logits in zip(part, _logits(model, part), strict=True):
            for index in waiting[tokens]:
                target = torch.tensor(pairs[index][1], device=logits.device)
                last = torch.log_softmax(logits[len(tokens) - len(target) : len(tokens)].float(), dim=-1)
                values[index] = last.gather(1, target[:, None]).sum().item()
    return values


def _logits(model: Any, part: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Logits [row, position, vocabulary]; rows are padded on the right, where causal attention never looks."""
    width = max(map(len, part))
    ids = torch.tensor([[*tokens, *[0] * (width - len(tokens))] for tokens in part], device=model.device)
    lengths = torch.tensor([len(tokens) for tokens in part], device=model.device)
    mask = torch.arange(width, device=model.device)[None] < lengths[:, None]
    return model(input_ids=ids, attention_mask=mask.long()).logits
