"""What the stages that show results start from: their options, the results, and the domains that have some."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common import cli
from collm.config.job import build_domain
from collm.config.load import load_config
from collm.config.messages import known
from collm.config.resolve import resolve_job
from collm.domains import names as domain_names
from collm.domains.base import Domain
from collm.pipeline import variants
from collm.pipeline.places import Places
from collm.report.results import Results, load


@dataclass(frozen=True)
class Report:
    """What stages that show results start from; `domains` are those that have samples, built, by name."""

    results: Results
    domains: Mapping[str, Domain]
    estimator: str
    resamples: int
    episodes: int  # of one run that the browser shows
    out: Path
    folder: Path  # of all runs


def report_parser(description: str, kind: str) -> argparse.ArgumentParser:
    """Options of the stages that show results; `kind` is the folder or file below the results that they write."""
    parser = cli.parser(description, domain=False)
    cli.add_variant(parser)
    parser.add_argument("--results", type=Path, help="folder of all runs; None: results, or that of name and variant")
    parser.add_argument("--data", type=Path, help="folder of all data manifests; None: data, or that of the variant")
    parser.add_argument("--out", type=Path, help=f"what to write; None: RESULTS/{kind}")
    parser.add_argument("--domains", nargs="+", metavar="DOMAIN", help="only these; None: all of the configuration")
    parser.add_argument("--partial", action="store_true", help="go on without the runs that are not there")
    parser.set_defaults(kind=kind)
    return parser


def open_report(arguments: argparse.Namespace) -> Report:
    """Everything that the options of `report_parser` ask for.

    Raises:
        ConfigError: a configuration file is missing or wrong.
        DataError: as `results.load` does.
    """
    settings = variants.of(load_config(arguments.config), arguments.variant)
    places = Places.of(settings)
    if arguments.domains:
        cli.each_once("--domains", arguments.domains)
        for name in arguments.domains:
            known("domain", name, domain_names())
    results = arguments.results or Path(places.results)
    data = arguments.data or {name: Path(places.data(name)) for name in settings["domains"]}
    loaded = load(settings, results, data, arguments.partial, arguments.domains)
    domains = build_domains(settings, loaded.domains())
    shown = settings["report"]
    out = arguments.out or results / arguments.kind
    bootstrap = shown["estimator"], shown["resamples"]
    return Report(loaded, domains, *bootstrap, shown["episodes"], out, results)


def build_domains(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Domain]:
    """The domains of `names` with the options of a merged configuration, by name."""
    return {name: build_domain(resolve_job(settings, name)) for name in names}
