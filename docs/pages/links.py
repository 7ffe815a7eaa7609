"""Links out of docs/: files that are pages of the site too lead there, others are named without a link."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

INCLUDED: Mapping[str, str] = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "config_files.md",
}
"""Files outside of docs/ that the site shows, and the page of each."""

LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)")
NAMED = re.compile(r"`[^`\n]*`|!?\[[^\]]*\]\([^)\s]+\)|(?<![\w/\"'])docs/(?P<page>[\w/]+\.md)\b")
"""Code, a link, or a file of docs/ that a sentence names, as docstrings and comments of settings do."""
BLOCK = re.compile(r"^(```+).*?^\1\s*$", re.DOTALL | re.MULTILINE)


def mended(markdown: str, source: str, page: str) -> str:
    """Markdown whose links hold on the site.

    Args:
        source: where the text stands in the repository, like "docs/study/README.md".
        page: its place below docs/, as the site sees it.
    """
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    text = BLOCK.sub(keep, markdown)
    text = LINK.sub(lambda match: _link(match, source, page), text)
    text = NAMED.sub(lambda match: _named(match, page), text)
    return re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], text)


def _link(match: re.Match[str], source: str, page: str) -> str:
    target, _, anchor = match["target"].partition("#")
    if not target or re.match(r"\w+:", target):
        return match[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if file in INCLUDED:
        place = INCLUDED[file]
    elif file.startswith("docs/"):
        place = file.removeprefix("docs/")
    else:
        return match["words"] if match["words"].strip("`") == file else f"{match['words']} (`{file}`)"
    relative = posixpath.relpath(place, posixpath.dirname(page) or ".")
    return f"{match['picture']}[{match['words']}]({relative}{'#' + anchor if anchor else ''})"


def _named(match: re.Match[str], page: str) -> str:
    if not match["page"]:
        return match[0]
    return f"[{match[0]}]({posixpath.relpath(match['page'], posixpath.dirname(page) or '.')})"
