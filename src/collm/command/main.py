"""The entry point of `collm` and the list of its subcommands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import cast

from collm import __version__
from collm.common import cli
from collm.common.errors import ConfigError, suggestion

# name: (module with `main(argv)`, what it does). Those of `collm.stages` are the scripts of the same names in src/.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("collm.command.prepare", "data and base models of a benchmark"),
    "train": ("collm.command.train", "a run of a method, with what it starts from"),
    "evaluate": ("collm.command.evaluate", "the final evaluation of a trained team or of a baseline"),
    "score": ("collm.stages.score", "rewards of texts that you bring"),
    "plan": ("collm.stages.plan", "memory, hours and disk of a configuration; nothing is run"),
    "ask": ("collm.command.ask", "a question to a trained team"),
    "export": ("collm.command.export", "a trained team as a folder that peft, vLLM and the hub understand"),
    "check-domain": ("collm.command.check_domain", "faults of a domain of your own, found by playing it"),
    "defaults": ("collm.command.defaults", "the configuration files that ship with collm"),
}


def usage() -> str:
    """What `collm --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: collm COMMAND [OPTIONS]    (collm COMMAND --help lists the options)",
            "",
            "Train teams of language models that answer in parallel and share one reward (arXiv 2601.21972).",
            "",
            *lines,
        ]
    )


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Call a subcommand; returns its exit status.

    Raises:
        ConfigError: there is none of that name.
    """
    name, *rest = [*(sys.argv[1:] if argv is None else argv)] or [""]
    if name in ("", "-h", "--help"):
        print(usage())
        return 0 if name else cli.USER_ERROR
    if name == "--version":
        print(f"collm {__version__}")
        return 0
    if name not in COMMANDS:
        hint = suggestion(name, COMMANDS)
        raise ConfigError(f"collm {name} is no command; {hint + ' ' if hint else ''}allowed: {', '.join(COMMANDS)}")
    sys.argv[0] = f"collm {name}"  # what parsers call the program
    stage = cast(Callable[[Sequence[str]], int], importlib.import_module(COMMANDS[name][0]).main)
    return stage(rest)


def main() -> int:
    """What `collm` runs; returns the exit status."""
    return cli.run(dispatch)


if __name__ == "__main__":
    sys.exit(main())
