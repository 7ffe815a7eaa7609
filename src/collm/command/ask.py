"""`collm ask`: the trained team of a results folder answers a new task of its domain."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from collm.api.ask import Asked
from collm.api.trained import open_team
from collm.common import cli
from collm.common.errors import ConfigError, RowError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, load the team, answer; returns the exit status."""
    arguments = _parser().parse_args(argv)
    if (arguments.question is None) != arguments.interactive:
        raise ConfigError("give a question, or --interactive to type questions, and not both")
    text = sys.stdin.read() if arguments.question == "-" else arguments.question
    team = open_team(arguments.run, arguments.models)
    question = None if text is None else team.domain().question(text)  # before the models are loaded
    asked = Asked(team, arguments.device, arguments.threads)
    if question is not None:
        answer = asked.play(question, arguments.seed)
        print(json.dumps(answer.as_json(), ensure_ascii=False) if arguments.json else answer.as_text(arguments.prompts))
        return 0
    print(f"{team.label}. End a question with an empty line; Ctrl-D leaves.", file=sys.stderr)
    status = 0
    for text in questions(sys.stdin):
        try:
            answer = asked.ask(text, arguments.seed)
        except RowError as error:
            print(f"error: {error}", file=sys.stderr)
            status = status if sys.stdin.isatty() else cli.USER_ERROR
            continue
        print(json.dumps(answer.as_json(), ensure_ascii=False) if arguments.json else answer.as_text(arguments.prompts))
        print(flush=True)
    return status


def questions(stream: TextIO) -> Iterator[str]:
    """Questions that are typed or piped in: lines up to an empty one."""
    lines: list[str] = []
    for line in stream:
        if line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines)
            lines = []
    if lines:
        yield "".join(lines)


def _parser() -> cli.Parser:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="results/DOMAIN/METHOD/seedN, or what collm export wrote")
    words = "a new task of its domain, or a row of its data as a JSON object; - reads it from standard input"
    parser.add_argument("question", nargs="?", metavar="QUESTION", help=words)
    parser.add_argument("--interactive", action="store_true", help="load the team once and answer what is typed")
    parser.add_argument("--prompts", action="store_true", help="print what each agent was shown, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object a question")
    parser.add_argument("--seed", type=cli.seed_number, default=0, help="of sampling and of the world; default 0")
    words = "folder of the prepared models; default: resources/models beside the results"
    parser.add_argument("--models", type=Path, metavar="FOLDER", help=words)
    cli.add_threads(parser)
    cli.add_device(parser)
    return parser
