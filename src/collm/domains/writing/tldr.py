"""TLDR: a summariser and an elaborator write about one forum post (paper section 6.1, appendix F.1).

Further agents write texts that bridge the two (`collm.domains.writing.reward`).

Differences of the released code from the paper (`released` against `paper`): distinct words include stop words;
transitions are searched in the second text only; coherence rises in steps of 0.05 instead of min(0.6 ln(n + 1), 1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from collm.common.errors import UnusableRow
from collm.domains.base import Demonstration, RawRow, Task, printable, require, require_text
from collm.domains.options import Option
from collm.domains.writing.reward import (
    DELIMITER,
    MAX_REWARD,
    Band,
    Cascade,
    WritingDomain,
    measure,
    measure_all,
    score,
    score_all,
)
from collm.domains.writing.tldr_writer import Faults, clean, elaborate, sentences

_ONLY = "Answer with the summary alone: no title, no list, no comment."


def _cascade(content_only: bool, searched: str, log_factor: float | None) -> Cascade:
    return Cascade(
        tokens=(8, 256),
        length=Band(1.1, 1.6, 3.2, 5.0),
        vocabulary=Band(1.3, 2.0, math.inf, math.inf),
        content_only=content_only,
        searched=searched,
        log_factor=log_factor,
        jaccard_cap=0.03,
    )


class Tldr(WritingDomain):
    """One agent sums the post up in a sentence or a few, the other in detail; the score is 100 * reward / 3."""

    name = "tldr"
    title = "TLDR"
    licence = "MIT (written for this project)"
    public_licence = "posts CC BY 4.0 (Webis-TLDR-17)"
    hub = ("trl-lib/tldr", None)
    cascades = {
        "paper": _cascade(content_only=True, searched="both", log_factor=0.6),
        "released": _cascade(content_only=False, searched="second", log_factor=None),
    }
    declared_options = (
        *WritingDomain.declared_options,
        Option("max_words", 0, "Leave out posts of more words (listed in the manifest); 0 means no limit.", minimum=0),
    )
    source_field = "prompt"
    files = {
        "train": ("tldr/tldr_1945.jsonl.gz", "tldr/train.jsonl"),
        "test": ("tldr/tldr_500.jsonl", "tldr/test.jsonl"),
    }
    hub_fields = ("prompt", "completion")
    prompts = (
        (
            f"You write short, factual summaries of forum posts. {_ONLY}",
            "Summarise the post below concisely, in one or a few sentences. Use only facts that the post states.",
        ),
        (
            f"You write detailed, well connected summaries of forum posts. {_ONLY}",
            "Summarise the post below in detail. Use many different words and join the sentences with transition "
            "words such as however, therefore, for example or finally.",
        ),
    )
    bridge_prompt = (
        f"You write summaries of forum posts that join a brief one with a detailed one. {_ONLY}",
        "Summarise the post below in detail, from its main point to what follows from it. Use many different words, "
        "the post's own names for things, and transition words such as however, therefore, for example or finally.",
    )
    single_prompt = (
        "You summarise forum posts twice, once briefly and once in detail. Answer with the two paragraphs alone.",
        "Write exactly two paragraphs about the post below, the first opened by Paragraph 1: and the second by "
        f"Paragraph 2:, with {DELIMITER} between them. Paragraph 1 is a concise summary. Paragraph 2 is two to three "
        "times as long in characters, with more different words and with transition words. Each has 10 to 200 words.",
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self.roles = self.named("summariser", "elaborator", num_agents)

    def task(self, row: RawRow, index: int) -> Task:
        """Needs a `prompt` that is not empty; `completion` may be missing but must be text.

        A post of more words than the option `max_words` (0: no limit) raises UnusableRow.
        """
        prompt = require_text(row.fields, "prompt", row.origin)
        words, limit = len(prompt.split()), self.options["max_words"]
        if limit and words > limit:
            raise UnusableRow(f"{row.origin}: a post of {words} words; option max_words is {limit}")
        completion = ""
        if row.fields.get("completion") is not None:
            completion = require(row.fields, "completion", (str,), "a text", row.origin)
        fields = {"prompt": printable(prompt), "completion": printable(completion)}
        return Task(f"{self.name}_{index:04d}", self.name, fields)

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """The reference summary and an elaboration made of the post's own sentences; [] without a reference.

        `noise` is the chance of each fault: a summary too long or an elaboration too short, one that repeats itself,
        one without transition words.
        """
        summary = clean(task.fields["completion"])
        source = sentences(_body(task.fields["prompt"]))
        if not summary or not source:
            return []
        padded, faults = _faults(rng, noise)
        text = self._best_elaboration(summary, source, rng, faults)
        if padded:
            more = Faults(rng.uniform(0.7, 1.3), 1.5, phrases=False)
            summary = f"{summary.rstrip(' .')}. {elaborate(summary, source, rng, more)}"
        responses = [summary, text]
        responses += [self._best_bridge(responses, source, rng, faults) for _ in range(2, self.num_agents)]
        if self.num_agents == 1:
            responses = [f"Paragraph 1: {summary}\n{DELIMITER}\nParagraph 2: {text}"]
        return [
            Demonstration(task.id, agent, 0, tuple(self.observe(task, agent, 0, (), None)), response)
            for agent, response in enumerate(responses)
        ]

    def _best_elaboration(self, summary: str, source: list[str], rng: random.Random, faults: Faults) -> str:
        """The first elaboration with full marks among a few lengths, else the best; with faults: as they say."""
        tries = (faults, Faults(2.6), Faults(2.9), Faults(1.9)) if faults == Faults() else (faults,)
        best, best_reward = "", -1.0
        for attempt in tries:
            text = elaborate(summary, source, rng, attempt)
            parts, _ = score(measure(summary, text, self.cascades["paper"]), self.cascades["paper"])
            reward = sum(parts.values())
            if reward > best_reward:
                best, best_reward = text, reward
            if reward >= MAX_REWARD - 1e-6:
                break
        return best

    def _best_bridge(self, before: list[str], source: list[str], rng: random.Random, faults: Faults) -> str:
        """A further elaboration: of a few lengths the one with which a team of three earns most; with faults: as they
        say."""
        tries = (faults, Faults(2.6), Faults(2.9), Faults(1.9)) if faults == Faults() else (faults,)
        texts = [elaborate(before[0], source, rng, attempt) for attempt in tries]
        cascade = self.cascades["paper"]

        def reward(text: str) -> float:
            return sum(score_all(measure_all([before[0], before[1], text], cascade), cascade)[0].values())

        return max(texts, key=reward)

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The post, its title with the reference, and its sentences joined by transition phrases."""
        prompt, reference = task.fields["prompt"], clean(task.fields["completion"])
        source = sentences(_body(prompt))
        texts = [prompt, clean(_body(prompt))]
        if reference:
            texts.append(f"{_title(prompt)}\n{reference}")
            texts.append(elaborate(reference, source, rng, Faults(rng.uniform(1.5, 3.0), 4.0)))
        return [text for text in texts if text.strip()]


def _faults(rng: random.Random, noise: float) -> tuple[bool, Faults]:
    """Whether the summary gets padding, and the faults of the elaboration; each sort of fault with chance `noise`."""
    length, vocabulary, transitions = (rng.random() < noise for _ in range(3))
    padded = length and rng.random() < 0.5
    short = rng.uniform(0.85, 1.4)
    ratios = (short, short) if length and not padded else (Faults.ratio, Faults.ceiling)
    fresh = rng.uniform(0.2, 0.45) if vocabulary else 1.0
    return padded, Faults(*ratios, fresh, not transitions)


def _body(prompt: str) -> str:
    """The post without subreddit, title and the closing "TL;DR:"; the whole text if it has another layout."""
    body = prompt.split("POST:", 1)[-1]
    return body.rsplit("TL;DR:", 1)[0]


def _title(prompt: str) -> str:
    """The title line, "" if there is none."""
    return next((line[6:].strip() for line in prompt.splitlines() if line.startswith("TITLE:")), "")
