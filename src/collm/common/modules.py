"""Modules that a configuration names."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from collm.common.errors import CollmError, ConfigError


def load(name: str, key: str) -> ModuleType:
    """A module by its name, looked for in the working directory as well.

    Args:
        key: of the configuration, for messages.
    Raises:
        ConfigError: it is not there, lacks another module, or fails while it is loaded.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # behind all others, so that no file here stands for an installed module
    try:
        return importlib.import_module(name)
    except CollmError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{key}: there is no module {name!r}; it is looked for among installed modules and in {here}: start "
                "there, or set PYTHONPATH to its folder"
            ) from None
        raise ConfigError(f"{key}: {name} needs a module that is not installed: {error}") from error
    except Exception as error:
        raise ConfigError(f"{key}: {name} fails while it is loaded: {type(error).__name__}: {error}") from error
