"""The writing reward that TLDR and arXiv share: a cascade of four levels over two texts, and the domain around it.

Source: paper section 6.1 and appendix F.1 (profile `paper`), the released writing rewards (profile `released`). A
domain states its constants as one `Cascade` per profile. Levels: structure (token counts), length (ratio of
characters), vocabulary (ratio of distinct words), style (transition words and shared words). A level whose value
lies outside the tolerated range stops the cascade; a value on the border is worth 0 and the cascade goes on.

Of more than two texts, those after the second are bridges: each is paired with the first text like the second one, but
of its shared words those with the text before it count where they are fewer (it joins what stands on both sides). Every
part is the mean over the pairs: for two texts the published reward, for any number at most 3. That is our own.

The paper states neither the weights of the two style terms nor the base of the logarithm; taken are the released
weights (0.4 transitions, 0.6 shared words) and the natural logarithm.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from collm.common.errors import ConfigError
from collm.domains import readers
from collm.domains.base import (
    Domain,
    Exchange,
    Message,
    Metric,
    Question,
    RawRow,
    Step,
    Task,
    answer_field,
    embedded_path,
    printable,
)
from collm.domains.options import Option
from collm.domains.prose import content_words, words

MAX_REWARD = 3.0
DELIMITER = "[PARAGRAPH_SPLIT]"
RANGES = {"structure": (0.0, 0.5), "length": (0.0, 1.0), "vocabulary": (0.0, 0.5), "style": (0.0, 1.0)}
PARTS = tuple(RANGES)

_FIRST_LABEL = re.compile(r"paragraph 1:", re.IGNORECASE)
_SECOND_LABEL = re.compile(r"paragraph 2:", re.IGNORECASE)


@dataclass(frozen=True)
class Band:
    """A range worth full marks inside a wider tolerated range; in between the worth falls linearly to 0."""

    lowest: float
    low: float
    high: float
    highest: float

    def worth(self, value: float) -> float | None:
        """1 inside [low, high], linear down to 0 at `lowest` and `highest`, None beyond them (the cascade stops)."""
        if self.low <= value <= self.high:
            return 1.0
        if self.lowest <= value < self.low:
            return (value - self.lowest) / (self.low - self.lowest)
        if self.high < value <= self.highest:
            return 1.0 - (value - self.high) / (self.highest - self.high)
        return None


@dataclass(frozen=True)
class Cascade:
    """Constants of one domain under one profile.

    `tokens`: least and most whitespace tokens of either text. `content_only`: count distinct words without stop
    words. `searched`: where transition phrases are looked for, "second" text, both "glued" without a separator, or
    "both" with one. `log_factor`: coherence min(factor * ln(n + 1), 1) over n phrase categories; None: the released
    steps 0.4 + 0.05 (n - 1). `jaccard_cap`: share of common words worth full marks.
    """

    tokens: tuple[int, int]
    length: Band
    vocabulary: Band
    content_only: bool
    searched: str
    log_factor: float | None
    jaccard_cap: float


@dataclass(frozen=True)
class Lexicon:
    """The twelve categories of transition phrases (all lower case)."""

    categories: Mapping[str, tuple[str, ...]]
    bounded: Mapping[str, re.Pattern[str]]


@functools.cache
def lexicon() -> Lexicon:
    """The lexicon that ships with the package."""
    data = json.loads(embedded_path("writing_lexicon.json").read_text(encoding="utf-8"))
    categories = {name: tuple(phrases) for name, phrases in data["transition_categories"].items()}
    bounded = {
        name: re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)")
        for name, phrases in categories.items()
    }
    return Lexicon(categories, bounded)


def transition_categories(text: str, word_boundaries: bool = False) -> list[str]:
    """Sorted names of the categories with at least one phrase in `text`.

    By default a phrase is found anywhere, even inside a word ("as" in "was"), as in the released code; with
    `word_boundaries` only whole words count, which leaves less to exploit.
    """
    lower = text.lower()
    if word_boundaries:
        return sorted(name for name, pattern in lexicon().bounded.items() if pattern.search(lower))
    return sorted(name for name, phrases in lexicon().categories.items() if any(phrase in lower for phrase in phrases))


def jaccard(first: set[str], second: set[str]) -> float:
    """Shared over all items; 1 if both sets are empty."""
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def coherence(categories: int, log_factor: float | None) -> float:
    """Worth in [0, 1] of `categories` transition categories (see `Cascade.log_factor`)."""
    if log_factor is not None:
        return min(log_factor * math.log(categories + 1), 1.0)
    if categories == 0:
        return 0.0
    return min(1.0, 0.4 + min(0.05 * (categories - 1), 0.6))


@dataclass(frozen=True)
class Measures:
    """All quantities of a pair of texts that the cascade looks at."""

    tokens: tuple[int, int]
    chars: tuple[int, int]
    unique: tuple[int, int]
    categories: tuple[str, ...]
    jaccard: float

    @property
    def length_ratio(self) -> float:
        """Characters of the second text over those of the first; 0 if the first is empty."""
        return self.chars[1] / self.chars[0] if self.chars[0] else 0.0

    @property
    def unique_ratio(self) -> float:
        """Distinct words of the second text over those of the first; 0 if the first has none."""
        return self.unique[1] / self.unique[0] if self.unique[0] else 0.0


def measure(first: str, second: str, cascade: Cascade, word_boundaries: bool = False) -> Measures:
    """Measure two texts under the constants of `cascade`."""
    content = content_words(first), content_words(second)
    unique = content if cascade.content_only else (set(words(first)), set(words(second)))
    searched = {"second": second, "glued": first + second, "both": f"{first}\n{second}"}[cascade.searched]
    return Measures(
        tokens=(len(first.split()), len(second.split())),
        chars=(len(first), len(second)),
        unique=(len(unique[0]), len(unique[1])),
        categories=tuple(transition_categories(searched, word_boundaries)),
        jaccard=jaccard(*content),
    )


def score(measures: Measures, cascade: Cascade) -> tuple[dict[str, float], int]:
    """Reward parts (structure <= 0.5, length <= 1, vocabulary <= 0.5, style <= 1) and the level reached (1 to 4)."""
    parts = dict.fromkeys(PARTS, 0.0)
    lowest, highest = cascade.tokens
    if not all(lowest <= count <= highest for count in measures.tokens):
        return parts, 1
    parts["structure"] = 0.5
    length = cascade.length.worth(measures.length_ratio)
    if length is None:
        return parts, 2
    parts["length"] = length
    vocabulary = cascade.vocabulary.worth(measures.unique_ratio) if measures.unique[0] else None
    if vocabulary is None:
        return parts, 3
    parts["vocabulary"] = 0.5 * vocabulary
    scale = coherence(len(measures.categories), cascade.log_factor)
    parts["style"] = 0.4 * scale + 0.6 * (min(measures.jaccard, cascade.jaccard_cap) / cascade.jaccard_cap)
    return parts, 4


def measure_all(texts: Sequence[str], cascade: Cascade, word_boundaries: bool = False) -> list[Measures]:
    """The measures of every pair of a team of at least two texts, [n - 1]: the first text with each of the others."""
    pairs = [measure(texts[0], text, cascade, word_boundaries) for text in texts[1:]]
    contents = [content_words(text) for text in texts]
    for place in range(2, len(texts)):  # bridges
        shared = min(pairs[place - 1].jaccard, jaccard(contents[place - 1], contents[place]))
        pairs[place - 1] = replace(pairs[place - 1], jaccard=shared)
    return pairs


def score_all(pairs: Sequence[Measures], cascade: Cascade) -> tuple[dict[str, float], int]:
    """Mean parts over the pairs, and the lowest level that one of them reached."""
    scored = [score(one, cascade) for one in pairs]
    if len(scored) == 1:
        return scored[0]
    parts = {name: math.fsum(one[name] for one, _ in scored) / len(scored) for name in PARTS}
    return parts, min(level for _, level in scored)


def components(measures: Measures, parts: Mapping[str, float], level: int, cascade: Cascade) -> dict[str, Any]:
    """Parts and everything they were computed from; a ratio appears from the level on that looks at it."""
    values: dict[str, Any] = dict(parts)
    for index in (0, 1):
        values[f"tokens{index + 1}"] = measures.tokens[index]
        values[f"chars{index + 1}"] = measures.chars[index]
        values[f"unique{index + 1}"] = measures.unique[index]
    values |= {f"level{number}": parts[name] for number, name in enumerate(PARTS, start=1)}
    values["level_reached"] = level
    if level >= 2:
        values["length_ratio"] = measures.length_ratio
    if level >= 3 and measures.unique[0]:
        values["unique_ratio"] = measures.unique_ratio
    if level >= 4:
        values["categories"] = list(measures.categories)
        values["num_categories"] = len(measures.categories)
        values["transition_scale"] = coherence(len(measures.categories), cascade.log_factor)
        values["jaccard"] = measures.jaccard
    return values


def split_paragraphs(text: str) -> tuple[str, str]:
    """Cut a single agent's answer into the two texts of the reward.

    At the first delimiter; else at "Paragraph 2:"; else after the first third of the characters. Labels go.
    """
    text = text.strip()
    label = _SECOND_LABEL.search(text)
    if DELIMITER in text:
        first, second = text.split(DELIMITER, 1)
    elif label:
        first, second = text[: label.start()], text[label.start() :]
    else:
        cut = len(text) // 3 or 1
        first, second = text[:cut], text[cut:]
    first, second = first.strip(), second.strip()
    if match := _FIRST_LABEL.match(first):
        first = first[match.end() :].lstrip()
    if match := _SECOND_LABEL.match(second):
        second = second[match.end() :].lstrip()
    return first, second


class WritingDomain(Domain):
    """A single-turn domain in which agents write one text each, two of them or more, and the cascade scores the pairs.

    A subclass gives `cascades` (by profile), `source_field` (the text all agents see) and `prompts`: one (system,
    instruction) pair for each of the first two agents, `bridge_prompt` for all others; `single_prompt` is the pair for
    one agent that writes both texts. Of its data it gives `files` (names below a folder that may hold a split) and
    `hub_fields`; embedded rows stand in embedded/<name>.jsonl.
    """

    max_turns = 1
    team_sizes = None
    max_reward = MAX_REWARD
    min_reward = 0.0
    parts = RANGES
    caution = (
        "the published reward counts lengths, distinct words and transition phrases and does not look at meaning: "
        "words in random order can earn 3.0 of 3 (100 %)"
    )
    declared_options: ClassVar[tuple[Option, ...]] = (
        Option(
            "word_boundaries",
            False,
            "Count transition phrases only as whole words (the paper and the released code match substrings).",
        ),
    )
    metrics = (
        Metric("score", "Score", "%", higher_is_better=True),
        Metric("length_ratio", "Length ratio", "", higher_is_better=True, in_table=False),
        Metric("unique_ratio", "Unique-word ratio", "", higher_is_better=True, in_table=False),
        Metric("transitions", "Transition categories", "", higher_is_better=True, in_table=False),
        Metric("jaccard", "Shared words", "", higher_is_better=True, in_table=False),
    )
    cascades: ClassVar[Mapping[str, Cascade]]
    prompts: ClassVar[tuple[tuple[str, str], ...]]
    bridge_prompt: ClassVar[tuple[str, str]]
    single_prompt: ClassVar[tuple[str, str]]
    files: ClassVar[Mapping[str, Sequence[str]]]
    hub_fields: ClassVar[tuple[str, ...]]
    hub: tuple[str, str | None]

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: of hub and path as in the paper, of the embedded rows 3/4 and 1/4."""
        paper = ("train[0:1000]", "train[1000:1100]")
        count = len(readers.embedded_rows(f"{self.name}.jsonl"))
        return {"hub": paper, "path": paper, "embedded": readers.quarters("train", count)}

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The texts that ship with the project as split `train`; `seed` is not used."""
        return {"train": list(readers.embedded_rows(f"{self.name}.jsonl"))}

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """Every split of which one of its `files` is below `folder`."""
        return readers.read_splits(self.name, folder, self.files)

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """The `hub_fields` of the hub rows."""
        return readers.keep_fields(rows, self.hub_fields, f"{self.hub[0]}:{split}")

    @property
    def cascade(self) -> Cascade:
        """The constants of the profile in use."""
        return self.cascades[self.profile]

    def asked(self, text: str) -> Question:
        """The text itself, a post or an abstract."""
        return Question(self.task(RawRow({self.source_field: text}, "the question"), 0))

    def key(self, task: Task) -> str:
        """The source text with runs of white space collapsed."""
        return " ".join(task.fields[self.source_field].split())

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """Instruction of that agent's role, then the source text; ConfigError for any turn but the first."""
        if turn:
            raise ConfigError(f"{self.name} has a single turn; set the number of turns to 1")
        system, instruction = self.single_prompt if self.num_agents == 1 else self._prompt(agent)
        source = printable(task.fields[self.source_field])
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": f"{instruction}\n\n{source}"},
        ]

    def _prompt(self, agent: int) -> tuple[str, str]:
        return self.prompts[agent] if agent < len(self.prompts) else self.bridge_prompt

    @staticmethod
    def named(first: str, second: str, agents: int) -> tuple[str, ...]:
        """Names of the agents of a team: one alone is the writer, those after the second are bridges."""
        if agents == 1:
            return ("writer",)
        bridges = ["bridge"] if agents == 3 else [f"bridge_{number}" for number in range(1, agents - 1)]
        return (first, second, *bridges)

    def start(self, task: Task, seed: int) -> None:
        """Nothing: a single turn needs no world."""
        return None

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Score the texts (of one agent: the two paragraphs of its answer); metrics are means over the pairs."""
        texts: Sequence[str] = self.check_joint_action(joint_action)
        texts = split_paragraphs(texts[0]) if self.num_agents == 1 else texts
        pairs = measure_all(texts, self.cascade, self.options["word_boundaries"])
        parts, level = score_all(pairs, self.cascade)
        reward = sum(parts.values())
        metrics = {
            "score": 100.0 * reward / MAX_REWARD,
            "length_ratio": _mean(one.length_ratio for one in pairs),
            "unique_ratio": _mean(one.unique_ratio for one in pairs),
            "transitions": _mean(float(len(one.categories)) for one in pairs),
            "jaccard": _mean(one.jaccard for one in pairs),
        }
        categories = dict.fromkeys(name for one in pairs for name in one.categories)
        record = {"level_reached": level, "categories": list(categories)}
        return Step(parts, reward, metrics, (None,) * self.num_agents, None, record)

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Fields `completion1`, `completion2`, ..., one per agent and two at least, text or null; RowError otherwise.

        Of more than two, `pairs` holds the components of each pair.
        """
        texts = [answer_field(inputs, f"completion{number}") for number in range(1, max(2, self.num_agents) + 1)]
        pairs = measure_all(texts, self.cascade, self.options["word_boundaries"])
        parts, level = score_all(pairs, self.cascade)
        if len(pairs) == 1:
            return sum(parts.values()), components(pairs[0], parts, level, self.cascade)
        each = [components(one, *score(one, self.cascade), self.cascade) for one in pairs]
        return sum(parts.values()), {**parts, "level_reached": level, "pairs": each}


def _mean(values: Iterable[float]) -> float:
    every = [*values]
    return every[0] if len(every) == 1 else math.fsum(every) / len(every)
