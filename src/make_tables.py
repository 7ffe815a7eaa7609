"""Stage `tables`: results into results/tables (main table, rewards, differences, metrics, curves)."""

from __future__ import annotations

import sys
from pathlib import Path

from collm import cli, config, results, table_text, tables
from collm.files import write_atomic, write_json


def main(argv: list[str] | None = None) -> int:
    """Parse, compute the tables, write them, return the exit status."""
    parser = cli.parser(__doc__, domain=False)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all runs")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all data manifests")
    parser.add_argument("--out", type=Path, help="folder to write; None: RESULTS/tables")
    parser.add_argument("--domains", nargs="+", metavar="DOMAIN", help="only these; None: all of the configuration")
    parser.add_argument("--partial", action="store_true", help="go on without the runs that are not there")
    arguments = parser.parse_args(argv)
    settings = config.load(arguments.config)
    if arguments.domains:
        settings["domains"] = arguments.domains
    loaded = results.load(settings, arguments.results, arguments.data, arguments.partial)
    shown = results.build_domains(settings, loaded.domains())
    estimator, resamples = settings["report"]["estimator"], settings["report"]["resamples"]
    out = arguments.out or arguments.results / "tables"

    main_table = tables.main_frame(loaded, shown, estimator, resamples)
    rewards = tables.reward_frame(loaded, estimator, resamples)
    frames = {
        "main": main_table,
        "rewards": rewards,
        "differences": tables.difference_frame(loaded, shown, estimator, resamples),
        "curves": tables.curve_table(loaded),
    }
    for name, frame in frames.items():
        write_atomic(out / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    write_atomic(out / "main.md", table_text.markdown(main_table, shown, estimator))
    write_atomic(out / "main.tex", table_text.latex(main_table, shown, estimator))
    write_json(out / "metrics.json", tables.metric_tree(main_table, rewards))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
