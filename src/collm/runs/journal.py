"""metrics.jsonl of a run: one JSON line an event, as long as the newest checkpoint says and no longer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import CheckpointError


class Journal:
    """metrics.jsonl beside the checkpoints; what a lost attempt wrote after its last checkpoint is cut off."""

    def __init__(self, path: Path, length: int = 0):
        """Open `path` and cut it to `length` bytes, which is how long it was at the checkpoint.

        Raises:
            CheckpointError: the file is shorter than that.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            if stream.tell() < length:
                raise CheckpointError(
                    f"{path} is shorter than when the checkpoint beside it was written ({stream.tell()} of {length} "
                    f"bytes); put the file back, or remove {path.parent} to start over"
                )
            stream.truncate(length)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one JSON line.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def length(self) -> int:
        """Bytes on disk, flushed."""
        with self.path.open("ab") as stream:
            os.fsync(stream.fileno())
            return stream.tell()
