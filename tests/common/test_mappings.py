"""Nested mappings with dotted keys."""

from __future__ import annotations

from collm.common.mappings import flatten


def test_flatten_goes_into_mappings_alone():
    nested = {"a": {"b": 1, "c": {"d": [2]}}, "e": None, "empty": {}}
    assert flatten(nested) == {"a.b": 1, "a.c.d": [2], "e": None}
    assert flatten({}) == {}
