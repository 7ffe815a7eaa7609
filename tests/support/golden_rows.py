"""Reads the golden rows and compares components, for the tests of the domains."""

from __future__ import annotations

import json
from typing import Any

from support.places import ROOT

FOLDER = ROOT / "tests" / "golden"
TOLERANCE = 1e-9


def golden(domain: str) -> list[dict[str, Any]]:
    """All rows of tests/golden/<domain>.jsonl."""
    return [json.loads(line) for line in (FOLDER / f"{domain}.jsonl").read_text(encoding="utf-8").splitlines()]


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Expected components that are missing or off, as {name: (found, expected)}."""

    def same(name: str) -> bool:
        value = expected[name]
        if name not in found:
            return False
        return abs(found[name] - value) <= TOLERANCE if isinstance(value, float) else found[name] == value

    return {name: (found.get(name), expected[name]) for name in expected if not same(name)}
