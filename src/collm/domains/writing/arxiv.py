"""arXiv: two agents expand one abstract, one the background and one the method (paper section 6.1, appendix F.1).

Further agents write texts that bridge the two (`collm.domains.writing.reward`).

Differences of the released code from the paper (`released` against `paper`): full marks for a length ratio of 1.3 to
1.6 (tolerated 0.8 to 2.0) instead of 1.0 to 1.3 (0.8 to 1.5); distinct words include stop words; transitions are
searched in both texts glued without a separator; coherence rises in steps of 0.05 instead of min(0.4 ln(n + 1), 1).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collm.domains.base import Demonstration, RawRow, Task, printable, require, require_text
from collm.domains.writing.arxiv_writer import Shape, expand
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
from collm.domains.writing.tldr_writer import clean, sentences

_ONLY = "Answer with running text alone: no title, no list, no comment."
_RATIO = {"paper": 1.12, "released": 1.42}


def _cascade(length: Band, content_only: bool, searched: str, log_factor: float | None) -> Cascade:
    return Cascade(
        tokens=(128, 256),
        length=length,
        vocabulary=Band(0.5, 0.7, 1.3, 1.7),
        content_only=content_only,
        searched=searched,
        log_factor=log_factor,
        jaccard_cap=0.23,
    )


class Arxiv(WritingDomain):
    """One agent writes background and motivation, the other method and implications; the score is 100 * reward / 3."""

    name = "arxiv"
    title = "arXiv"
    licence = "MIT (written for this project)"
    public_licence = "arXiv metadata CC0 1.0"
    hub = ("OpenMLRL/arXiv_abstract", None)
    cascades = {
        "paper": _cascade(Band(0.8, 1.0, 1.3, 1.5), content_only=True, searched="both", log_factor=0.4),
        "released": _cascade(Band(0.8, 1.3, 1.6, 2.0), content_only=False, searched="glued", log_factor=None),
    }
    source_field = "abstract_text"
    files = {
        "train": ("arxiv_abstract/abstracts_100_300.jsonl.gz", "arxiv_abstract/train.jsonl"),
        "val": ("arxiv_abstract/arxiv_cs_500_with_ids.jsonl", "arxiv_abstract/val.jsonl"),
    }
    hub_fields = ("article_id", "title", "abstract_text", "token_count")
    prompts = (
        (
            f"You write the introduction of a paper from its abstract. {_ONLY}",
            "Expand the abstract below into background and motivation only. Another writer covers method and "
            "implications; do not repeat that part.",
        ),
        (
            f"You write the introduction of a paper from its abstract. {_ONLY}",
            "Expand the abstract below into method and implications only. Another writer covers background and "
            "motivation; do not repeat that part.",
        ),
    )
    bridge_prompt = (
        f"You write the introduction of a paper from its abstract. {_ONLY}",
        "Expand the abstract below into a passage that leads from the motivation to the method and its implications. "
        "Other writers cover background and method themselves.",
    )
    single_prompt = (
        "You write the introduction of a paper from its abstract. Answer with the two paragraphs alone.",
        "Write exactly two paragraphs from the abstract below, the first opened by Paragraph 1: and the second by "
        f"Paragraph 2:, with {DELIMITER} between them. Paragraph 1 is background and motivation. Paragraph 2 is "
        "method, contribution and implications. Make both about equally long with a similar number of different "
        "words, and use many kinds of transition words.",
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self.roles = self.named("background", "complement", num_agents)

    def task(self, row: RawRow, index: int) -> Task:
        """Needs an `abstract_text` that is not empty; `article_id` and `title` may be missing but must be text."""
        fields = {"abstract_text": printable(require_text(row.fields, "abstract_text", row.origin))}
        for field in ("article_id", "title"):
            given = row.fields.get(field)
            if given is not None:
                given = require(row.fields, field, (str,), "a text", row.origin)
            fields[field] = printable(given or "")
        return Task(f"{self.name}_{index:04d}", self.name, fields)

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """Two expansions made of the abstract's own sentences and connectives; [] without a sentence.

        `noise` is the chance of each fault: a text too short, a pair out of proportion, no connectives, and few
        sentences in common.
        """
        source = sentences(task.fields["abstract_text"])
        if not source:
            return []
        shape = _shape(rng, noise, _RATIO[self.profile])
        responses = list(self._best_pair(source, shape, rng))
        responses += [self._best_bridge(responses, source, shape, rng) for _ in range(2, self.num_agents)]
        if self.num_agents == 1:
            responses = [f"Paragraph 1: {responses[0]}\n{DELIMITER}\nParagraph 2: {responses[1]}"]
        return [
            Demonstration(task.id, agent, 0, tuple(self.observe(task, agent, 0, (), None)), response)
            for agent, response in enumerate(responses)
        ]

    def _best_pair(self, source: list[str], shape: Shape, rng: random.Random) -> tuple[str, str]:
        """The first pair with full marks among a few shapes, else the best; with faults: as they say."""
        clean_shape = Shape(ratio=_RATIO[self.profile])
        tries = [shape]
        if shape == clean_shape:
            tries += [replace(shape, own_share=share, words=words) for share in (0.4, 0.3, 0.7) for words in (140, 150)]
        best, best_reward = ("", ""), -1.0
        for attempt in tries:
            pair = expand(source, attempt, rng)
            parts, _ = score(measure(*pair, self.cascade), self.cascade)
            reward = sum(parts.values())
            if reward > best_reward:
                best, best_reward = pair, reward
            if reward >= MAX_REWARD - 1e-6:
                break
        return best

    def _best_bridge(self, before: list[str], source: list[str], shape: Shape, rng: random.Random) -> str:
        """A further expansion: of a few the one with which a team of three earns most; with faults: as they say."""
        tries = [shape]
        if shape == Shape(ratio=_RATIO[self.profile]):
            tries += [replace(shape, own_share=share, words=words) for share in (0.4, 0.3, 0.7) for words in (140, 150)]
        texts = [text for attempt in tries for text in expand(source, attempt, rng)]

        def reward(text: str) -> float:
            return sum(score_all(measure_all([*before[:2], text], self.cascade), self.cascade)[0].values())

        return max(texts, key=reward)

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The abstract, its title with it, and a pair of expansions."""
        abstract, title = clean(task.fields["abstract_text"]), clean(task.fields["title"])
        texts = [abstract, f"{title}\n{abstract}" if title else ""]
        share = rng.uniform(0.3, 0.7)
        shape = Shape(own_share=share, ratio=rng.uniform(0.8, 1.6))
        texts += expand(sentences(task.fields["abstract_text"]), shape, rng)
        return [text for text in texts if text.strip()]


def _shape(rng: random.Random, noise: float, ratio: float) -> Shape:
    """The clean shape with each sort of fault with chance `noise`; a text too short, worth nothing, with a third."""
    short, proportion, connectives, common = (rng.random() < noise for _ in range(4))
    words = Shape.words
    if short and rng.random() < 1 / 3:
        words = rng.randint(90, 127)
    elif short:
        words = rng.randint(128, 180)
    if proportion:
        ratio = rng.uniform(0.7, 1.7)
    share = rng.uniform(0.8, 1.2) if common else Shape.own_share
    return Shape(words, ratio, share, not connectives)
