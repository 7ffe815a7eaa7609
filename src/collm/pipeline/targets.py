"""Files of the workflow: what a job reads and writes, and what tables and figures are made from.

Paths are relative to the folder of a run, as Snakemake compares them; `Places` says where an experiment or a variant
has its own. Functions take a merged configuration where they speak of many jobs, those of all its variants if it has
some, and resolved settings (`resolve.resolve_settings`) where they speak of one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError
from collm.config.resolve import resolve_settings, rows, starts_from
from collm.config.variants import names as variant_names
from collm.methods.registry import METHODS, UNTRAINED, WARM_STARTS
from collm.pipeline import machine, variants
from collm.pipeline.places import Places

SUFFIXES = ("png", "svg", "txt")  # of every figure; txt: its caption
WORLDS = ("str_build", "house_build")  # domains whose final worlds are drawn
REPORT = "collm.report"
BESIDE_REPORT = ("methods/registry.py", "report/paper_results.csv", "runs/health.py", "runs/health_remarks.py")
TABLE, EPISODES, PAGE = "tables/main.csv", "episodes.html", "report.html"  # below the results of a variant
CLAIMS = ("results/tables/claims.csv", "results/figures/claims.png", "results/figures/profiles.png")
STUDY = "docs/study"
HERE = Places()  # of an experiment without name and variants


def data_files(domain: str, places: Places = HERE) -> list[str]:
    """Both splits and the manifest of a domain."""
    return [f"{places.data(domain)}/{name}" for name in ("manifest.json", "train.jsonl", "test.jsonl")]


def embedded_rows(config: Mapping[str, Any], domain: str, root: Path = Path(".")) -> list[str]:
    """Rows of a domain that ship with the project, where the configured source reads them."""
    file = Path("src/collm/domains/embedded") / f"{domain}.jsonl"
    return [str(file)] if config["data"]["source"] == "embedded" and (root / file).is_file() else []


def model_file(domain: str, name: str, spec: Mapping[str, Any], places: Places = HERE) -> str:
    """Description of a prepared model: models made from scratch belong to a domain, the others are shared."""
    place = f"{domain}/{name}" if spec["source"] == "scratch" else name
    return f"{places.models(domain)}/{place}/model.json"


def model_files(settings: Mapping[str, Any], places: Places = HERE) -> list[str]:
    """Descriptions of the models of a job, by name."""
    return [model_file(settings["domain"], name, spec, places) for name, spec in settings["models"].items()]


def models_of_jobs(jobs: Iterable[Mapping[str, Any]], places: Places = HERE) -> list[str]:
    """Descriptions of the models of several jobs, each once, sorted."""
    return sorted({file for settings in jobs for file in model_files(settings, places)})


def start_files(settings: Mapping[str, Any], seed: int | str, places: Places = HERE) -> list[str]:
    """Warm-started adapters, where the job's method starts from them."""
    start = starts_from(settings["method"], settings["warm_start"]["enabled"])
    return adapter_files(settings["domain"], [start], seed, places) if start else []


def adapter_files(domain: str, methods: Iterable[str], seed: int | str, places: Places = HERE) -> list[str]:
    """Adapters of the rows of a domain that have some; untrained ones have none."""
    return [f"{places.trained(domain, method, seed)}/adapters" for method in methods if method not in UNTRAINED]


def result_names(method: str) -> list[str]:
    """Files of a run that tables and figures read; only methods of reinforcement learning have curves."""
    return ["samples.jsonl", "evaluation.json", *(["metrics.jsonl"] if method in METHODS else [])]


