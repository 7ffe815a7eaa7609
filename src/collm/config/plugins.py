"""Domains and methods that other modules bring: `plugins` of the configuration, and entry points of installed packages.

A plugin is a module. Every `Domain` in it that has a `name`, and every `Row` (`collm.methods.registry`), is entered
into the tables; nothing else has to be registered. An entry point of the group `collm.domains` names a class, one of
`collm.methods` a Row.
"""

from __future__ import annotations

import functools
from importlib import metadata
from types import ModuleType
from typing import Any

from collm import domains
from collm.common import modules
from collm.common.errors import ConfigError
from collm.domains.base import Domain
from collm.methods import registry

DOMAINS, METHODS = "collm.domains", "collm.methods"  # groups of entry points


def load(names: Any) -> None:
    """Enter what installed packages and these modules bring; what is there already stays.

    Args:
        names: as in `import`; a module beside the configuration's runs, in the working directory, is found too.
            Anything but a list of texts is left to the schema, which says what is wrong.
    Raises:
        ConfigError: a module is not there, fails while it is loaded, or holds neither a domain nor a method.
        ContractError: a class is no whole domain.
    """
    _load_entry_points()
    for name in names if isinstance(names, (list, tuple)) else ():
        if isinstance(name, str):
            _enter(modules.load(name, "plugins"))


def find_class(place: str) -> type[Domain]:
    """The class "module:Class"; ConfigError if there is none."""
    module, _, name = place.partition(":")
    kind = getattr(modules.load(module, "plugins"), name, None) if name else None
    if not (isinstance(kind, type) and issubclass(kind, Domain)):
        raise ConfigError(f"{place!r} is no Domain; write MODULE:CLASS, like my_module:MyDomain")
    return kind


def _enter(module: ModuleType) -> None:
    found: list[Any] = []
    for value in list(vars(module).values()):
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and issubclass(value, Domain) and "name" in vars(value):
            domains.register(value)
            found.append(value)
        elif isinstance(value, registry.Row) and (
            value.name not in registry.NAMES or value != registry.ROWS[value.name]
        ):
            registry.register(value)
            found.append(value)
    if not found:
        raise ConfigError(
            f"plugins: {module.__name__} holds neither a Domain with a name nor a Row; write one, or leave it out"
        )


@functools.cache
def _load_entry_points() -> None:
    for point in metadata.entry_points(group=DOMAINS):
        kind = _loaded(point)
        if not (isinstance(kind, type) and issubclass(kind, Domain)):
            raise ConfigError(f"{_place(point)} names no Domain; mend the package or remove it")
        domains.register(kind)
    for point in metadata.entry_points(group=METHODS):
        row = _loaded(point)
        if not isinstance(row, registry.Row):
            raise ConfigError(f"{_place(point)} names no Row; mend the package or remove it")
        registry.register(row)


def _loaded(point: metadata.EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise ConfigError(
            f"{_place(point)} fails while it is loaded: {type(error).__name__}: {error}; mend the package or remove it"
        ) from error


def _place(point: metadata.EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "a package"
    return f"entry point {point.group} {point.name!r} of {package} ({point.value})"
