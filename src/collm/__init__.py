"""CoLLM: train teams of language models that answer in parallel and share one reward (arXiv 2601.21972).

In Python (docs/package.md): `train`, `evaluate`, `results`, `ask` and `export`. They are loaded when they are used, so
that `import collm` costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["ask", "evaluate", "export", "results", "train"]

_API = {
    "train": "collm.api.experiment",
    "evaluate": "collm.api.experiment",
    "results": "collm.api.frames",
    "ask": "collm.api.ask",
    "export": "collm.api.export",
}


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'collm' has no attribute {name!r}")
    return getattr(importlib.import_module(_API[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
