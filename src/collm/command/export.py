"""`collm export`: a trained team as a folder that peft, vLLM and the hub understand, with a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collm.api.export import export
from collm.common import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, write the folder, maybe upload it; returns the exit status."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="results/DOMAIN/METHOD/seedN")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder to write, a new one")
    words = "folder of the prepared models; default: resources/models beside the results"
    parser.add_argument("--models", type=Path, metavar="FOLDER", help=words)
    parser.add_argument(
        "--push", metavar="ORG/NAME", help="upload it to this repository of the hub (hf auth login first)"
    )
    parser.add_argument("--public", action="store_true", help="with --push: a new repository is public, not private")
    arguments = parser.parse_args(argv)
    export(arguments.run, arguments.to, models=arguments.models, push=arguments.push, private=not arguments.public)
    print(f"{arguments.to}: README.md says how to load each agent")
    if arguments.push:
        print(f"https://huggingface.co/{arguments.push}")
    return 0
