"""Score cases in the golden format: one JSON object per row of the file with id, reward and components."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collm import domains
from collm.common import cli
from collm.common.errors import DataError, RowError
from collm.config import plugins
from collm.domains.base import PROFILES, Domain, require
from collm.sandbox import shared


def main(argv: Sequence[str] | None = None) -> int:
    """Print the good rows, name every malformed one on stderr; the status is 2 if there was one."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--domain", required=True, help=f"one of {', '.join(domains.NAMES)}, or of a plugin")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="MODULE", help="modules with domains of your own")
    parser.add_argument("--agents", type=cli.count, help="size of the team; default: that of the domain")
    parser.add_argument("--options", default="{}", metavar="JSON", help='such as {"weights": {"style": 0}}')
    parser.add_argument("--profile", default="paper", help=f"reward definition: {' or '.join(PROFILES)}")
    parser.add_argument("--sandbox", default="refuse", help=f"for model-written code: {' or '.join(shared.POLICIES)}")
    parser.add_argument("cases", type=Path, metavar="CASES.jsonl", help="one object with id and inputs per line")
    arguments = parser.parse_args(argv)
    shared.check_policy(arguments.sandbox)
    plugins.load(arguments.plugins)
    kind = domains.get(arguments.domain)
    options = cli.json_object("--options", arguments.options)
    domain = domains.build(arguments.domain, options, arguments.profile, arguments.agents or kind.team_size())
    try:
        lines = arguments.cases.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{arguments.cases} cannot be read: {error.strerror}") from error
    domain.ready(arguments.sandbox)
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            print(json.dumps(score(domain, line, f"{arguments.cases}, line {number}")))
        except RowError as error:
            print(f"error: {error}", file=sys.stderr)
            status = cli.USER_ERROR
    return status


def score(domain: Domain, line: bytes, place: str) -> dict[str, Any]:
    """Score one line; RowError names the row's id, or `place` where it has none."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RowError(f"{place}: not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise RowError(f"{place}: a JSON {type(row).__name__} stands where an object with id and inputs is expected")
    name = require(row, "id", (str, int), "a text or a number", place)
    try:
        reward, components = domain.score_case(require(row, "inputs", (dict,), "an object"))
    except RowError as error:
        raise RowError(f"row {json.dumps(name)}: {error}") from error
    return {"id": name, "reward": reward, "components": components}


if __name__ == "__main__":
    sys.exit(cli.run(main))
