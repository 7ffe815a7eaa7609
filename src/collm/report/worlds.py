"""What pictures of built worlds share: which worlds are drawn, and the colours of their blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.domains.base import Domain
from collm.methods.registry import ROWS
from collm.report.results import Results

OTHERS = ("#009E73", "#56B4E9", "#CC79A7", "#F0E442")  # blocks without a colour of their own, by name
TARGET, GROUND = "#C3005B", "#D3DCE6"


@dataclass(frozen=True)
class World:
    """A final world: `record` has targets [[x, y, z], ...], built [[x, y, z, block], ...], size [w, h] or [w, h, d]."""

    name: str
    note: str
    record: Mapping[str, Any]


def final_panels(results: Results, domain: Domain) -> tuple[list[World], str]:
    """The last turn's record of every method on the first test task (first seed, first sample), and that task's id.

    Raises DataError if a method has no sample of the task.
    """
    panels: list[World] = []
    task = ""
    for method in results.methods(domain.name):
        frame = results.of(domain.name, method)
        task = task or str(frame["task"].iloc[0])
        path = results.folders[domain.name, method, int(frame["seed"].min())] / "samples.jsonl"
        row = next((row for row in read_jsonl(path) if row["task"] == task), None)
        if row is None:
            raise DataError(f"{path} has no sample of task {task!r}; evaluate all methods on the same split")
        metrics = [metric for metric in domain.metrics if metric.in_table]
        values = [f"{metric.label} {row['metrics'][metric.name]:.0f} {metric.unit}" for metric in metrics]
        panels.append(World(ROWS[method].label, ", ".join(values), row["record"]))
    return panels, task


def block_colours(panels: Sequence[World], materials: Mapping[str, str]) -> dict[str, str]:
    """Colour by block that was built: of `materials` first, in their order, then the others by name."""
    built = {str(block) for world in panels for *_, block in world.record["built"]}
    others = sorted(built - set(materials))
    usual = {block: colour for block, colour in materials.items() if block in built}
    return usual | {block: OTHERS[index % len(OTHERS)] for index, block in enumerate(others)}
