"""Compare the results of two runs byte for byte, times and names of versions aside: same_bytes.py OLD NEW."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path

# Measured times, and metrics that only one of two versions may log.
TIMES = {"seconds", "reward_seconds", "tokens_per_second"}
WHOLE = (
    "results/*/*/seed*/adapters/**/*.safetensors",
    "results/*/*/seed*/adapters/**/*.pt",
    "results/*/*/seed*/samples.jsonl",
    "data/*/*.jsonl",
    "resources/models/**/*.safetensors",
)


def digest(data: bytes) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(data).hexdigest()


def table(path: Path) -> str:
    """A table without the rows and columns of measured times."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("metric") != "time_s"]
    return json.dumps(rows)


def journal(path: Path) -> str:
    """metrics.jsonl without measured times."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return json.dumps([{key: value for key, value in line.items() if key not in TIMES} for line in lines])


def contents(root: Path) -> dict[str, str]:
    """Digest of everything that has to be the same, by name."""
    kept = {path: digest(path.read_bytes()) for pattern in WHOLE for path in root.glob(pattern)}
    kept |= {path: digest(table(path).encode()) for path in root.glob("results/tables/*.csv")}
    kept |= {path: digest(journal(path).encode()) for path in root.glob("results/*/*/seed*/metrics.jsonl")}
    return {str(path.relative_to(root)): value for path, value in kept.items()}


def main() -> int:
    """Print what differs; the status is 1 if anything does, or if there is nothing to compare."""
    old, new = (contents(Path(folder)) for folder in sys.argv[1:3])
    different = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    for name in different:
        print(f"differs: {name}" if name in old and name in new else f"only in one: {name}")
    print(f"{Path(sys.argv[2]).name}: {len(old)} files, {len(different)} different")
    return 1 if different or not old else 0


if __name__ == "__main__":
    sys.exit(main())
