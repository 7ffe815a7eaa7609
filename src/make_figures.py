"""Stage `figures`: results into results/figures (curves, bars, health of runs, worlds), as PNG and SVG."""

from __future__ import annotations

import sys

from collm.common import cli
from collm.report import figures, health_figure, house_build_worlds, str_build_worlds, tables
from collm.report.open_report import open_report, report_parser

KINDS = ("curves", "bars", "health", "worlds")
WORLDS = {"str_build": str_build_worlds.final_worlds, "house_build": house_build_worlds.final_houses}


def main(argv: list[str] | None = None) -> int:
    """Parse, draw, write, return the exit status."""
    parser = report_parser(__doc__, "figures")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which figures")
    arguments = parser.parse_args(argv)
    report = open_report(arguments)
    results, out = report.results, report.out
    bootstrap = report.estimator, report.resamples

    main_table = tables.main_frame(results, report.domains, *bootstrap)
    for name, domain in report.domains.items():
        if "curves" in arguments.kinds:
            curves = figures.learning_curves(results, name, domain.max_reward, *bootstrap)
            figures.save(curves, out / f"curves_{name}")
        if "bars" in arguments.kinds:
            figures.save(figures.final_bars(main_table, name, domain.metrics), out / f"bars_{name}")
        if "health" in arguments.kinds:
            figures.save(health_figure.health(results, name), out / f"health_{name}")
        if "worlds" in arguments.kinds and name in WORLDS:
            figures.save(WORLDS[name](results, domain), out / f"worlds_{name}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
