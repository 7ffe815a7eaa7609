"""What is known of a job's data before it is prepared: how many tasks, and how long the prompts are.

Prepared data win if they were made with the plan's own settings, and the model's own tokenizer where it is there.
Otherwise rows that ship with the project (or lie in the folder named) are read and their characters counted; of hub
sets, which cannot be read offline, the numbers of tasks follow from the slices and the lengths of prompts from a table;
so do those of sets that are costly to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError
from collm.config.job import Job, build_domain
from collm.data import prepare
from collm.domains.base import Domain, Task
from collm.planning import counts, prepared

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
    """Numbers of tasks and prompt lengths of a job; `note` says why prepared data were not used, if some are there."""

    train: int
    test: int
    lengths: counts.Lengths
    note: str | None = None


def estimate_data(job: Job, made_with: Mapping[str, Any], root: Path = Path(".")) -> DataEstimate:
    """What can be known of a job's data now.

    Args:
        made_with: settings that the job's data depend on (`provenance.data_settings`).
        root: where data and models lie, if they do.
    Raises:
        ConfigError: a hub set whose number of tasks does not follow from its slices, or whose prompts are unknown.
    """
    domain = build_domain(job)
    name = job.team.agents[0]
    source = job.models[name]["source"]
    data = root / "data" / job.domain
    changes = prepared.data_differences(data, made_with)
    splits, origin = _tasks_by_split(job, domain, data if changes == [] else None)
    note = f"{data} was made with {changes[0]}: planned with {origin} instead" if changes else None
    characters = _characters_per_token(job.domain, source)
    if splits is None:
        train, test = (_rows_of(job, slices) for slices in prepare.expressions(domain, job.data).values())
        if job.domain not in PUBLIC_PROMPTS:
            raise ConfigError(
                f"{job.domain}: how long the prompts of its hub set are is not known before it is fetched; run "
                f"`python src/prepare_data.py --domain {job.domain}` first, or add it to PUBLIC_PROMPTS in {__name__}"
            )
        mean, longest = (round(length / characters) for length in PUBLIC_PROMPTS[job.domain])
        return DataEstimate(train, test, counts.lengths_from_prompts(job, mean, longest), note)
    model = prepared.model_folder(root, job, name) if prepared.has_model(root, job, name) else None
    lengths = counts.lengths(job, domain, splits["train"], counter(model, characters))
    return DataEstimate(len(splits["train"]), len(splits["test"]), lengths, note)


def _tasks_by_split(job: Job, domain: Domain, data: Path | None) -> tuple[dict[str, list[Task]] | None, str]:
    """Tasks by split, and where they are from in words; None if slices have to do.

    Args:
        data: folder of prepared data to use; None reads the job's source.
    """
    if data is not None:
        return {name: prepare.load_tasks(data / f"{name}.jsonl") for name in prepare.SPLITS}, str(data)
    if job.data["source"] == "hub" or job.domain in BY_SLICES:
        return None, "what is known of the public data set"
    origin = "rows that ship with the project" if job.data["source"] == "embedded" else f"rows of {job.data['path']}"
    return prepare.tasks(domain, job.data, job.data["seed"]), origin


def counter(model: Path | None, characters: float = PRETRAINED_CHARACTERS) -> Callable[[str], int]:
    """A function that counts the tokens of a text: by the tokenizer in folder `model`, else one per `characters`."""
    if model is not None and (model / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        return lambda text: len(tokenizer.encode(text).ids)
    return lambda text: round(len(text) / characters)


def _characters_per_token(domain: str, source: str) -> float:
    if source == "scratch":
        return SCRATCH_CHARACTERS
    return COORDINATE_CHARACTERS.get(domain, PRETRAINED_CHARACTERS)


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
