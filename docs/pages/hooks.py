"""What mkdocs calls (mkdocs.yml): pages made from the code, pages from outside of docs/, links and formulas."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "src")]

import benchmarks  # noqa: E402
import formulas  # noqa: E402
import interface  # noqa: E402
import links  # noqa: E402
import settings  # noqa: E402
from mkdocs.structure.files import File  # noqa: E402

from collm import domains  # noqa: E402

SOURCES = {page: source for source, page in links.INCLUDED.items()}


def on_config(config: Any) -> Any:
    """Put the pages of benchmarks where the navigation has their section."""
    (section,) = (entry["Benchmarks"] for entry in config.nav if "Benchmarks" in entry)
    section[1:1] = [f"benchmarks/{name}.md" for name in domains.NAMES]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that no file below docs/ holds."""
    made = {
        **benchmarks.pages(ROOT),
        "configuration.md": settings.page(ROOT),
        "interface.md": interface.page(ROOT),
        **{page: (ROOT / source).read_text(encoding="utf-8") for page, source in SOURCES.items()},
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links that hold here."""
    place = page.file.src_uri
    return links.mended(markdown, SOURCES.get(place, f"docs/{place}"), place)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Formulas as pictures."""
    return formulas.draw(html)
