"""Which stages a run needs, and where they lie: what agrees between variants is made once.

    OUT/configs/<digest>.json      merged configurations; a run reads its own, whatever happens to the files
    OUT/inputs/<digest>/           data and models of one (domain, settings of data and models)
    OUT/starts/<digest>/           warm starts of all seeds with one set of settings
    OUT/runs/<digest>/             one method with one set of settings, a folder per seed; links to the above

Digests are over the settings that Snakemake compares too (`collm.pipeline.dependencies`). A variant that is edited is
another run; two variants that mean the same for a method are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage_jobs import StageJob

from collm.common.errors import ConfigError
from collm.common.files import write_json
from collm.config.load import check_config
from collm.config.numbers import whole_numbers
from collm.config.read_files import read_files
from collm.config.resolve import merge, resolve_job, resolve_settings, starts_from
from collm.config.snapshot import digest
from collm.pipeline import dependencies, provenance
from collm.runs.folders import RunFolders


@dataclass(frozen=True)
class Place:
    """Where a study lies and how its stages run."""

    out: Path
    threads: int
    device: str


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a study."""

    variant: str
    domain: str
    method: str
    seed: int
    folders: RunFolders
    start: RunFolders | None  # of its warm start
    job: StageJob  # the last stage


def configuration(files: Sequence[Path], domain: str, methods: Sequence[str]) -> dict[str, Any]:
    """Files merged, later ones win, for the rows of one domain alone.

    Raises:
        ConfigError: as `load_config`, and for a relative `data.path`: stages run in folders of the study.
    """
    config: dict[str, Any] = {}
    for content in read_files(files):
        config = merge(config, content)
    config |= {"domains": [domain], "methods": list(methods), "baselines": ["parallel", "warm_start"]}
    check_config(config)
    path = config["data"]["path"]
    if path is not None and not Path(path).is_absolute():
        raise ConfigError(f"data.path is {path!r}; a study runs in folders of its own: write an absolute path")
    return whole_numbers(config)


def planned_run(
    place: Place, variant: str, config: Mapping[str, Any], domain: str, method: str, seed: int, final: bool = False
) -> PlannedRun:
    """The stages of one run.

    Args:
        final: evaluate on the whole test split at the end, the warm start too (`evaluation.samples` per task).
    """
    settings = resolve_settings(config, domain, method)
    resolve_job(config, domain, method)
    inputs = _inputs(place, config, settings)
    warm = starts_from(method, settings["warm_start"]["enabled"])
    start = None if warm is None else planned_start(place, config, domain, seed, warm)
    own = _identity(config, settings) | dependencies.stage_settings("train", settings)
    own |= {"start": start.folder.name if start else None, "method": method}
    root = place.out / "runs" / digest(own)
    folders = RunFolders.of(domain, method, seed, root)
    links, needs = _links(root, inputs), [*inputs]
    if start is not None and warm is not None:
        shared = Path("results") / domain / warm
        links, needs = (*links, (root / shared, start.folder / shared)), [*needs, start]
    job = _stage(place, config, "train", root, domain, method, seed, folders.out / "run.json", links, needs)
    if final:
        needs = [job, *([_evaluated(place, config, start, domain, warm, seed)] if start and warm else [])]
        job = _stage(place, config, "evaluate", root, domain, method, seed, folders.out / "evaluation.json", (), needs)
    start_folders = RunFolders.of(domain, warm, seed, start.folder) if start and warm else None
    return PlannedRun(variant, domain, method, seed, folders, start_folders, job)


def planned_start(
    place: Place, config: Mapping[str, Any], domain: str, seed: int, warm: str = "warm_start"
) -> StageJob:
    """The warm start of a seed, with all that it needs; its folder has the layout of the repository."""
    settings = resolve_settings(config, domain, warm)
    inputs = _inputs(place, config, settings)
    own = _identity(config, settings) | dependencies.stage_settings("warm_start", settings) | {"method": warm}
    root = place.out / "starts" / digest(own)
    done = RunFolders.of(domain, warm, seed, root).out / "run.json"
    return _stage(place, config, "warm_start", root, domain, warm, seed, done, _links(root, inputs), inputs)


def _identity(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What data and models depend on."""
    domain = settings["domain"]
    models = {name: provenance.model_settings(config, domain, name) for name in settings["models"]}
    return {"domain": domain, "data": provenance.data_settings(config, domain), "models": models}


def _inputs(place: Place, config: Mapping[str, Any], settings: Mapping[str, Any]) -> list[StageJob]:
    """Data, and every model of a job."""
    domain, root = settings["domain"], place.out / "inputs" / digest(_identity(config, settings))
    log = place.out / "logs" / "inputs" / root.name
    given = ("--config", str(_kept(place, config)), "--domain", domain)
    data = RunFolders.of(domain, "", 0, root).data
    jobs = [StageJob(f"data {domain}", "prepare_data", root, given, data / "manifest.json", log / "data.log")]
    for name, spec in settings["models"].items():
        folder = root / "resources" / "models" / (f"{domain}/{name}" if spec["source"] == "scratch" else name)
        arguments = (*given, "--model", name)
        done, text = folder / "model.json", f"model {name} of {domain}"
        jobs.append(StageJob(text, "make_model", root, arguments, done, log / f"{name}.log", needs=tuple(jobs[:1])))
    return jobs


def _evaluated(place: Place, config: Mapping[str, Any], start: StageJob, domain: str, warm: str, seed: int) -> StageJob:
    """The evaluation of a warm start."""
    done = RunFolders.of(domain, warm, seed, start.folder).out / "evaluation.json"
    return _stage(place, config, "evaluate", start.folder, domain, warm, seed, done, (), [start])


def _links(root: Path, inputs: Sequence[StageJob]) -> tuple[tuple[Path, Path], ...]:
    return tuple((root / name, inputs[0].folder / name) for name in ("data", "resources"))


def _kept(place: Place, config: Mapping[str, Any]) -> Path:
    """The merged configuration as a file of the study."""
    file = place.out / "configs" / f"{digest(config)}.json"
    return file if file.is_file() else write_json(file, config)


def _stage(
    place: Place,
    config: Mapping[str, Any],
    script: str,
    root: Path,
    domain: str,
    method: str,
    seed: int,
    done: Path,
    links: tuple[tuple[Path, Path], ...],
    needs: Sequence[StageJob],
) -> StageJob:
    label = f"{script} {domain} {method} seed {seed}"
    arguments = ["--config", str(_kept(place, config)), "--domain", domain, "--method", method, "--seed", str(seed)]
    arguments += ["--threads", str(place.threads), "--device", place.device]
    log = place.out / "logs" / f"{root.parent.name}_{root.name}" / f"{script}_seed{seed}.log"
    return StageJob(f"{label} ({root.name})", script, root, tuple(arguments), done, log, links, tuple(needs))
