"""Stage `variants`: paired differences between variants, tables/variants.md and .csv, and figures with a line each."""

from __future__ import annotations

import sys
from pathlib import Path

from collm.common import cli
from collm.common.errors import ConfigError
from collm.common.files import write_atomic
from collm.config.load import load_config
from collm.pipeline import variants
from collm.pipeline.places import Places
from collm.report import figures
from collm.report.evidence import captions
from collm.report.open_report import build_domains
from collm.report.results import load
from collm.report.variants.curves import variant_curves
from collm.report.variants.differences import frame, markdown, not_compared

KINDS = ("tables", "figures")


def main(argv: list[str] | None = None) -> int:
    """Parse, read all variants, write what compares them, return the exit status."""
    parser = cli.parser(__doc__, domain=False)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="what to write")
    parser.add_argument("--domains", nargs="+", metavar="DOMAIN", help="only these; None: all of the configuration")
    parser.add_argument("--out", type=Path, help="folder of tables/ and figures/; None: results, or that of the name")
    parser.add_argument("--partial", action="store_true", help="go on without the runs that are not there")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config)
    each = variants.each(config)
    if len(each) < 2:
        raise ConfigError("there is nothing to compare: name two `variants` or more in the configuration")
    results = {}
    for name, own in each.items():
        places = Places.of(own)
        data = {domain: Path(places.data(domain)) for domain in own["domains"]}
        results[name] = load(own, Path(places.results), data, arguments.partial, arguments.domains)
    reference = next(iter(each))
    domains = build_domains(each[reference], results[reference].domains())
    bootstrap = config["report"]["estimator"], config["report"]["resamples"]
    out = arguments.out or Path(Places.of(config).comparison)
    if "tables" in arguments.kinds:
        table, sentences = frame(results, domains, *bootstrap), not_compared(results)
        write_atomic(out / "tables/variants.csv", table.to_csv(index=False, float_format="%.6g"))
        write_atomic(out / "tables/variants.md", markdown(table, domains, reference, sentences))
    if "figures" in arguments.kinds:
        for name, domain in domains.items():
            figure = variant_curves(results, name, domain.max_reward, *bootstrap)
            figures.save(figure, out / f"figures/variants_{name}")
            caption = captions.variants(results, name, bootstrap[0])
            write_atomic(out / f"figures/variants_{name}.txt", caption + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
