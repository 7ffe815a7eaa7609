"""Cases of StrBuild in the golden format: string, spacing, plane, blocks, limit and completions, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collm.common.errors import RowError
from collm.domains.base import answer_field, require, require_integer
from collm.domains.building.letter_world import AIR, GLYPH_WIDTH, Counts, Grid, block_name, limits, render

_WIDEST_CASE = 10_000


@dataclass(frozen=True)
class Case:
    """One case; `blocks`, `limits` and `texts` per agent."""

    grid: Grid
    blocks: tuple[list[str], ...]
    limits: tuple[int, ...]
    texts: tuple[str, ...]


def read_case(inputs: Mapping[str, Any]) -> Case:
    """Check the fields of a case.

    Raises:
        RowError: names the field and what is expected.
    """
    agents = require_integer(inputs, "num_agents", 1)
    grid = _grid(inputs)
    shares = limits(require_integer(inputs, "max_commands", 1), agents)
    blocks = tuple(_blocks(inputs, f"block_agent{number}") for number in range(1, agents + 1))
    texts = tuple(answer_field(inputs, f"completion{number}") for number in range(1, agents + 1))
    return Case(grid, blocks, tuple(shares), texts)


def components(counts: Counts, parts: Mapping[str, float]) -> dict[str, Any]:
    """Counts and parts of the reward under the names of the golden rows."""
    return {
        "target_total": counts.targets,
        "covered": counts.covered,
        "missing": counts.targets - counts.covered,
        "coverage_ratio": counts.coverage,
        "extra_blocks": counts.extra,
        "extra_ratio": (0.0 - parts["extra"]) / 1.5,
        "adjacent_same_color_pairs": counts.same_pairs,
        "adjacent_color_pairs": counts.pairs,
        "adjacent_same_color_ratio": counts.adjacency,
        "score_acc": parts["coverage"],
        "penalty_extra": 0.0 - parts["extra"],
        "penalty_adj": 0.0 - parts["adjacency"],
        "missing_agent_palette_count": counts.missing_palettes,
        "penalty_missing_palette": 0.0 - parts.get("palette", 0.0),
        "iou": counts.iou,
    }


def _grid(inputs: Mapping[str, Any]) -> Grid:
    string = require(inputs, "string", (str,), "a text")
    plane = require(inputs, "local_z", (int,), "a whole number")
    spacing = require_integer(inputs, "spacing", 0)
    if len(string) * (spacing + GLYPH_WIDTH) > _WIDEST_CASE:
        raise RowError(f"fields 'string' and 'spacing' make a grid of more than {_WIDEST_CASE} columns")
    grid = render(string, spacing, plane)
    if "target_rows_topdown" in inputs and inputs["target_rows_topdown"] != list(grid.rows):
        raise RowError("field 'target_rows_topdown' differs from the drawing of 'string'; leave it out or mend it")
    return grid


def _blocks(inputs: Mapping[str, Any], field: str) -> list[str]:
    expected = "a list of block names with at least one besides air"
    blocks = require(inputs, field, (list,), expected)
    if not all(isinstance(block, str) for block in blocks) or not {block_name(b) for b in blocks} - AIR - {""}:
        raise RowError(f"field {field!r} is {blocks!r}; expected {expected}")
    return blocks
