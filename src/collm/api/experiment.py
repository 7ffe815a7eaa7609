"""Experiments from Python: train methods on a benchmark, look at curves and tables, ask the team something."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collm.common import shipped
from collm.common.errors import ConfigError
from collm.config import plugins, variants
from collm.config.job import BLOCKS
from collm.config.load import check_config, load_config
from collm.config.messages import known
from collm.config.read_files import read_files
from collm.config.resolve import resolve_job, starts_from
from collm.domains import names
from collm.methods.registry import BASELINES, METHODS, ROWS
from collm.pipeline.places import Places

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from collm.api.ask import Answer, Asked
    from collm.api.frames import Results

Callback = Callable[[dict[str, Any]], None]
OF_THE_DOMAIN = ("options", *BLOCKS)  # keyword arguments that stand below `domain.<name>` in the configuration

OF_ALL_DATA = ("path", "seed")  # keys of `data` that the file has for all benchmarks together


@dataclass(frozen=True)
class Picture:
    """A figure with the numbers behind it; a notebook shows it."""

    figure: Figure
    data: pd.DataFrame

    def save(self, path: str | Path) -> None:
        """Write the figure; the ending of `path` says in which format."""
        self.figure.savefig(path)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png")
        return stream.getvalue()


class Experiment:
    """Rows of one benchmark with some seeds in one folder: what `train` and `evaluate` return."""

    def __init__(self, config: Mapping[str, Any], domain: str, root: Path, device: str):
        """`config`: merged and checked; it names methods, baselines and seeds."""
        self.config, self.domain, self.root, self.device = config, domain, root, device
        self.methods: tuple[str, ...] = tuple(config["methods"])
        self.rows: tuple[str, ...] = tuple(row for row in ROWS if row in (*config["methods"], *config["baselines"]))
        self.seeds: tuple[int, ...] = tuple(config["seeds"])
        self._asked: dict[tuple[str, int], Asked] = {}

    def __repr__(self) -> str:
        return (
            f"Experiment({self.domain!r}, rows={list(self.rows)}, seeds={list(self.seeds)}, folder={str(self.root)!r})"
        )

    @property
    def results(self) -> Results:
        """Tidy frames of the experiment's runs, read anew."""
        from collm.api.frames import results

        folder, data = self.root / Places.of(self.config).results, self.root / "data"
        return results(folder, domains=[self.domain], methods=self.rows, seeds=self.seeds, data=data)

    def folder(self, method: str | None = None, seed: int | None = None) -> Path:
        """The results folder of one run; by default of the first method and seed.

        Raises:
            ConfigError: the experiment has no such run.
        """
        row = (self.methods or self.rows)[0] if method is None else method
        known("row of this experiment", row, self.rows)
        number = self.seeds[0] if seed is None else seed
        if number not in self.seeds:
            raise ConfigError(f"seed {number!r} is not part of this experiment; its seeds are {list(self.seeds)}")
        return self.root / Places.of(self.config).run(self.domain, row, number)

    def table(self, resamples: int = 10_000) -> pd.DataFrame:
        """Metrics of every row with 95 % intervals, as `Results.table`, for this benchmark alone."""
        return self.results.table(resamples)

    def curve(self) -> Picture:
        """Reward on test tasks against joint actions evaluated in training; the picture's `data` are the numbers.

        Raises:
            ConfigError: nothing of the experiment is trained.
        """
        from collm.config.job import build_domain
        from collm.report import figures
        from collm.report import results as report_results

        if not self.methods:
            raise ConfigError("baselines are not trained and have no curve; name a method")
        found = self.results
        jobs = {method: resolve_job(self.config, self.domain, method) for method in self.methods}
        records = {
            (self.domain, method, seed): {"config": job.raw} for method, job in jobs.items() for seed in self.seeds
        }
        # No evaluation is needed.
        loaded = report_results.Results(found.samples, found.curves, {}, records, {}, {}, ())
        best = build_domain(resolve_job(self.config, self.domain)).max_reward
        report = self.config["report"]
        figure = figures.learning_curves(loaded, self.domain, best, report["estimator"], report["resamples"])
        return Picture(figure, found.curves)

    def ask(self, question: str, *, method: str | None = None, seed: int | None = None, draw: int = 0) -> Answer:
        """What a trained team answers; its models stay loaded for the next question.

        Args:
            question: see `collm.ask`.
            method, seed: which run; by default the first of each.
            draw: seed of sampling and of the world.
        """
        from collm.api.ask import Asked
        from collm.api.trained import open_team

        folder = self.folder(method, seed)
        key = folder.parent.name, int(folder.name.removeprefix("seed"))
        if key not in self._asked:
            team = open_team(folder, self.root / "resources" / "models")
            self._asked[key] = Asked(team, self.device)
        return self._asked[key].ask(question, draw)

    def export(self, to: str | Path, *, method: str | None = None, seed: int | None = None) -> Path:
        """The trained team of one run as a folder that peft, vLLM and the hub understand, see `collm.export`."""
        from collm.api.export import export

        return export(self.folder(method, seed), to, models=self.root / "resources" / "models")