def result_files(config: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    """What the tables and figures of some domains are made from: manifests, then the files of every run."""
    domains = list(domains)
    files: list[str] = []
    for own in variants.each(config).values():
        places = Places.of(own)
        runs = [(domain, row, seed) for domain in domains for row in rows(own, domain) for seed in own["seeds"]]
        files += (f"{places.data(domain)}/manifest.json" for domain in domains)
        files += (f"{places.run(*run)}/{name}" for run in runs for name in result_names(run[1]))
    return list(dict.fromkeys(files))


def sample_files(config: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    """Final samples of some domains."""
    return [file for file in result_files(config, domains) if file.endswith("/samples.jsonl")]


def figure_files(config: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    """Figures of some domains, as PNG and SVG, with captions; of several variants, also those that show all of them."""
    domains = list(domains)
    kinds = {domain: ("curves", "bars", "health", *(["worlds"] if domain in WORLDS else [])) for domain in domains}
    return [
        *(
            f"{Places.of(own).results}/figures/{kind}_{domain}.{suffix}"
            for own in variants.each(config).values()
            for domain in domains
            for kind in kinds[domain]
            for suffix in SUFFIXES
        ),
        *comparison_files(config, domains),
    ]


def comparison_files(config: Mapping[str, Any], domains: Iterable[str], kind: str = "figures") -> list[str]:
    """What shows variants beside each other: tables, or figures of some domains; nothing if there is one or none."""
    folder = Places.of(config).comparison
    if len(variant_names(config)) < 2:
        return []
    if kind == "tables":
        return [f"{folder}/tables/variants.{suffix}" for suffix in ("md", "csv")]
    return [f"{folder}/figures/variants_{domain}.{suffix}" for domain in domains for suffix in SUFFIXES]


def shown_files(config: Mapping[str, Any]) -> list[str]:
    """What a run is for: tables, figures and pages of every variant, and what compares them."""
    pages = [
        f"{Places.of(own).results}/{file}" for own in variants.each(config).values() for file in (TABLE, EPISODES, PAGE)
    ]
    domains = config["domains"]
    return [*pages, *figure_files(config, domains), *comparison_files(config, domains, "tables")]


def study_files(root: Path = Path(".")) -> list[str]:
    """The small files of a study that are there; claims whose runs they lack are shown as not run."""
    return sorted(str(file.relative_to(root)) for file in (root / STUDY).glob("*.csv"))


def report_files(config: Mapping[str, Any], root: Path = Path(".")) -> list[str]:
    """Tables and figures of the configuration that are there, with those of claims: what a report can show.

    Raises:
        ConfigError: there are none.
    """
    files = [f"{Places.of(own).results}/{TABLE}" for own in variants.each(config).values()]
    files += [file for file in figure_files(config, config["domains"]) if file.endswith(".png")]
    present = [file for file in files if (root / file).is_file()]
    if not present:
        raise ConfigError(
            f"no table or figure of {', '.join(config['domains'])} is there for a report: run snakemake first, or name "
            'the configuration of the run, make report CONFIG="config/config.yaml mine.yaml"'
        )
    return [*present, *(file for file in CLAIMS if (root / file).is_file())]


def all_rows(config: Mapping[str, Any]) -> list[str]:
    """Methods and baselines of the configuration, whether or not a domain has them all (see `resolve.rows`)."""
    return [*config["methods"], *config["baselines"]]


def all_models(config: Mapping[str, Any]) -> list[str]:
    """Descriptions of the models of all jobs."""
    files: set[str] = set()
    for own in variants.each(config).values():
        jobs = [(domain, row) for domain in own["domains"] for row in rows(own, domain)]
        files |= {*models_of_jobs((resolve_settings(own, domain, row) for domain, row in jobs), Places.of(own))}
    return sorted(files)


def all_manifests(config: Mapping[str, Any]) -> list[str]:
    """Manifests of the data of all domains."""
    each = variants.each(config).values()
    return list(dict.fromkeys(data_files(domain, Places.of(own))[0] for own in each for domain in own["domains"]))


def all_trained(config: Mapping[str, Any]) -> list[str]:
    """run.json of all methods in all domains and seeds."""
    each = variants.each(config).values()
    return [file for own in each for file in _records(own, dict.fromkeys(own["domains"], own["methods"]))]


def all_warm_starts(config: Mapping[str, Any]) -> list[str]:
    """run.json of all warm starts that a row is or starts from."""
    each = variants.each(config).values()
    needed = [(own, {domain: needed_warm_starts(own, domain) for domain in own["domains"]}) for own in each]
    return list(dict.fromkeys(file for own, names in needed for file in _records(own, names)))


def needed_warm_starts(config: Mapping[str, Any], domain: str) -> list[str]:
    """Warm starts that a domain's methods start from or that have a row of their own: of the team, of one agent."""
    jobs = {method: resolve_settings(config, domain, method) for method in config["methods"]}
    starts = {starts_from(method, settings["warm_start"]["enabled"]) for method, settings in jobs.items()}
    return [name for name in WARM_STARTS if name in starts | set(rows(config, domain))]


def evaluated_together(config: Mapping[str, Any]) -> list[str]:
    """Domains whose rows are evaluated by one job: in all variants it can play every row."""
    names = all_rows(config)
    each = variants.each(config).values()
    return [
        domain
        for domain in config["domains"]
        if all(rows(own, domain) == names for own in each)
        and all(machine.in_one_process([resolve_settings(own, domain, row) for row in names]) for own in each)
    ]


@dataclass(frozen=True)
class TrainingJobs:
    """Jobs that train several runs each, alike in what they join: all of some methods, all seeds, or both.

    Attributes:
        name: of the jobs, as files and rules have it.
        domains: whose training they are.
        methods: those that a job trains; none: there is a job for every method.
        seeds: the same of seeds.
    """

    name: str
    domains: tuple[str, ...]
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def joined(self) -> dict[str, tuple[Any, ...]]:
        """By wildcard what a job has all of, in the order of its runs."""
        parts: dict[str, tuple[Any, ...]] = {"method": self.methods, "seed": self.seeds}
        return {name: values for name, values in parts.items() if values}

    @property
    def place(self) -> str:
        """What is left of the path of a run's log or times, with the name of the jobs in place of what is joined."""
        parts = ["{domain}", *([] if self.methods else ["{method}"]), self.name]
        return "/".join([*parts, *([] if self.seeds else ["seed{seed}"])])

    @property
    def flat_place(self) -> str:
        """The same as one name, not folders."""
        return self.place.replace("/", "_")

    def runs(self, method: str | None, seed: int | str | None) -> list[tuple[str, int | str]]:
        """Method and seed of every run of a job, given its wildcards; None for one that it lacks."""
        methods, seeds = self.methods or (str(method),), self.seeds or (seed if seed is not None else 0,)
        return [(name, number) for name in methods for number in seeds]


def training_jobs(config: Mapping[str, Any]) -> list[TrainingJobs]:
    """All jobs that train several runs: as `training.together` says, and short runs as it suits them.

    Raises:
        ConfigError: variants say different things of what is to be trained in one process.
    """
    methods, seeds = tuple(config["methods"]), tuple(config["seeds"])
    of_kind: dict[str, list[str]] = {}
    for domain in config["domains"] if methods else ():
        of_kind.setdefault(_together(config, domain), []).append(domain)
    parts: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        "seeds": ((), seeds),
        "methods": (methods, ()),
        "all": (methods, seeds),
    }
    made = [
        TrainingJobs(f"together_{kind}", tuple(of_kind[kind]), *part)
        for kind, part in parts.items()
        if kind in of_kind and max(map(len, part)) > 1
    ]
    if short := trained_together(config):
        made += [
            TrainingJobs(f"together_{number}", tuple(short), tuple(share))
            for number, share in enumerate(shares(config["methods"]))
        ]
    return made


def _together(config: Mapping[str, Any], domain: str) -> str:
    """What `training.together` is for a domain, in all variants."""
    kinds: dict[str, str] = {}
    for name, own in variants.each(config).items():
        kind = resolve_settings(own, domain, own["methods"][0])["training"]["together"] if own["methods"] else "none"
        if kind != "none" and (own["methods"], own["seeds"]) != (config["methods"], config["seeds"]):
            raise ConfigError(
                f"{domain}: training.together is {kind}, and variant {name} has methods or seeds of its own; a job "
                "trains the same of each: give all variants the same ones, or set training.together to none"
            )
        kinds[kind] = name
    if len(kinds) > 1:
        said = ", ".join(f"{kind} in variant {name}" for kind, name in kinds.items())
        raise ConfigError(f"{domain}: training.together is {said}; set it once for all variants")
    return next(iter(kinds))


def trained_together(config: Mapping[str, Any]) -> list[str]:
    """Domains whose training runs of a seed are two jobs (see `shares`): all are short, one process can do several, and
    `training.together` says nothing else.

    Where runs are longer, a start hardly counts, and many jobs fill the cores better than few, in all variants.
    """
    names = config["methods"]
    each = variants.each(config).values()

    def fit(domain: str, own: Mapping[str, Any]) -> bool:
        jobs = [resolve_settings(own, domain, name) for name in names]
        fitting = all(machine.short(job) and job["training"]["together"] == "none" for job in jobs)
        return machine.in_one_process(jobs) and fitting

    return [domain for domain in config["domains"] if len(names) > 2 and all(fit(domain, own) for own in each)]


def shares(methods: Sequence[str]) -> list[list[str]]:
    """Methods in two parts that take about the same time; critics cost most. Two, so that two cores are busy."""
    cost = {None: 0, "joint": 1, "local": 2}
    costly_first = sorted(methods, key=lambda name: (-cost[METHODS[name].critics], methods.index(name)))
    first = [name for place, name in enumerate(costly_first) if place % 4 in (0, 3)]
    return [first, [name for name in costly_first if name not in first]]


def report_modules(script: str, source: Path) -> list[str]:
    """Source files that tables or figures depend on, found by reading the imports and running nothing.

    They are the script, every module of `collm.report` that it imports, directly or not, the parts of pages beside them
    (`static`), and `BESIDE_REPORT`: the table of rows (names, labels and their order), the paper's numbers, what is
    remarked on a run's health. Left out on purpose are `collm.config`, `collm.domains` and `collm.common`: any comment
    there would draw everything again, and what they decide reaches a report through result files and settings. Only a
    changed label or title of a metric needs `--forcerun tables figure`.

    Args:
        script: file name below `source`, e.g. make_tables.py.
        source: the folder src/.

    Returns:
        Paths that start with the name of `source`, sorted; the script comes first.
    """
    modules: set[str] = set()
    waiting = _report_imports(source / script, source)
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules.add(name)
            waiting |= _report_imports(_file_of(name, source), source)
    files = {_file_of(name, source) for name in modules}
    files |= {file for folder in {file.parent for file in files} for file in folder.glob("static/*")}
    files |= {source / "collm" / name for name in BESIDE_REPORT}
    return [str(file.relative_to(source.parent)) for file in (source / script, *sorted(files))]


def _records(config: Mapping[str, Any], methods: Mapping[str, Sequence[str]]) -> list[str]:
    runs = [(domain, name, seed) for domain, names in methods.items() for name in names for seed in config["seeds"]]
    return [f"{Places.of(config).trained(*run)}/run.json" for run in runs]


def _file_of(module: str, source: Path) -> Path:
    return source / f"{module.replace('.', '/')}.py"


def _report_imports(file: Path, source: Path) -> set[str]:
    """Modules of `collm.report` that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{REPORT}."):
            package = not _file_of(node.module, source).is_file()
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if package else {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(f"{REPORT}.")}
    return names
