"""Stage `plan`: what a configuration will need in memory, hours, disk and money; nothing is run or downloaded."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from collm.common import cli, shipped
from collm.common.files import write_json
from collm.config import variants
from collm.config.load import load_config
from collm.planning import plan, text
from collm.planning.throughput import Rates


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, plan, print the table (and write JSON), return the exit status."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="overlays, later ones win; config/config.yaml comes first by itself, as it does for snakemake",
    )
    parser.add_argument("--seeds", type=cli.seed_number, nargs="+", help="seeds instead of the configuration's")
    parser.add_argument("--tokens-per-second", type=cli.rate, help="generated tokens per second of a job, for all jobs")
    parser.add_argument("--results", type=Path, default=Path("results"), help="earlier runs, for measured rates")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda for models of the hub, else cpu")
    parser.add_argument("--price", type=cli.amount, default=0.0, help="of a GPU-hour, in any currency")
    parser.add_argument("--cores", type=cli.count, default=2, help="cores that jobs on a CPU share, one each")
    parser.add_argument("--device-memory", type=cli.rate, default=24.0, help="GiB of the GPU that jobs should fit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the plan there, too")
    arguments = parser.parse_args(argv)
    cli.each_once("--seeds", arguments.seeds or [])
    settings = load_config([shipped.config_file(), *arguments.configfile])
    if arguments.seeds:
        settings = {**settings, "seeds": arguments.seeds}
    rates = Rates(arguments.results, arguments.tokens_per_second)
    jobs = plan.make_plan(settings, rates, device=arguments.device)
    for note in jobs.notes:
        print(note, file=sys.stderr)
    count = len(variants.names(settings))
    if count > 1:
        words = "this is the plan of one variant, as the configuration is without its overlay"
        print(f"{count} variants train and evaluate {count} times as much; {words}", file=sys.stderr)
    print(text.as_text(jobs, arguments.price, arguments.cores, arguments.device_memory), end="")
    if arguments.json:
        write_json(arguments.json, plan.as_json(jobs, arguments.price, arguments.cores))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
