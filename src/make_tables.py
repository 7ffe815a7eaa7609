"""Stage `tables`: results into results/tables (main table, rewards, differences, health of runs, metrics, curves)."""

from __future__ import annotations

import sys

from collm.common import cli
from collm.common.files import write_atomic, write_json
from collm.report import health, starts, table_text, tables
from collm.report.open_report import open_report, report_parser


def main(argv: list[str] | None = None) -> int:
    """Parse, compute the tables, write them, return the exit status."""
    report = open_report(report_parser(__doc__, "tables").parse_args(argv))
    results, domains, out = report.results, report.domains, report.out
    bootstrap = report.estimator, report.resamples

    outcomes = starts.outcomes(results)
    below, fallen = starts.below(outcomes), starts.notes(outcomes)
    runs = health.runs(results, outcomes)
    main_table = tables.main_frame(results, domains, *bootstrap)
    rewards = tables.reward_frame(results, *bootstrap)
    frames = {
        "main": starts.counted(main_table, outcomes),
        "rewards": rewards,
        "differences": tables.difference_frame(results, domains, *bootstrap),
        "curves": tables.curve_table(results),
        "health": health.frame(runs),
    }
    for name, frame in frames.items():
        write_atomic(out / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    for sentence in tables.without_reference(results):
        print(sentence, file=sys.stderr)
    further = [*fallen, *tables.cut_notes(results)]
    write_atomic(out / "main.md", table_text.markdown(main_table, domains, report.estimator, further, below))
    write_atomic(out / "overview.md", table_text.overview(main_table, domains, below, fallen))
    write_atomic(out / "main.tex", table_text.latex(main_table, domains, report.estimator, further, below))
    write_atomic(out / "health.md", health.markdown(runs))
    write_atomic(out / "health.tex", health.latex(runs))
    write_json(out / "metrics.json", tables.metric_tree(main_table, rewards))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
