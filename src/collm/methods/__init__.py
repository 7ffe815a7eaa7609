"""Training methods: one file each, pure functions named after the paper's symbols."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """What the learner has to know of a method."""

    name: str
    label: str
    critics: str | None  # None: Monte Carlo; "joint": one on the joint history; "local": one per agent


METHODS = {
    method.name: method
    for method in (
        Method("magrpo", "MAGRPO", None),
        Method("collm_dc", "CoLLM-DC", "local"),
        Method("collm_cc", "CoLLM-CC", "joint"),
    )
}
