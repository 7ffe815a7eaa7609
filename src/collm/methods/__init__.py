"""Training methods: one file each, pure functions named after the paper's symbols.

This module imports no torch, so that the configuration and the workflow can ask it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """What configuration and learner have to know of a method.

    critics: None = Monte Carlo returns within groups of K; "joint" = one on the joint history; "local" = one per agent.
    single: the method trains one agent alone.
    like: settings that no file gives for this method are those of another one.
    """

    name: str
    label: str
    critics: str | None
    single: bool = False
    like: str | None = None


METHODS = {
    method.name: method
    for method in (
        Method("magrpo", "MAGRPO", None),
        Method("mareinforce", "MAREINFORCE", None, like="magrpo"),
        Method("marloo", "MARLOO", None, like="magrpo"),
        Method("maremax", "MAREMAX", None, like="magrpo"),
        Method("grpo", "GRPO", None, single=True, like="magrpo"),
        Method("collm_dc", "CoLLM-DC", "local"),
        Method("ac", "AC", "local", single=True, like="collm_dc"),
        Method("collm_cc", "CoLLM-CC", "joint"),
    )
}
