"""The page: its parts from `static`, an index of what there is, and one compressed block of episodes per domain.

Nothing that a model wrote becomes markup: episodes travel as base64 of gzip, the index as JSON without angle brackets,
and the script puts every text into the page as text. The page's own policy allows no other script than the one that it
names by digest, and no network.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from collm.domains.base import Domain
from collm.methods.registry import ROWS
from collm.report.episodes.pack import Pack
from collm.report.figures import COLOURS
from collm.report.house_build_worlds import MATERIALS as OF_HOUSES
from collm.report.str_build_worlds import MATERIALS as OF_WALLS

STYLES = ("base.css", "episode.css")
SCRIPTS = ("elements.js", "data.js", "worlds.js", "turns.js", "filters.js", "main.js")


def page(packs: Sequence[Pack], domains: Mapping[str, Domain], labels: Mapping[str, str], heading: str) -> str:
    """The whole page.

    Args:
        packs: in the order in which benchmarks are offered.
        labels: by domain, what the rows and the models are, in words.
        heading: stands at the top.
    """
    style = "\n".join(map(_static, STYLES))
    body = "\n".join(map(_static, SCRIPTS))
    script = f'"use strict";\n(() => {{\n{body}\n}})();\n'
    parts = {
        "STYLE": style,
        "DIGEST": base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        "INDEX": in_script(index(packs, domains, labels, heading)),
        "PACKS": "\n".join(map(_block, packs)),
        "SCRIPT": script,
    }
    return re.sub("@@([A-Z]+)@@", lambda match: parts[match[1]], _static("page.html"))


def index(
    packs: Sequence[Pack], domains: Mapping[str, Domain], labels: Mapping[str, str], heading: str
) -> dict[str, Any]:
    """What the page knows before it unpacks a domain."""
    methods = {run["method"] for one in packs for run in one.runs}
    return {
        "heading": heading,
        "materials": {**OF_WALLS, **OF_HOUSES},
        "methods": [
            {"name": row.name, "label": row.label, "colour": COLOURS[row.name]}
            for row in ROWS.values()
            if row.name in methods
        ],
        "domains": [_entry(one, domains[one.domain], labels[one.domain]) for one in packs],
    }


def _entry(one: Pack, domain: Domain, label: str) -> dict[str, Any]:
    metrics = [
        {"name": metric.name, "label": metric.label, "unit": metric.unit}
        for metric in domain.metrics
        if metric.draws == 1
    ]
    return {
        "name": one.domain,
        "title": domain.title,
        "label": label,
        "metrics": metrics,
        "roles": [role.replace("_", " ") for role in domain.roles],
        "rewards": [domain.min_reward, domain.max_reward],
        "episodes": one.episodes,
        "left_out": one.left_out,
    }


def packed(one: Pack) -> str:
    """Texts and runs as base64 of gzip of JSON; the same bytes for the same episodes."""
    text = json.dumps({"texts": one.texts, "runs": one.runs}, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode("ascii")


def in_script(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _block(one: Pack) -> str:
    return f'<script type="text/plain" id="pack-{html.escape(one.domain)}">{packed(one)}</script>'


def _static(name: str) -> str:
    return resources.files("collm.report.episodes").joinpath("static", name).read_text(encoding="utf-8")
