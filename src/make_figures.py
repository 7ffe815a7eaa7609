"""Stage `figures`: results into results/figures (curves, bars, health of runs, worlds), as PNG, SVG and a caption."""

from __future__ import annotations

import sys

from matplotlib.figure import Figure

from collm.common import cli
from collm.common.files import write_atomic
from collm.report import figures, health_figure, house_build_worlds, str_build_worlds, tables
from collm.report.evidence import captions
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

    def write(figure: Figure, name: str, caption: str) -> None:
        figures.save(figure, out / name)
        write_atomic(out / f"{name}.txt", caption + "\n")

    main_table = tables.main_frame(results, report.domains, *bootstrap)
    for name, domain in report.domains.items():
        if "curves" in arguments.kinds:
            curves = figures.learning_curves(results, name, domain.max_reward, *bootstrap)
            write(curves, f"curves_{name}", captions.learning_curves(results, name, report.estimator))
        if "bars" in arguments.kinds:
            bars = figures.final_bars(main_table, name, domain.metrics)
            write(bars, f"bars_{name}", captions.final_bars(results, domain, main_table))
        if "health" in arguments.kinds:
            health = health_figure.health(results, domain, *bootstrap)
            write(health, f"health_{name}", captions.health(results, domain))
        if "worlds" in arguments.kinds and name in WORLDS:
            write(WORLDS[name](results, domain), f"worlds_{name}", captions.worlds(results, name))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
