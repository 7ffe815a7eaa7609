"""Where the real data sets are, for the tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.places import ROOT

COLLECTION = Path(os.environ.get("COLLM_DATA", ROOT.parent / "shared" / "data"))
needs_collection = pytest.mark.skipif(
    not (COLLECTION / "MANIFEST.md").is_file(),
    reason=f"no collection of real data in {COLLECTION}: set COLLM_DATA to a folder with MANIFEST.md, tldr/, ...",
)
