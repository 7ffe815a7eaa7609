"""The table of rows: every method and baseline, once, with all that configuration, learner and report have to know.

This module imports no torch, so that the configuration and the workflow can ask it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method of reinforcement learning, or a baseline.

    Attributes:
        label: the name that people read.
        trained: "reinforcement" (a method), "supervised" (a warm start) or None (untrained).
        critics: None = Monte Carlo returns within groups of K; "joint" = one on the joint history; "local" = one per
            agent.
        single: one agent alone.
        decentralised: no agent reads what another one writes.
        like: settings that no file gives for this row are those of another one.
    """

    name: str
    label: str
    trained: str | None = "reinforcement"
    critics: str | None = None
    single: bool = False
    decentralised: bool = True
    like: str | None = None


# In the order of tables and legends.
ROWS = {
    row.name: row
    for row in (
        Row("parallel", "Parallel (untrained)", trained=None),
        Row("warm_start", "Warm start", trained="supervised"),
        Row("raw", "Raw model", trained=None, single=True, like="grpo"),
        Row("warm_start_single", "Warm start (one agent)", trained="supervised", single=True, like="grpo"),
        Row("grpo", "GRPO", single=True, like="magrpo"),
        Row("ac", "AC", critics="local", single=True, like="collm_dc"),
        Row("pipeline", "Pipeline (not decentralised)", trained=None, decentralised=False),
        Row("discussion", "Discussion (not decentralised)", trained=None, decentralised=False),
        Row("magrpo", "MAGRPO"),
        Row("mareinforce", "MAREINFORCE", like="magrpo"),
        Row("marloo", "MARLOO", like="magrpo"),
        Row("maremax", "MAREMAX", like="magrpo"),
        Row("collm_dc", "CoLLM-DC", critics="local"),
        Row("collm_cc", "CoLLM-CC", critics="joint"),
    )
}
METHODS = {name: row for name, row in ROWS.items() if row.trained == "reinforcement"}
BASELINES = {name: row for name, row in ROWS.items() if name not in METHODS}
UNTRAINED = tuple(name for name, row in ROWS.items() if row.trained is None)
WARM_STARTS = tuple(name for name, row in ROWS.items() if row.trained == "supervised")


def lineage(name: str) -> list[str]:
    """A row and those that it is like, the most general one first."""
    names = [name]
    while (like := ROWS[names[0]].like) is not None:
        names.insert(0, like)
    return names


def start_of(name: str) -> str:
    """The warm start whose adapters a method starts from: a team's, or a single agent's."""
    return "warm_start_single" if ROWS[name].single else "warm_start"
