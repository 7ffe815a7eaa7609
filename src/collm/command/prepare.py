"""`collm prepare`: data of a benchmark, and the base models of its rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from collm.api.workplace import Workplace
from collm.common import cli
from collm.config.load import load_config
from collm.config.resolve import rows


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, make what is not there yet; returns the exit status."""
    parser = cli.parser(__doc__)
    parser.add_argument("--method", nargs="+", help="rows whose models are made; default: all of the configuration")
    cli.add_again(parser)
    cli.add_device(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config)
    place = Workplace(config, again=arguments.again, device=arguments.device)
    place.data(arguments.domain)
    for row in arguments.method or rows(config, arguments.domain):
        place.models(arguments.domain, row)
    print(f"data/{arguments.domain} and the models in resources/models are ready", file=sys.stderr)
    return 0
