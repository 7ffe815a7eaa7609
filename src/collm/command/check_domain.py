"""`collm check-domain`: plays random, empty and hostile answers in a domain of your own and lists what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collm.common import cli
from collm.config import plugins
from collm.domains import trial
from collm.domains.base import PROFILES


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and check; returns the exit status, 2 if there is a problem."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("place", metavar="MODULE:CLASS", help="the class; modules of the working directory are found")
    parser.add_argument("--agents", type=cli.count, nargs="+", default=[], help="sizes of teams; default: all it names")
    parser.add_argument("--turns", type=cli.count, default=trial.TURNS, help="turns of an episode")
    parser.add_argument("--options", default="{}", metavar="JSON", help="options of the domain")
    parser.add_argument("--profile", default="paper", choices=PROFILES, help="reward definition")
    arguments = parser.parse_args(argv)
    kind = plugins.find_class(arguments.place)
    found = trial.problems(
        kind, cli.json_object("--options", arguments.options), arguments.agents, arguments.profile, arguments.turns
    )
    for line in found:
        print(line)
    sizes = arguments.agents or kind.team_sizes or "any number of"
    if not found:
        print(f"{arguments.place}: nothing is wrong (teams of {_words(sizes)} agents)")
    return cli.USER_ERROR if found else 0


def _words(sizes: Any) -> str:
    return sizes if isinstance(sizes, str) else ", ".join(map(str, sizes))
