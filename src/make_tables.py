"""Stage `tables`: results into results/tables (main, rewards, differences, improvement, health, text quality, metrics,
curves)."""

from __future__ import annotations

import sys

from collm.common import cli
from collm.common.files import write_atomic, write_json
from collm.report import health, improvement, starts, table_text, tables
from collm.report.against_start import against_start
from collm.report.evidence import text_quality, timing
from collm.report.open_report import open_report, report_parser


def main(argv: list[str] | None = None) -> int:
    """Parse, compute the tables, write them, return the exit status."""
    report = open_report(report_parser(__doc__, "tables").parse_args(argv))
    results, domains, out = report.results, report.domains, report.out
    bootstrap = report.estimator, report.resamples

    outcomes = starts.outcomes(results)
    runs = health.runs(results, outcomes)
    main_table = tables.main_frame(results, domains, *bootstrap)
    rewards = tables.reward_frame(results, *bootstrap)
    differences = tables.difference_frame(results, domains, *bootstrap)
    improved = improvement.improvement_frame(results, domains, report.resamples)
    texts = text_quality.frame(results, domains, *bootstrap)
    frames = {
        "main": starts.counted(main_table, outcomes),
        "rewards": rewards,
        "differences": differences,
        "improvement": improved,
        "curves": tables.curve_table(results),
        "health": health.frame(runs),
        "text_quality": texts,
    }
    for name, frame in frames.items():
        write_atomic(out / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    for sentence in tables.without_reference(results):
        print(sentence, file=sys.stderr)
    marks = against_start(differences, outcomes)
    cautions = text_quality.cautions(domains, texts)
    further = [*cautions, *timing.notes(results), *tables.cut_notes(results)]
    text = main_table, domains, report.estimator, further, marks
    write_atomic(out / "main.md", table_text.markdown(*text))
    write_atomic(out / "overview.md", table_text.overview(main_table, domains, marks, cautions))
    write_atomic(out / "main.tex", table_text.latex(*text))
    write_atomic(out / "improvement.md", improvement.markdown(improved))
    write_atomic(out / "improvement.tex", improvement.latex(improved))
    write_atomic(out / "health.md", health.markdown(runs))
    write_atomic(out / "health.tex", health.latex(runs))
    write_atomic(out / "text_quality.md", text_quality.markdown(texts, domains))
    write_json(out / "metrics.json", tables.metric_tree(main_table, rewards))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
