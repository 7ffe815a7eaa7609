"""Stage `episodes`: what every team was shown and answered, as one page, results/episodes.html."""

from __future__ import annotations

import sys
from pathlib import Path

from collm.common import cli
from collm.common.files import write_atomic
from collm.report.episodes.pack import pack
from collm.report.episodes.page import page
from collm.report.open_report import open_report, report_parser
from collm.report.results import Run
from collm.report.tables import origin


def main(argv: list[str] | None = None) -> int:
    """Parse, read, write the page, return the exit status."""
    parser = report_parser(__doc__, "episodes.html")
    parser.add_argument("--most", type=cli.count, help="episodes per run; None: report.episodes of the configuration")
    arguments = parser.parse_args(argv)
    report = open_report(arguments)
    results, most = report.results, arguments.most or report.episodes
    packs, labels = [], {}
    for name, domain in report.domains.items():
        runs = [Run(*key, folder) for key, folder in results.folders.items() if key[0] == name]
        packs.append(pack(name, runs, most))
        labels[name] = origin(results, domain, results.methods(name)[0]).label
    out = Path(report.out)
    write_atomic(out, page(packs, report.domains, labels, "What the teams said"))
    print(f"{out}: {sum(one.episodes for one in packs)} episodes, {out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
