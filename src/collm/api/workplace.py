"""A folder in which stages read and write, and what has to be made there before a run: data, models, warm start.

What is there and was made with the settings of now is kept. What was made with other settings is refused by name, or
made again where that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import DataError, ModelError
from collm.config.job import Job
from collm.config.resolve import resolve_job, resolve_settings, starts_from
from collm.config.trackers import check_tracker
from collm.methods.registry import UNTRAINED
from collm.pipeline import dependencies, provenance
from collm.pipeline.places import Places
from collm.runs.folders import RunFolders
from collm.stages import Listener


@dataclass(frozen=True)
class Workplace:
    """Folders of data, resources, results and checkpoints below `root`, and the merged configuration that they follow.

    `again`: make again what other settings made, instead of refusing it. A tracker that is not installed is a
    ConfigError here, before anything is made.
    """

    config: Mapping[str, Any]
    root: Path = Path(".")
    again: bool = False
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_tracker(self.config["report"]["tracker"])

    def folders(self, domain: str, method: str, seed: int) -> RunFolders:
        """Where a run reads and writes."""
        return RunFolders.of(domain, method, seed, self.root, Places.of(self.config))

    def data(self, domain: str) -> None:
        """Prepared rows of a domain.

        Raises:
            DataError: they were made with other settings, or there is no source.
        """
        folder = self.root / Places.of(self.config).data(domain)
        if self._serves(folder / "manifest.json", lambda: provenance.check_data(self.config, domain, folder)):
            return
        from collm.stages.prepare_data import prepare_data

        prepare_data(self.config, domain, folder)

    def models(self, domain: str, method: str) -> None:
        """Base models of a row; those made from scratch stand on the domain's data.

        Raises:
            ModelError: one was made with other settings, or cannot be made.
        """
        from collm.llm import sources
        from collm.stages.make_model import make_model

        places = Places.of(self.config)
        data, models = self.root / places.data(domain), self.root / places.models(domain)
        for name, spec in resolve_settings(self.config, domain, method)["models"].items():
            file = sources.folder(models, name, spec["source"], domain) / "model.json"
            if not self._serves(file, lambda: provenance.check_models(self.config, domain, method, models, data)):
                scratch = spec["source"] == "scratch"
                lock = self.root / "resources" / "revisions.json"
                device = "cpu" if self.device == "auto" else self.device
                make_model(self.config, name, domain if scratch else None, data, models, device, lock)

    def inputs(self, domain: str, method: str) -> None:
        """What every stage of a row reads: data and models."""
        self.data(domain)
        self.models(domain, method)

    def start(self, domain: str, method: str, seed: int, listener: Listener | None = None) -> None:
        """The warm start that a method's run starts from, if it starts from one."""
        warm = starts_from(method, resolve_job(self.config, domain, method).warm_start.enabled)
        if warm is not None:
            self.warm_started(domain, warm, seed, listener)

    def warm_started(self, domain: str, warm: str, seed: int, listener: Listener | None = None) -> None:
        """A warm start, of a team or of one agent alone."""
        self.inputs(domain, warm)
        folders = self.folders(domain, warm, seed).where_trained()
        if self._serves(folders.out / "run.json", lambda: self._check_run(domain, warm, folders)):
            return
        from collm.stages.warm_start import warm_start

        warm_start(resolve_job(self.config, domain, warm), seed, folders, self.threads, self.device, listener=listener)

    def trained(self, domain: str, method: str, seed: int, listener: Listener | None = None) -> None:
        """A run of reinforcement learning, to its end; goes on where an interrupted attempt stopped.

        Args:
            listener: hears every line of metrics.jsonl as it is written.
        """
        job = resolve_job(self.config, domain, method)
        self.inputs(domain, method)
        self.start(domain, method, seed, listener)
        folders = self.folders(domain, method, seed)
        warm = starts_from(method, job.warm_start.enabled)
        older = warm is not None and _older(
            folders.out / "run.json", self.folders(domain, warm, seed).trained_out / "run.json"
        )
        if not older and self._serves(folders.out / "run.json", lambda: self._check_run(domain, method, folders)):
            return
        from collm.stages.train import checked_start, train

        start = checked_start(self.config, job, seed, self.root)
        train(job, start, seed, folders, self.threads, self.device, listener=listener)

    def evaluated(self, domain: str, row: str, seed: int) -> None:
        """The final evaluation of a row, whose run has to be there if it is trained."""
        job = resolve_job(self.config, domain, row)
        self.inputs(domain, row)
        folders = self.folders(domain, row, seed)
        if row not in UNTRAINED:
            self._check_run(domain, row, folders)
        file = folders.out / "evaluation.json"
        if not _older(file, folders.trained_out / "run.json") and self._serves(
            file, lambda: _check_evaluation(job, folders)
        ):
            return
        from collm.stages.evaluate import evaluate

        evaluate(job, seed, folders, self.threads, self.device)

    def _check_run(self, domain: str, row: str, folders: RunFolders) -> None:
        provenance.check_run(self.config, domain, row, folders.trained_out)

    def _serves(self, file: Path, check: Callable[[], None]) -> bool:
        """Whether what `file` belongs to is there and as it should be; raises what `check` raises, with a way out."""
        if not file.is_file():
            return False
        try:
            check()
        except (DataError, ModelError) as error:
            if self.again:
                return False
            raise type(error)(f"{error}; or work in another folder, or say `again` to replace it") from None
        return True


def _older(file: Path, run: Path) -> bool:
    """Whether what `file` tells of was begun before the run that it stands on had ended."""
    if not (file.is_file() and run.is_file()):
        return False
    times = [json.loads(path.read_text(encoding="utf-8"))[key] for path, key in ((file, "started"), (run, "finished"))]
    return bool(times[0] < times[1])


def _check_evaluation(job: Job, folders: RunFolders) -> None:
    """DataError if samples are of other settings."""
    facts = json.loads((folders.out / "evaluation.json").read_text(encoding="utf-8"))
    then, now = (dependencies.stage_settings("evaluate", raw) for raw in (facts["config"], job.raw))
    changes = provenance.differences(then, now)
    if changes:
        raise DataError(f"{folders.out}/evaluation.json was made with {'; '.join(changes[:3])}")
