"""The shipped configuration files, and what the loader says of an overlay."""

from __future__ import annotations

import pytest

from collm.common.errors import ConfigError
from support.places import ROOT

DEFAULT = ROOT / "config" / "config.yaml"
CLAIMS = ROOT / "config" / "claims.yaml"  # no configuration of runs
SHIPPED = sorted(path for path in (ROOT / "config").rglob("*.y*ml") if path not in (DEFAULT, CLAIMS))


def refused(overlay, text):
    """The message with which an overlay (the fixture) is refused."""
    with pytest.raises(ConfigError) as error:
        overlay(text)
    return str(error.value)
