"""README's table of rows is the one that the registry makes."""

from __future__ import annotations

import re

from support.places import ROOT

from collm.methods.registry import BASELINES, ROWS, Row

HEADER = ("name", "label", "agents", "trained by", "critics")
TRAINED = {"reinforcement": "reinforcement learning", "supervised": "supervised fine-tuning", None: "nothing"}
CRITICS = {"joint": "one, of the joint history", "local": "one per agent, of its own history"}
MARKED = re.compile(r"<!-- rows of .*? -->\n(.*?)<!-- end of rows -->", re.DOTALL)


def critics(row: Row) -> str:
    """What values the histories of a method; nothing for a baseline."""
    if row.name in BASELINES:
        return ""
    return "none: returns of a group" if row.critics is None else CRITICS[row.critics]


def table() -> str:
    """The rows of tables in Markdown, in the registry's order."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    for row in ROWS.values():
        cells = (f"`{row.name}`", row.label, "one" if row.single else "a team", TRAINED[row.trained], critics(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_readme_has_the_table_of_rows():
    marked = MARKED.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(marked) == 1, "README.md lacks the two comments around its table of rows"
    assert marked[0].strip() == table().strip(), f"README.md: put this between the two comments\n\n{table()}"
