"""Where a run reads and writes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from collm.pipeline.places import Places


@dataclass(frozen=True)
class RunFolders:
    """Folders of one run; `of` follows the layout of the repository (see `collm.pipeline.places`)."""

    data: Path
    models: Path
    out: Path
    checkpoints: Path
    trained: Path | None = None  # with the adapters of a warm start that variants share; None: `out`

    @classmethod
    def of(
        cls, domain: str, method: str, seed: int, root: Path = Path("."), places: Places | None = None
    ) -> RunFolders:
        """The conventional folders of a run below `root`; `places`: of an experiment with a name or variants."""
        at, run = places or Places(), (domain, method, seed)
        return cls(
            root / at.data(domain),
            root / at.models(domain),
            root / at.run(*run),
            root / at.checkpoints(*run),
            root / at.trained(*run),
        )

    @property
    def trained_out(self) -> Path:
        """Where run.json and the adapters of the run are."""
        return self.trained or self.out

    def where_trained(self) -> RunFolders:
        """The same with all results where the adapters are: for the stage that makes a warm start."""
        return dataclasses.replace(self, out=self.trained_out)

    @property
    def adapters(self) -> Path:
        """What the run trained: a folder per member."""
        return self.trained_out / "adapters"

    @property
    def nonfinite(self) -> Path:
        """The file for the samples behind a number that is NaN or infinite."""
        return self.checkpoints / "nonfinite.json"

    @property
    def trackers(self) -> Path:
        """What TensorBoard or wandb write; git and DVC leave it alone."""
        return self.out / "trackers"
