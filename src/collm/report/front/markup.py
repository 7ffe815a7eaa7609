"""HTML for the report: texts are escaped, tables have headings that readers of screens understand."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

SMALLEST = 0.7


def text(value: object) -> str:
    """A value as text in a page."""
    return html.escape(str(value))


def table(frame: pd.DataFrame, caption: str, heads: int = 1, notes: Mapping[int, str] | None = None) -> str:
    """A frame of texts as a table that scrolls sideways where it is too wide.

    Args:
        heads: columns at the left that name a row.
        notes: small lines under the first cell, by place of the row.
    """
    notes = notes or {}
    names = list(frame.columns)
    columns = "".join(
        f'<th scope="col"{" class=name" if place < heads else ""}>{text(name)}</th>' for place, name in enumerate(names)
    )
    rows = []
    for place, values in enumerate(frame.itertuples(index=False, name=None)):
        note = f'<span class="note">{text(notes[place])}</span>' if place in notes else ""
        first = f'<th scope="row">{text(values[0])}{note}</th>'
        others = "".join(
            f"<td{' class=name' if column < heads else ''}>{text(value)}</td>"
            for column, value in enumerate(values[1:], start=1)
        )
        rows.append(f"<tr>{first}{others}</tr>")
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def sentences(found: Iterable[str]) -> str:
    """Sentences as a list; "" without any."""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in found)
    return f"<ul>{items}</ul>" if items else ""


def facts(pairs: Mapping[str, str]) -> str:
    """Headings with their values."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs.items())
    return f"<dl>{rows}</dl>"


def picture(svg: bytes, words: str, caption: str) -> str:
    """A drawing inside the page; nothing in it can run, because it is an image.

    It shrinks with the page to `SMALLEST` of its size, in which its letters can still be read, and then scrolls.
    """
    data = base64.b64encode(svg).decode("ascii")
    width = re.search(rb'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
    least = f' style="min-width:{SMALLEST * float(width[1]) * 4 / 3:.0f}px"' if width else ""
    return (
        f'<figure><div class="wide" tabindex="0" role="region" aria-label="{text(words)}"><img alt="{text(words)}"'
        f'{least} src="data:image/svg+xml;base64,{data}"></div><figcaption>{text(caption)}</figcaption></figure>'
    )


def picture_file(path: Path, words: str, caption: str) -> str:
    """The drawing of a file; a line that says so where it is not there."""
    if not path.is_file():
        return f'<p class="note">{text(words)}: {text(path)} is not there.</p>'
    return picture(path.read_bytes(), words, caption)


def folded(summary: str, inside: str) -> str:
    """A part that a reader opens."""
    return f"<details><summary>{text(summary)}</summary>{inside}</details>" if inside else ""


def estimates(frame: pd.DataFrame, name: Callable[[str], str], head: Callable[[str], str]) -> pd.DataFrame:
    """Rows of method, metric, point, low and high as one line per method with cells "point [low, high]".

    Args:
        name: what a method is called.
        head: what stands above the numbers of a metric.
    """
    records: dict[str, dict[str, str]] = {}
    for _, row in frame.iterrows():
        interval = f" [{row['low']:.3g}, {row['high']:.3g}]" if pd.notna(row["low"]) else ""
        cells = records.setdefault(row["method"], {"Method": name(row["method"])})
        cells[head(str(row["metric"]))] = f"{row['point']:.3g}{interval}"
    return pd.DataFrame(records.values()).fillna("–")
