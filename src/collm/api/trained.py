"""A trained team, opened from the folder of its run or of an export: what it is, and where its parts are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError, DataError, ModelError
from collm.config.job import Job, build_domain
from collm.config.resolve import job_of
from collm.domains.base import Domain
from collm.methods.registry import ROWS, UNTRAINED

FACTS = ("run.json", "evaluation.json")  # the second one alone is there of rows without training
BASES = "base"  # folder of an export that holds the bases which are not on the hub


@dataclass(frozen=True)
class TrainedTeam:
    """A team that can play: settings, seed, folders of its adapters and of its bases.

    `adapters` is None for a row without training, `root` the folder that holds resources/models and data; None: there
    is none around the run, as of an export.
    """

    folder: Path
    job: Job
    seed: int
    adapters: Path | None
    models: Mapping[str, Path]
    root: Path | None

    @property
    def label(self) -> str:
        """Domain, method and seed in words."""
        return f"{self.job.domain}, {ROWS[self.job.method].label}, seed {self.seed}"

    def domain(self) -> Domain:
        """The domain of the team, with the options it was trained with."""
        return build_domain(self.job)

    def base(self, agent: int) -> Path:
        """Folder of the base of an agent."""
        return self.models[self.job.team.agents[agent]]


def open_team(folder: str | Path, models: str | Path | None = None) -> TrainedTeam:
    """The team whose results are in `folder`: results/<domain>/<method>/seed<k>, or what `collm export` wrote.

    Args:
        models: folder of the prepared models; by default resources/models beside the results.
    Raises:
        ConfigError: the folder is of another version.
        DataError: it holds no run, or one that is not finished.
        ModelError: a base is not there, or is another one than the run was made with.
    """
    folder = Path(folder)
    file = next((folder / name for name in FACTS if (folder / name).is_file()), None)
    if file is None:
        raise DataError(f"{folder} holds no run.json; name the folder of a finished run, {example(folder)}")
    facts = json.loads(file.read_text(encoding="utf-8"))
    job = job_of(facts["config"])
    if job.method not in ROWS:
        raise ConfigError(f"{file} is of the method {job.method!r}, which this version of collm does not have")
    exported = (folder / "agent_0").is_dir()
    adapters = None
    if job.method not in UNTRAINED:
        adapters = folder if exported else folder / "adapters"
        if not (adapters / "agent_0").is_dir():
            raise ModelError(f"{adapters} holds no adapters; train again, or fetch them with the results (dvc pull)")
    root = _root(folder)
    found = _bases(job, folder, Path(models) if models else None, root)
    return TrainedTeam(folder, job, int(facts["seed"]), adapters, found, root)


def example(folder: Path) -> str:
    """Words about which folder is meant, with one that is there if there is any below `folder`."""
    runs = sorted(path.parent for path in folder.glob("**/run.json")) if folder.is_dir() else []
    return f"like {runs[0]}" if runs else "like results/tldr/collm_cc/seed0"


def _root(folder: Path) -> Path | None:
    """The nearest folder above a run that holds the prepared models."""
    return next((path for path in folder.resolve().parents if (path / "resources/models").is_dir()), None)


def _bases(job: Job, folder: Path, models: Path | None, root: Path | None) -> dict[str, Path]:
    """Folders of the models that the agents stand on, by name."""
    found = {}
    for name in dict.fromkeys(job.team.agents):
        spec = job.models[name]
        inside = folder / BASES / name
        if models is None and (inside / "config.json").is_file():
            found[name] = inside
        elif models is None and root is None and spec["source"] == "hub":
            found[name] = _from_hub(folder, name, spec)
        else:
            found[name] = _prepared(job, name, models, root, folder)
    return found


def _prepared(job: Job, name: str, models: Path | None, root: Path | None, folder: Path) -> Path:
    """A model that a stage prepared; ModelError if it is not there or was made otherwise since."""
    if models is None and root is None:
        raise ModelError(f"no folder above {folder} holds resources/models; name the folder of models with --models")
    from collm.llm import sources

    spec = job.models[name]
    path = sources.folder(models or Path(str(root)) / "resources/models", name, spec["source"], job.domain)
    made = sources.describe(path)
    if {**made["spec"], "device_map": None} != {**spec, "device_map": None}:
        raise ModelError(
            f"{path} was made anew with other settings since {folder} was trained, whose adapters do not fit it; make "
            "it with the run's own settings again, or name another folder with --models"
        )
    return path


def _from_hub(folder: Path, name: str, spec: Mapping[str, Any]) -> Path:
    """A snapshot of a base of the hub at the commit that an export names."""
    from collm.data import hub

    agents = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("bases", {})
    commit = agents.get(name, {}).get("revision") or spec.get("revision")
    if not commit:
        raise ModelError(
            f"{folder} does not say which commit of {spec['id']} its adapters were trained on; use --models"
        )
    return Path(hub.download_model(spec["id"], commit))
