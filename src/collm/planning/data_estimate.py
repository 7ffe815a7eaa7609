"""What is known of a job's data before it is prepared: how many tasks, and how long the prompts are.

Prepared data win, and the model's own tokenizer where it is there. Otherwise rows that ship with the project (or lie
in the folder named) are read and their characters counted; of hub sets, which cannot be read offline, the numbers of
tasks follow from the slices and the lengths of prompts from a table; so do those of sets that are costly to read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collm.common.errors import ConfigError
from collm.config.job import Job, build_domain
from collm.data import prepare
from collm.domains.base import Domain, Task
from collm.llm.sources import folder
from collm.planning import counts

# Characters per token where no tokenizer is there yet; prompts full of coordinates have fewer.
PRETRAINED_CHARACTERS, SCRATCH_CHARACTERS = 3.6, 3.7
COORDINATE_CHARACTERS = {"str_build": 2.5, "house_build": 1.9}
PUBLIC_PROMPTS = {
    "tldr": (1653, 2651),
    "arxiv": (1449, 2177),
    "coophe": (577, 1054),
    "humaneval": (703, 1599),
    "mbpp": (348, 418),
    "arc_challenge": (506, 1104),
    "algebra": (420, 537),
    "physics": (527, 829),
    "medicine": (1019, 2006),
    "navigate": (428, 550),
}  # characters of a team's prompts, mean and longest, over the paper's training rows of the public data sets
BY_SLICES = ("humaneval", "mbpp")  # reading their rows needs a package or runs programs


@dataclass(frozen=True)
class DataEstimate:
    """Numbers of tasks and prompt lengths of a job."""

    train: int
    test: int
    lengths: counts.Lengths


def estimate_data(job: Job, root: Path = Path(".")) -> DataEstimate:
    """What can be known of a job's data now.

    Raises:
        ConfigError: a hub set whose number of tasks does not follow from its slices.
    """
    domain = build_domain(job)
    name = job.team.agents[0]
    source = job.models[name]["source"]
    model = folder(root / "resources" / "models", name, source, job.domain)
    splits = _tasks_by_split(job, domain, root / "data" / job.domain)
    characters = _characters_per_token(job.domain, source)
    if splits is None:
        train, test = (_rows_of(job, slices) for slices in prepare.expressions(domain, job.data).values())
        mean, longest = (round(length / characters) for length in PUBLIC_PROMPTS[job.domain])
        return DataEstimate(train, test, counts.lengths_from_prompts(job, mean, longest))
    lengths = counts.lengths(job, domain, splits["train"], counter(model, characters))
    return DataEstimate(len(splits["train"]), len(splits["test"]), lengths)


def _tasks_by_split(job: Job, domain: Domain, prepared: Path) -> dict[str, list[Task]] | None:
    """Tasks by split: prepared ones from the job's source, else read from it; None if slices have to do."""
    if _is_from_source(prepared / "manifest.json", job):
        return {name: prepare.load_tasks(prepared / f"{name}.jsonl") for name in prepare.SPLITS}
    if job.data["source"] == "hub" or job.domain in BY_SLICES:
        return None
    return prepare.tasks(domain, job.data, job.data["seed"])


def counter(model: Path, characters: float = PRETRAINED_CHARACTERS) -> Callable[[str], int]:
    """A function that counts the tokens of a text: by the tokenizer in folder `model`, else one per `characters`."""
    file = model / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        return lambda text: len(tokenizer.encode(text).ids)
    return lambda text: round(len(text) / characters)


def _characters_per_token(domain: str, source: str) -> float:
    if source == "scratch":
        return SCRATCH_CHARACTERS
    return COORDINATE_CHARACTERS.get(domain, PRETRAINED_CHARACTERS)


def _is_from_source(manifest: Path, job: Job) -> bool:
    """Whether prepared data are from the source that the job asks for."""
    return manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8"))["source"] == job.data["source"]


def _rows_of(job: Job, expression: str) -> int:
    """Rows of a slice expression whose parts all have an end; dev splits of five rows are taken as they are."""
    total = 0
    for part in prepare.parse_slices(expression):
        start = part.start or 0
        if part.stop is None and part.split != "dev":
            raise ConfigError(
                f"{job.domain}: how many rows {expression!r} holds is not known before the data are there; give the "
                "slice an end, or prepare the data first (snakemake all_data)"
            )
        total += 5 if part.stop is None else part.stop - start
    return total