def train(
    domain: str,
    method: str | Sequence[str],
    *,
    seeds: Iterable[int] = (0,),
    config: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]] = (),
    folder: str | Path = ".",
    baselines: Sequence[str] | None = None,
    evaluate: bool = True,
    again: bool = False,
    callback: Callback | None = None,
    device: str = "auto",
    threads: int | None = None,
    **settings: Any,
) -> Experiment:
    """Train one method or several on a benchmark, one run a seed; what runs stand on is made where it is not there.

    A run that is finished with the same settings is not trained again, one that was interrupted goes on. What other
    settings made in `folder` is refused by name, and nothing is overwritten unless `again` says so.

    Args:
        domain: a benchmark, like "tldr".
        method: "collm_cc", or several names.
        config: configuration files or mappings laid over the default one, later ones win.
        folder: holds data, resources, checkpoints and results.
        baselines: rows without reinforcement learning to evaluate beside; None: what the methods start from.
        evaluate: also run the final evaluation, which `table` reads.
        again: make again what other settings made.
        callback: called with every line of a run's metrics.jsonl: `event` is "rollout", "update", "evaluation" or
            "warm_start"; `domain`, `method` and `seed` name the run. An error in it ends the run.
        device: auto, cpu, cuda or cuda:N.
        threads: of torch; None leaves them to torch.
        settings: of this benchmark and method, as in config/config.yaml: `options`, `team`, `rollout`, `warm_start`,
            `training={"epochs": 1}`, `evaluation`, `data`; or keys of the file itself, like `profile` or `models`.
    Raises:
        ConfigError: a key or value is not allowed.
        DataError, ModelError: the folder holds data, models or runs of other settings.
        NonFiniteLoss, NonFiniteReward: a number is NaN or infinite; what was saved before is intact.
    """
    methods = [method] if isinstance(method, str) else list(method)
    for name in methods:
        if name in BASELINES:
            raise ConfigError(
                f"{name!r} is not trained by reinforcement learning; use collm.evaluate({domain!r}, {name!r})"
            )
        known("method", name, METHODS)
    merged = configuration(domain, methods, baselines, seeds, config, settings)
    if baselines is None:
        merged = {**merged, "baselines": _starts(merged, domain, methods)}
        check_config(merged)
    made = Experiment(merged, domain, Path(folder), device)
    place = _workplace(made, again, threads)
    for name in methods:
        for seed in made.seeds:
            place.trained(domain, name, seed, _listener(callback, domain, name, seed))
    if evaluate:
        _evaluate(made, place)
    return made


