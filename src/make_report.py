"""Stage `report`: one page with the overview, the main figure and a section per benchmark, results/report.html."""

from __future__ import annotations

import sys
from pathlib import Path

from collm.common import cli
from collm.common.files import write_atomic
from collm.report import health, starts, tables
from collm.report.against_start import against_start
from collm.report.evidence import text_quality
from collm.report.front.page import Numbers, page
from collm.report.open_report import open_report, report_parser


def main(argv: list[str] | None = None) -> int:
    """Parse, compute, write the page, return the exit status."""
    arguments = report_parser(__doc__, "report.html").parse_args(argv)
    report = open_report(arguments)
    results, domains = report.results, report.domains
    bootstrap = report.estimator, report.resamples
    outcomes = starts.outcomes(results)
    differences = tables.difference_frame(results, domains, *bootstrap)
    numbers = Numbers(
        tables.main_frame(results, domains, *bootstrap),
        tables.reward_frame(results, *bootstrap),
        differences,
        against_start(differences, outcomes),
        health.runs(results, outcomes),
        text_quality.frame(results, domains, *bootstrap),
        report.estimator,
    )
    out = Path(report.out)
    write_atomic(out, page(results, domains, numbers, report.folder))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
