"""Notebooks of the repository, run cell by cell as plain Python."""

from __future__ import annotations

import ast
import json

from support.places import ROOT


def cells(name: str) -> list[dict]:
    """The code cells of a notebook, with their text as `text`."""
    notebook = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))
    return [{**cell, "text": "".join(cell["source"])} for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(name: str, **parameters) -> tuple[dict, list]:
    """Run all cells, those tagged `parameters` with other values; returns the names, and what each cell shows."""
    names: dict = {"__name__": "__main__"}
    shown = []
    for cell in cells(name):
        tree = ast.parse(cell["text"])
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        shown.append(None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), names))
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(parameters) <= set(names), "the notebook has no such parameter"
            names.update(parameters)
    return names, shown
