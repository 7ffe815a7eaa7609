"""The table of domains: name -> class."""

from __future__ import annotations

from collm.domains.base import Domain, nearest
from collm.domains.str_build import StrBuild
from collm.domains.tldr import Tldr
from collm.errors import ConfigError

_TABLE: dict[str, type[Domain]] = {
    "tldr": Tldr,
    "str_build": StrBuild,
}

NAMES: tuple[str, ...] = tuple(_TABLE)


class DomainError(ConfigError):
    """A domain of that name does not exist; the message names the nearest one."""


def get(name: str) -> type[Domain]:
    """The class of the domain `name`; DomainError for unknown names."""
    if name not in _TABLE:
        raise DomainError(f"domain {name!r} is unknown; {nearest(name, NAMES)}")
    return _TABLE[name]