def evaluate(
    domain: str,
    rows: str | Sequence[str],
    *,
    seeds: Iterable[int] = (0,),
    config: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]] = (),
    folder: str | Path = ".",
    again: bool = False,
    device: str = "auto",
    threads: int | None = None,
    **settings: Any,
) -> Experiment:
    """Play all test tasks of a benchmark with trained teams or baselines; arguments as those of `train`.

    Warm starts are trained where they are not there; a method has to be trained before.

    Args:
        rows: methods or baselines, like "parallel" or ["warm_start", "collm_cc"].
    Raises:
        ConfigError, DataError, ModelError: as `train`; a method's run is not there.
    """
    names = [rows] if isinstance(rows, str) else list(rows)
    for name in names:
        known("row", name, ROWS)
    methods, others = [name for name in names if name in METHODS], [name for name in names if name in BASELINES]
    merged = configuration(domain, methods, others, seeds, config, settings)
    made = Experiment(merged, domain, Path(folder), device)
    _evaluate(made, _workplace(made, again, threads))
    return made


def configuration(
    domain: str,
    methods: Sequence[str],
    baselines: Sequence[str] | None,
    seeds: Iterable[int],
    config: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The merged and checked configuration of an experiment.

    `settings` win over everything that files say of the benchmark or of one of the methods.
    """
    given = [config] if isinstance(config, (str, Path, Mapping)) else list(config)
    files = [part for part in given if not isinstance(part, Mapping)]
    overlays = [part for part in given if isinstance(part, Mapping)]
    if any(isinstance(part, Mapping) for part in given[: len(files)]):
        raise ConfigError("config names a mapping before a file; files come first, since later ones win")
    for part in (*read_files(files), *overlays, settings):
        plugins.load(part.get("plugins", ()))
    known("domain", domain, names())
    own = {key: value for key, value in settings.items() if key in OF_THE_DOMAIN}
    top = {key: value for key, value in settings.items() if key not in OF_THE_DOMAIN}
    if isinstance(own.get("data"), Mapping):
        top["data"] = {key: value for key, value in own["data"].items() if key in OF_ALL_DATA}
        own["data"] = {key: value for key, value in own["data"].items() if key not in OF_ALL_DATA}
    of_methods = {key: value for key, value in own.items() if key not in ("options", "data")}
    block = {**own, "methods": dict.fromkeys(methods, of_methods)} if of_methods else own
    named = {"domains": [domain], "methods": list(methods), "baselines": list(baselines or ()), "seeds": list(seeds)}
    merged = load_config([shipped.config_file(), *files], *overlays, {**top, "domain": {domain: block}, **named})
    if variants.names(merged):
        raise ConfigError(
            "variants are an axis of the workflow (snakemake); from Python give each its own `name` and call train for "
            f"each: {', '.join(variants.names(merged))}"
        )
    return merged


def _starts(config: Mapping[str, Any], domain: str, methods: Sequence[str]) -> list[str]:
    """Rows that methods start from: warm starts, or where those are disabled the untrained ones."""
    rows = []
    for method in methods:
        warm = starts_from(method, resolve_job(config, domain, method).warm_start.enabled)
        rows.append(warm or ("raw" if ROWS[method].single else "parallel"))
    return list(dict.fromkeys(rows))


def _workplace(made: Experiment, again: bool, threads: int | None) -> Any:
    from collm.api.workplace import Workplace

    return Workplace(made.config, made.root, again, made.device, threads)


def _evaluate(made: Experiment, place: Any) -> None:
    from collm.methods.registry import WARM_STARTS

    for row in made.rows:
        for seed in made.seeds:
            if row in WARM_STARTS:
                place.warm_started(made.domain, row, seed)
            place.evaluated(made.domain, row, seed)


def _listener(callback: Callback | None, domain: str, method: str, seed: int) -> Callback | None:
    if callback is None:
        return None
    facts = {"domain": domain, "method": method, "seed": seed}
    return lambda row: callback({**facts, **row})
