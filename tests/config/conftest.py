"""Shared by the tests of the configuration."""

from __future__ import annotations

import pytest
from support.configurations import DEFAULT

from collm.config.load import load_config


@pytest.fixture
def overlay(tmp_path):
    """Loads the default configuration with an overlay on top."""

    def load(text, name="overlay.yaml"):
        (tmp_path / name).write_text(text)
        return load_config([DEFAULT, tmp_path / name])

    return load
