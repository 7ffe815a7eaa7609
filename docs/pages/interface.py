"""The page of the Python interface: signatures and docstrings of what `collm` offers, read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

INTRODUCTION = """# Python interface

What a notebook calls. [The package and the command](package.md) shows it in use; settings are those of the
[configuration](configuration.md).
"""
SHOWN = (
    ("collm", "api/experiment.py", ("train", "evaluate")),
    ("collm", "api/frames.py", ("results",)),
    ("collm", "api/ask.py", ("ask",)),
    ("collm", "api/export.py", ("export",)),
    ("", "api/experiment.py", ("Experiment", "Picture")),
    ("", "api/frames.py", ("Results",)),
    ("", "api/ask.py", ("Answer",)),
)
SECTION = re.compile(r"^(Args|Raises|Returns):$")


def page(root: Path) -> str:
    """Markdown of the page.

    Raises:
        LookupError: something of `SHOWN` is not there any more.
    """
    lines = [INTRODUCTION]
    for prefix, file, names in SHOWN:
        tree = ast.parse((root / "src" / "collm" / file).read_text(encoding="utf-8"))
        there = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for name in names:
            if name not in there:
                raise LookupError(f"src/collm/{file} has no {name}; mend SHOWN of docs/pages/interface.py")
            title = f"{prefix}.{name}" if prefix else name
            lines += _class(there[name]) if isinstance(there[name], ast.ClassDef) else _function(there[name], title, 2)
    return "\n".join(lines) + "\n"


def _class(node: ast.ClassDef) -> list[str]:
    lines = [f"## {node.name}\n", *markdown(ast.get_docstring(node) or "")]
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    lines += [f"- `{ast.unparse(part.target)}: {ast.unparse(part.annotation)}`" for part in fields]
    if fields:
        lines.append("")
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            lines += _function(part, f"{node.name}.{part.name}", 3)
    return lines


def _function(node: ast.FunctionDef, title: str, level: int) -> list[str]:
    lines = [f"{'#' * level} {title}\n"]
    if not any(ast.unparse(mark) == "property" for mark in node.decorator_list):
        lines += ["```python", signature(node, title), "```\n"]
    return lines + [*markdown(ast.get_docstring(node) or "")]


def signature(node: ast.FunctionDef, title: str) -> str:
    """How a function is called, an argument a line where there are many."""
    arguments = ast.unparse(node.args)
    short = re.sub(r"^self(, )?", "", arguments)
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"{title}({short}){returned}"
    if len(whole) <= 100:
        return whole
    parts = re.split(r", (?=[\w*]+(?::|,|$)|\*)", short)
    return f"{title}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def markdown(docstring: str) -> Iterator[str]:
    """A docstring's sections as lists; everything else as it is."""
    inside = False
    for line in docstring.splitlines():
        if SECTION.match(line):
            inside = True
            yield f"\n**{line[:-1]}**\n"
        elif inside and re.match(r"    \S", line):
            name, _, words = line.strip().partition(": ")
            yield f"- `{name}`: {words}" if words else f"- {name}"
        elif inside and line.startswith("        "):
            yield f"  {line.strip()}"
        else:
            inside = inside and not line.strip()
            yield line
    yield ""
