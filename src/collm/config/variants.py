"""Names of experiments and of variants, and a variant's configuration: its overlay merged over everything else.

`variants: {g09: {}, g10: {defaults: {rollout: {discount: 1.0}}}}` is an axis beside methods and seeds: every job
runs once per variant. The first one is the reference that the others are compared with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from collm import domains
from collm.common.errors import ConfigError
from collm.config.messages import known
from collm.config.resolve import merge, resolve_settings, rows, starts_from
from collm.methods.registry import METHODS, WARM_STARTS

KEY = "variant"  # of a variant's own configuration: which one it is (see `pipeline.variants`); no file has it
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a path
RESERVED = ("benchmarks", "configs", "figures", "tables")  # folders below results/ besides those of domains


def names(config: Mapping[str, Any]) -> list[str]:
    """Variants of a configuration, the reference first; none: it is compared with nothing."""
    return list(config.get("variants") or {})


def merged(config: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """The configuration of one variant, without the axis of variants; "" is the configuration without any overlay.

    Raises:
        ConfigError: there is no such variant.
    """
    plain = {key: value for key, value in config.items() if key != "variants"}
    if variant:
        known("variant", variant, names(config))
    return merge(plain, config["variants"][variant]) if variant else plain


def check_names(config: Mapping[str, Any]) -> None:
    """ConfigError for a name of an experiment or a variant that can be no folder."""
    if config.get("name") is not None:
        _check_part("name", config["name"])
    for variant in names(config):
        _check_part(f"variants.{variant}", variant)


def check_differences(config: Mapping[str, Any]) -> None:
    """ConfigError if a variant gives all jobs the settings of an earlier one, so that there is nothing to compare."""
    before: dict[str, Mapping[str, Any]] = {}
    for variant in names(config):
        own = merged(config, variant)
        for other, settings in before.items():
            if _same_jobs(own, settings):
                raise ConfigError(
                    f"variants.{variant} changes nothing: all jobs have the settings that variants.{other} gives them; "
                    "a value of a domain or method may win over what it says of the defaults"
                )
        before[variant] = own


def jobs(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(domain, row) of all that a configuration runs, the warm starts that methods start from included."""
    for domain in config["domains"]:
        present = rows(config, domain)
        trained = [row for row in present if row in METHODS]
        starts = {starts_from(row, resolve_settings(config, domain, row)["warm_start"]["enabled"]) for row in trained}
        yield from ((domain, row) for row in [*present, *WARM_STARTS] if row in present or row in starts)


def _same_jobs(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two merged configurations give every job the same settings."""
    neutral = {"configuration": None}
    return all(
        {**resolve_settings(first, *job), **neutral} == {**resolve_settings(second, *job), **neutral}
        for job in jobs(first)
    )


def _check_part(where: str, name: Any) -> None:
    if not isinstance(name, str) or not PART.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} names a folder and cannot be part of a path; use up to 64 letters, digits, '.', '_' "
            "and '-', a letter or digit first"
        )
    if name in (*RESERVED, *domains.names()):
        raise ConfigError(f"{where}: {name!r} is the name of another folder below results; choose another one")
