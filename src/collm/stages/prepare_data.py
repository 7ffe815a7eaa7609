"""Stage `data`: write data/<domain>/{train,test}.jsonl and manifest.json from the configured source."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common import cli
from collm.config.job import build_domain
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.data import prepare
from collm.pipeline import provenance, variants
from collm.pipeline.places import Places

SHOWN = 5  # dropped rows that are printed


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare one domain's data and print what was written; raises CollmError on bad input."""
    parser = cli.parser(__doc__)
    parser.add_argument("--out", help="folder to write; data/<domain> if not given")
    cli.add_variant(parser)
    arguments = parser.parse_args(argv)
    settings = variants.of(load_config(arguments.config), arguments.variant)
    out = Path(arguments.out or Places.of(settings).data(arguments.domain))
    manifest = prepare_data(settings, arguments.domain, out)
    for split, entry in manifest["splits"].items():
        print(f"{out / split}.jsonl: {entry['rows']} tasks from {entry['slice']} ({manifest['label']})")
    dropped = manifest["dropped"]
    for row in dropped[:SHOWN]:
        print(f"dropped from {row['split']}: {row['reason']}")
    if len(dropped) > SHOWN:
        print(f"... and {len(dropped) - SHOWN} more dropped rows, listed in {out / 'manifest.json'}")
    return 0


def prepare_data(settings: Mapping[str, Any], name: str, out: Path) -> dict[str, Any]:
    """Write the splits of a domain and their manifest into `out`; returns the manifest.

    Args:
        settings: merged and checked.
        name: of the domain.
    """
    job = resolve_job(settings, name)
    domain = build_domain(job)
    domain.ready(job.sandbox)
    made_with = provenance.data_settings(settings, job.domain)
    return prepare.prepare(domain, job.data, out, job.data["seed"], made_with=made_with)


if __name__ == "__main__":
    sys.exit(cli.run(main))
