"""Benchmarks whose embedded rows are written by hand, with a generator beside them for models made from scratch.

No model can learn the answers to the written test questions from the few that it trains on; generated questions hold
their facts. Both are embedded rows: split `train` the written ones, split `generated` the others, which the default
slices take where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

from collm.domains import readers
from collm.domains.base import RawRow
from collm.domains.choice.questions import Family, generate
from collm.domains.options import Option

GENERATED = Option(
    "generated", 0, "Rows of the seeded generator, taken instead of the written ones (source embedded).", minimum=0
)


def rows(domain: str, families: Sequence[Family], seed: int, generated: int) -> dict[str, list[RawRow]]:
    """Embedded rows by split; ConfigError if so many cannot be generated."""
    splits = {"train": list(readers.embedded_rows(f"{domain}.jsonl"))}
    if generated:
        splits["generated"] = generate(families, seed, generated, domain)
    return splits


def slices(domain: str, generated: int) -> tuple[str, str]:
    """3/4 of the generated rows to train on and 1/4 to test on; of the written ones if none are generated."""
    if generated:
        return readers.quarters("generated", generated)
    return readers.quarters("train", len(readers.embedded_rows(f"{domain}.jsonl")))
