"""The table of domains: name -> class."""

from __future__ import annotations

from collm.domains.algebra import Algebra
from collm.domains.arc_challenge import ArcChallenge
from collm.domains.arxiv import Arxiv
from collm.domains.base import Domain, nearest
from collm.domains.coophe import CoopHe
from collm.domains.house_build import HouseBuild
from collm.domains.humaneval import HumanEval
from collm.domains.mbpp import Mbpp
from collm.domains.medicine import Medicine
from collm.domains.navigate import Navigate
from collm.domains.physics import Physics
from collm.domains.str_build import StrBuild
from collm.domains.tldr import Tldr
from collm.errors import ConfigError

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


class DomainError(ConfigError):
    """A domain of that name does not exist; the message names the nearest one."""


def get(name: str) -> type[Domain]:
    """The class of the domain `name`; DomainError for unknown names."""
    if name not in _TABLE:
        raise DomainError(f"domain {name!r} is unknown; {nearest(name, NAMES)}")
    return _TABLE[name]
