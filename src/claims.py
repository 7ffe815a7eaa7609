"""Stage `claims`: config/claims.yaml and the small files of a study into tables and a figure with verdicts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from collm.common import cli
from collm.common.files import write_atomic
from collm.report.claims import captions
from collm.report.claims.declared import read
from collm.report.claims.forest import forest
from collm.report.claims.profiles import profiles
from collm.report.claims.study import Study
from collm.report.claims.tables import frame, latex, markdown
from collm.report.claims.verdicts import counted, verdicts
from collm.report.figures import save


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, judge, write, print how many claims have which verdict, return the exit status."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--claims", type=Path, default=Path("config/claims.yaml"), help="the claims")
    parser.add_argument("--study", type=Path, default=Path("docs/study"), help="folder of the study's CSVs")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of tables/ and figures/")
    arguments = parser.parse_args(argv)
    claims = read(arguments.claims)
    study = Study.read(arguments.study)
    found = verdicts(claims, study)
    out = arguments.out / "tables"
    write_atomic(out / "claims.csv", frame(found).to_csv(index=False, float_format="%.6g"))
    write_atomic(out / "claims.md", markdown(claims, found))
    write_atomic(out / "claims.tex", latex(found))
    for name, figure, caption in (
        ("claims", forest(claims, found), captions.forest(claims, found, study)),
        ("profiles", profiles(claims, study), captions.profiles(claims, study)),
    ):
        save(figure, arguments.out / "figures" / name)
        write_atomic(arguments.out / "figures" / f"{name}.txt", caption + "\n")
    print("claims:", ", ".join(f"{count} {name}" for name, count in counted(found).items()))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
