"""Frozen bases that several teams of one process stand on, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from collm.llm.base_model import Base


class Bases:
    """Bases by what they are loaded from and how they are run; teams that ask for the same get the same one.

    On a base that is shared adapters of all teams stand side by side, so that every team has names of its own for them.
    """

    def __init__(self) -> None:
        self._loaded: dict[Hashable, Base] = {}
        self._teams = 0

    @property
    def loaded(self) -> bool:
        """Whether a team has brought one."""
        return bool(self._loaded)

    def join(self) -> str:
        """What the names of a further team's adapters begin with."""
        self._teams += 1
        return f"run{self._teams}_"

    def get(self, key: Hashable, load: Callable[[], Base]) -> Base:
        """The base of this key, loaded if no team has asked for it yet."""
        if key not in self._loaded:
            self._loaded[key] = load()
        return self._loaded[key]
