"""Whose licence rows have: that of their own source, never of another set of the same benchmark.

Rows that ship and rows of a generator have those that the class states, rows of the hub what the data set's card says,
files of a folder that of the public set if they are its files, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from collm.common.files import sha256
from collm.domains.base import Domain

UNSTATED = "not stated"
OWN = f"{UNSTATED} (own rows: {{files}})"
GENERATED = "generated"  # origins of rows that a generator made
# Files of the public data collection that the domains read; docs/paper_index.md and README say where they are from.
PUBLIC = frozenset(
    {
        "210f8a6c68355aff4ac57f8306e8bf48b0584b6b67ed3ae60eb0bec8f8842f6d",  # tldr/tldr_1945.jsonl.gz
        "d915156bc10972b9f630fd4669020f7211b15b3f3c106fd31ba2c08bd01692b2",  # tldr/tldr_500.jsonl
        "cc0517d7c8c26689ceb5ec51148894cc92efdd6071ee9f51ce1e89ba52ca7a04",  # arxiv_abstract/abstracts_100_300
        "a6ddde4143000a71fad662f1df6a7cdd1fc2f7a5e6e945b6a87363e0161a039a",  # arxiv_abstract/arxiv_cs_500_with_ids
        "3d2d7bba94b5a2ce14644eb12f9f76aabe4eff93c0d97940f9eb946d13983cfa",  # coophumaneval/test.jsonl
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",  # humaneval/HumanEval.jsonl.gz
        "490069844bf24128c8b5a149cc7dc7dd1027d69e79674be61135e9b43907fe0c",  # mbpp/mbpp_collab_test257.jsonl
        "7fec016546acaee11dbe14f9f0bb670e59f41919f7b522a59fba34871da78551",  # mbpp/sanitized-mbpp.json
        "2c7f4c9741b9ffac7357a906ac28e9feb0ffcfcf3b679bfb894ce287230dffc9",  # str_build/data.csv
        "9145679712be49bb33b01f0c203cb34031c3dbb8138e1d26d48f472f28363394",  # house_build/data.json
        "a03a11a8fee86f6d0607f426e7b3b7a9180a4894170e934da75596e93c4b51f1",  # arc_challenge/test.jsonl
        "779e59db7ef6b658733c77a36cc02ce48f6c64f2ab24f9f8a4c8c9414a55ddec",  # arc_challenge/train.jsonl
        "ef757c6889a41d17aea37308466bdb018459d8b2349a52f648e2f15c04061ab4",  # arc_challenge/validation_294.jsonl
        "42564a9957e350c76176c148ff075fd97d483458ad4417f6c389629bef8808f8",  # mmlu/abstract_algebra_test.jsonl
        "7d17bd9f59bf8400f424b0e8e74577caf2fe72d2df556ab81ef382be652c5b87",  # mmlu/abstract_algebra_dev.jsonl
        "c4abca2c6f42b568ce50bae0c63001779962fc130e00510036ae4d3ea0d99d43",  # mmlu/college_physics_test.jsonl
        "c0a0ef3efc7a959e6b8e3790132a7291e410556da161223527f934091e3f7a32",  # mmlu/college_physics_dev.jsonl
        "3cbc52a272e6e3caa1b3f241dabd74117df0c63b3620a074b9267243ce0150f5",  # mmlu/professional_medicine_test.jsonl
        "a4556f7bf191fce66909d065518a61d9e4aaf48d3754999a35034967b1c576fc",  # mmlu/professional_medicine_dev.jsonl
        "b7944dfd3c81da5c4815bd75b00d6fa3c64140823498e78ed496f4c3d36f7f0d",  # bbh_navigate/navigate.json
    }
)


def licence(domain: Domain, source: str, origins: Iterable[str], folder: Path | None = None, card: str = "") -> str:
    """The licence of the rows that were taken, for the manifest: what their own source states, or that it states none.

    Args:
        source: embedded, path or hub.
        origins: of the rows, "folder/file:line"; of generated ones "generated:number".
        folder: where `data.path` points.
        card: what the data set's card on the hub states; "": nothing.
    """
    stated: dict[str, None] = {}
    names = dict.fromkeys(origin.split(":")[0] for origin in origins)
    if GENERATED in names:
        stated[domain.generated_licence or domain.licence] = None
    files = [name for name in names if name != GENERATED]
    if source == "hub" and files:
        stated[card or UNSTATED] = None
    elif source == "path":
        own = [name for name in files if not _public(folder, name)]
        if len(own) < len(files):
            stated[domain.public_licence or UNSTATED] = None
        if own:
            stated[OWN.format(files=", ".join(own))] = None
    elif files:
        stated[domain.licence] = None
    return "; ".join(stated)


def _public(folder: Path | None, name: str) -> bool:
    """Whether rows of this origin are those of a public file."""
    file = None if folder is None else folder / name
    return file is not None and file.is_file() and sha256(file) in PUBLIC
