"""Formulas as inline SVG, drawn by Matplotlib's mathtext when the site is built: no script and no font is fetched."""

from __future__ import annotations

import functools
import html
import re

import numpy as np
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextToPath

SIZE = 100.0  # points in which outlines are reckoned; pages scale them to the text around
FOUND = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<formula>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
CODES = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def draw(page: str) -> str:
    """HTML in which every formula that arithmatex marked is a picture with its text beside it for screen readers."""
    return FOUND.sub(_replaced, page)


def _replaced(match: re.Match[str]) -> str:
    formula = " ".join(html.unescape(match["formula"]).split())
    picture = svg(formula)
    return f'<p class="formula">{picture}</p>' if match["tag"] == "div" else picture


@functools.cache
def svg(formula: str) -> str:
    """One formula as an SVG element of the surrounding text's size and colour.

    Raises:
        ValueError: mathtext does not know what stands there.
    """
    with rc_context({"mathtext.fontset": "stix"}):
        outlines, properties = TextToPath(), FontProperties(size=SIZE)
        width, height, depth = outlines.get_text_width_height_descent(f"${formula}$", properties, ismath=True)
        vertices, codes = outlines.get_text_path(properties, f"${formula}$", ismath=True)
    path = Path(np.asarray(vertices) * (SIZE / outlines.FONT_SCALE), codes)
    parts = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        pairs = np.asarray(points).reshape(-1, 2)
        drawn = "" if code == Path.CLOSEPOLY else " ".join(f"{x:.1f} {-y:.1f}" for x, y in pairs)
        parts.append(CODES[code] + drawn)
    size = f'width="{width / SIZE:.3f}em" height="{height / SIZE:.3f}em" style="vertical-align:{-depth / SIZE:.3f}em"'
    box = f'viewBox="0 {depth - height:.1f} {width:.1f} {height:.1f}"'
    label = html.escape(formula, quote=True)
    return f'<svg role="img" aria-label="{label}" {size} {box}><path fill="currentColor" d="{"".join(parts)}"/></svg>'
