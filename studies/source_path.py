"""Import this before the package: it puts src/, with the package and the stage scripts, on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PLACES = [str(ROOT / "src"), str(ROOT / "studies")]

sys.path[:0] = [place for place in _PLACES if place not in sys.path]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def for_children() -> None:
    """Let the processes that this one starts find the same."""
    os.environ["PYTHONPATH"] = os.pathsep.join([*_PLACES, *filter(None, [os.environ.get("PYTHONPATH")])])
