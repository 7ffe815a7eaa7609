"""The table of rows: every method and baseline, once, with all that configuration, learner and report have to know.

This module imports no torch, so that the configuration and the workflow can ask it.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

from collm.common.errors import ConfigError


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
        advantage: "module:function" that makes the advantages of a group's K responses of their returns, [K] -> [K];
            for a method of another module, those of collm stand in `collm.methods.monte_carlo`.
    """

    name: str
    label: str
    trained: str | None = "reinforcement"
    critics: str | None = None
    single: bool = False
    decentralised: bool = True
    like: str | None = None
    advantage: str | None = None


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
NAMES = tuple(ROWS)
"""Those that ship with collm; a method that `register` entered is in `ROWS` and `METHODS` only."""


def register(row: Row) -> None:
    """Enter a method of another module behind the others; once more is no fault.

    Raises:
        ConfigError: its name is taken, or it is no method that the learner can train; says what it lacks.
    """
    where = f"method {row.name!r}"
    if row == ROWS.get(row.name):
        return
    if row.name in ROWS:
        raise ConfigError(f"{where}: there is another one of that name; give the Row another name")
    if not row.name.isidentifier() or row.name != row.name.lower():
        raise ConfigError(f"{where} names folders and keys; write small letters, digits and underscores")
    if row.trained != "reinforcement" or not row.decentralised:
        raise ConfigError(f"{where}: only methods of reinforcement learning can be added; leave out trained and others")
    if row.like is not None and row.like not in METHODS:
        raise ConfigError(f"{where}: like is {row.like!r}, which is no method; allowed are {', '.join(METHODS)}")
    if row.critics not in (None, "joint", "local"):
        raise ConfigError(f"{where}: critics is {row.critics!r}; allowed are None, joint and local")
    if (row.critics is None) != (row.advantage is not None):
        raise ConfigError(
            f"{where}: a Row has critics or an advantage; without critics write advantage='module:function'"
        )
    if row.advantage is not None:
        _check_function(where, row.advantage)
    ROWS[row.name] = METHODS[row.name] = row


def _check_function(where: str, place: str) -> None:
    """ConfigError unless a module of that name can be found and, if it is loaded by now, has the function."""
    module, _, name = place.partition(":")
    try:
        found = module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    loaded = sys.modules.get(module)
    if not found or not name or (loaded is not None and not callable(getattr(loaded, name, None))):
        raise ConfigError(f"{where}: advantage {place!r} is not there; write 'module:function' of a module on the path")


def lineage(name: str) -> list[str]:
    """A row and those that it is like, the most general one first."""
    names = [name]
    while (like := ROWS[names[0]].like) is not None:
        names.insert(0, like)
    return names


def start_of(name: str) -> str:
    """The warm start whose adapters a method starts from: a team's, or a single agent's."""
    return "warm_start_single" if ROWS[name].single else "warm_start"
