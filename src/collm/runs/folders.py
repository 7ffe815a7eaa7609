"""Where a run reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolders:
    """Folders of one run; the defaults follow the layout of the repository."""

    data: Path
    models: Path
    out: Path
    checkpoints: Path

    @classmethod
    def of(cls, domain: str, method: str, seed: int, root: Path = Path(".")) -> RunFolders:
        """The conventional folders of a run below `root`."""
        run = Path(domain) / method / f"seed{seed}"
        return cls(
            root / "data" / domain, root / "resources" / "models", root / "results" / run, root / "checkpoints" / run
        )

    @property
    def adapters(self) -> Path:
        """What the run trained: a folder per member."""
        return self.out / "adapters"

    @property
    def nonfinite(self) -> Path:
        """The file for the samples behind a number that is NaN or infinite."""
        return self.checkpoints / "nonfinite.json"

    @property
    def trackers(self) -> Path:
        """What TensorBoard or wandb write; git and DVC leave it alone."""
        return self.out / "trackers"
