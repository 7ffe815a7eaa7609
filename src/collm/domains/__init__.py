"""The table of domains: name -> class; those of other modules are entered by `register`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collm.common.errors import ConfigError
from collm.domains import contract, reward
from collm.domains.base import Domain
from collm.domains.building.house_build import HouseBuild
from collm.domains.building.str_build import StrBuild
from collm.domains.choice.algebra import Algebra
from collm.domains.choice.arc_challenge import ArcChallenge
from collm.domains.choice.medicine import Medicine
from collm.domains.choice.navigate import Navigate
from collm.domains.choice.physics import Physics
from collm.domains.coding.coophe import CoopHe
from collm.domains.coding.humaneval import HumanEval
from collm.domains.coding.mbpp import Mbpp
from collm.domains.options import nearest
from collm.domains.writing.arxiv import Arxiv
from collm.domains.writing.tldr import Tldr

_TABLE: dict[str, type[Domain]] = {
    "tldr": Tldr,
    "arxiv": Arxiv,
    "coophe": CoopHe,
    "humaneval": HumanEval,
    "mbpp": Mbpp,
    "str_build": StrBuild,
    "house_build": HouseBuild,
    "arc_challenge": ArcChallenge,
    "algebra": Algebra,
    "physics": Physics,
    "medicine": Medicine,
    "navigate": Navigate,
}

NAMES: tuple[str, ...] = tuple(_TABLE)
"""Those that ship with collm; `names` has all."""


class DomainError(ConfigError):
    """A domain of that name does not exist; the message names the nearest one."""


def names() -> tuple[str, ...]:
    """All domains that can be named now: those that ship with collm, then those that plugins brought."""
    return tuple(_TABLE)


def register(kind: type[Domain]) -> None:
    """Enter a class of another module into the table; once more is no fault.

    Raises:
        ContractError: the class lacks something that every domain has; names it.
        DomainError: another domain has that name.
    """
    contract.check_class(kind)
    there = _TABLE.get(kind.name)
    if there is not None and (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise DomainError(
            f"{kind.__module__}.{kind.__qualname__}: the name {kind.name!r} is that of "
            f"{there.__module__}.{there.__qualname__} already; give the class another name"
        )
    _TABLE[kind.name] = kind


def get(name: str) -> type[Domain]:
    """The class of the domain `name`; DomainError for unknown names."""
    if name not in _TABLE:
        raise DomainError(f"domain {name!r} is unknown; {nearest(name, _TABLE)}")
    return _TABLE[name]


def build(name: str, options: Mapping[str, Any], profile: str = "paper", agents: int | None = None) -> Domain:
    """The domain `name` with its options, those that change its reward among them (`reward.build`).

    Raises:
        ConfigError: no such domain, or an option or a number of agents that it refuses.
    """
    return reward.build(get(name), options, profile, agents)


def title(name: str) -> str:
    """What headings and tables call a domain; DomainError for unknown names."""
    return get(name).title
