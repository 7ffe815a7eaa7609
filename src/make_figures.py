"""Stage `figures`: results into results/figures (learning curves, final bars, worlds), as PNG and SVG."""

from __future__ import annotations

import sys
from pathlib import Path

from collm import cli, config, drawing, figures, house_drawing, results, tables

KINDS = ("curves", "bars", "worlds")
WORLDS = {"str_build": drawing.final_worlds, "house_build": house_drawing.final_houses}


def main(argv: list[str] | None = None) -> int:
    """Parse, draw, write, return the exit status."""
    parser = cli.parser(__doc__, domain=False)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all runs")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all data manifests")
    parser.add_argument("--out", type=Path, help="folder to write; None: RESULTS/figures")
    parser.add_argument("--domains", nargs="+", metavar="DOMAIN", help="only these; None: all of the configuration")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which figures")
    parser.add_argument("--partial", action="store_true", help="go on without the runs that are not there")
    arguments = parser.parse_args(argv)
    settings = config.load(arguments.config)
    if arguments.domains:
        settings["domains"] = arguments.domains
    loaded = results.load(settings, arguments.results, arguments.data, arguments.partial)
    shown = results.build_domains(settings, loaded.domains())
    estimator, resamples = settings["report"]["estimator"], settings["report"]["resamples"]
    out = arguments.out or arguments.results / "figures"

    main_table = tables.main_frame(loaded, shown, estimator, resamples)
    for name, domain in shown.items():
        if "curves" in arguments.kinds:
            curves = figures.learning_curves(loaded, name, domain.max_reward, estimator, resamples)
            figures.save(curves, out / f"curves_{name}")
        if "bars" in arguments.kinds:
            figures.save(figures.final_bars(main_table, name, domain.metrics), out / f"bars_{name}")
        if "worlds" in arguments.kinds and name in WORLDS:
            figures.save(WORLDS[name](loaded, domain), out / f"worlds_{name}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
