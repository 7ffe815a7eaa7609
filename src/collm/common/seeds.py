"""Seeds from names: whatever is drawn has a seed of its own, which says what it is for."""

from __future__ import annotations

import hashlib
from typing import Any


def derive(*parts: Any) -> int:
    """A 63-bit number from any parts: the same parts give the same seed, on every machine."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
