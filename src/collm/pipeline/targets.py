"""Files of the workflow: what a job reads and writes, and what tables and figures are made from.

Paths are relative to the repository, as Snakemake compares them. Functions take a merged configuration where they
speak of many jobs, and resolved settings (`resolve.resolve_settings`) where they speak of one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError
from collm.config.resolve import resolve_settings, rows, starts_from
from collm.methods.registry import METHODS, UNTRAINED, WARM_STARTS
from collm.pipeline import machine

WORLDS = ("str_build", "house_build")  # domains whose final worlds are drawn
REPORT = "collm.report"
BESIDE_REPORT = ("methods/registry.py", "report/paper_results.csv", "runs/health.py", "runs/health_remarks.py")
TABLE = "results/tables/main.csv"
EPISODES = "results/episodes.html"
PAGE = "results/report.html"
CLAIMS = ("results/tables/claims.csv", "results/figures/claims.png", "results/figures/profiles.png")
STUDY = "docs/study"


def run_folder(domain: str, method: str, seed: int | str) -> str:
    """Folder of the results of one run."""
    return f"results/{domain}/{method}/seed{seed}"


def data_files(domain: str) -> list[str]:
    """Both splits and the manifest of a domain."""
    return [f"data/{domain}/{name}" for name in ("manifest.json", "train.jsonl", "test.jsonl")]


def embedded_rows(config: Mapping[str, Any], domain: str, root: Path = Path(".")) -> list[str]:
    """Rows of a domain that ship with the project, where the configured source reads them."""
    file = Path("src/collm/domains/embedded") / f"{domain}.jsonl"
    return [str(file)] if config["data"]["source"] == "embedded" and (root / file).is_file() else []


def model_file(domain: str, name: str, spec: Mapping[str, Any]) -> str:
    """Description of a prepared model: models made from scratch belong to a domain, the others are shared."""
    place = f"{domain}/{name}" if spec["source"] == "scratch" else name
    return f"resources/models/{place}/model.json"


def model_files(settings: Mapping[str, Any]) -> list[str]:
    """Descriptions of the models of a job, by name."""
    return [model_file(settings["domain"], name, spec) for name, spec in settings["models"].items()]


def models_of_jobs(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Descriptions of the models of several jobs, each once, sorted."""
    return sorted({file for settings in jobs for file in model_files(settings)})


def start_files(settings: Mapping[str, Any], seed: int | str) -> list[str]:
    """Warm-started adapters, where the job's method starts from them."""
    start = starts_from(settings["method"], settings["warm_start"]["enabled"])
    return [f"{run_folder(settings['domain'], start, seed)}/adapters"] if start else []


def adapter_files(domain: str, methods: Iterable[str], seed: int | str) -> list[str]:
    """Adapters of the rows of a domain that have some; untrained ones have none."""
    return [f"{run_folder(domain, method, seed)}/adapters" for method in methods if method not in UNTRAINED]


def result_names(method: str) -> list[str]:
    """Files of a run that tables and figures read; only methods of reinforcement learning have curves."""
    return ["samples.jsonl", "evaluation.json", *(["metrics.jsonl"] if method in METHODS else [])]


def result_files(config: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    """What the tables and figures of some domains are made from: manifests, then the files of every run."""
    domains = list(domains)
    runs = [(domain, row, seed) for domain in domains for row in rows(config, domain) for seed in config["seeds"]]
    return [
        *(f"data/{domain}/manifest.json" for domain in domains),
        *(f"{run_folder(*run)}/{name}" for run in runs for name in result_names(run[1])),
    ]


def sample_files(config: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    """Final samples of some domains."""
    return [file for file in result_files(config, domains) if file.endswith("/samples.jsonl")]


def figure_files(domains: Iterable[str]) -> list[str]:
    """Figures of some domains, as PNG and SVG."""
    return [
        f"results/figures/{kind}_{domain}.{suffix}"
        for domain in domains
        for kind in ("curves", "bars", "health", *(["worlds"] if domain in WORLDS else []))
        for suffix in ("png", "svg")
    ]


def study_files(root: Path = Path(".")) -> list[str]:
    """The small files of a study that are there; claims whose runs they lack are shown as not run."""
    return sorted(str(file.relative_to(root)) for file in (root / STUDY).glob("*.csv"))


def report_files(config: Mapping[str, Any], root: Path = Path(".")) -> list[str]:
    """Tables and figures of the configuration that are there, with those of claims: what a report can show.

    Raises:
        ConfigError: there are none.
    """
    files = [TABLE, *(file for file in figure_files(config["domains"]) if file.endswith(".png"))]
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
    jobs = [(domain, row) for domain in config["domains"] for row in rows(config, domain)]
    return models_of_jobs(resolve_settings(config, domain, row) for domain, row in jobs)


def all_trained(config: Mapping[str, Any]) -> list[str]:
    """run.json of all methods in all domains and seeds."""
    return _records(config, {domain: config["methods"] for domain in config["domains"]})


def all_warm_starts(config: Mapping[str, Any]) -> list[str]:
    """run.json of all warm starts that a row is or starts from."""
    return _records(config, {domain: needed_warm_starts(config, domain) for domain in config["domains"]})


def needed_warm_starts(config: Mapping[str, Any], domain: str) -> list[str]:
    """Warm starts that a domain's methods start from or that have a row of their own: of the team, of one agent."""
    jobs = {method: resolve_settings(config, domain, method) for method in config["methods"]}
    starts = {starts_from(method, settings["warm_start"]["enabled"]) for method, settings in jobs.items()}
    return [name for name in WARM_STARTS if name in starts | set(rows(config, domain))]


def evaluated_together(config: Mapping[str, Any]) -> list[str]:
    """Domains whose rows are evaluated by one job: they have every row, and one process can play them all."""
    names = all_rows(config)
    return [
        domain
        for domain in config["domains"]
        if rows(config, domain) == names
        and machine.in_one_process([resolve_settings(config, domain, row) for row in names])
    ]


def trained_together(config: Mapping[str, Any]) -> list[str]:
    """Domains whose training runs of a seed are two jobs (see `shares`): all are short, one process can do several.

    Where runs are longer, a start hardly counts, and many jobs fill the cores better than few.
    """
    names = config["methods"]
    jobs = {domain: [resolve_settings(config, domain, name) for name in names] for domain in config["domains"]}
    return [
        domain
        for domain, each in jobs.items()
        if len(names) > 2 and machine.in_one_process(each) and all(machine.short(settings) for settings in each)
    ]


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
    waiting = _report_imports(source / script)
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules.add(name)
            waiting |= _report_imports(_file_of(name, source))
    files = {_file_of(name, source) for name in modules}
    files |= {file for folder in {file.parent for file in files} for file in folder.glob("static/*")}
    files |= {source / "collm" / name for name in BESIDE_REPORT}
    return [str(file.relative_to(source.parent)) for file in (source / script, *sorted(files))]


def _records(config: Mapping[str, Any], methods: Mapping[str, Sequence[str]]) -> list[str]:
    runs = [(domain, name, seed) for domain, names in methods.items() for name in names for seed in config["seeds"]]
    return [f"{run_folder(*run)}/run.json" for run in runs]


def _file_of(module: str, source: Path) -> Path:
    return source / f"{module.replace('.', '/')}.py"


def _report_imports(file: Path) -> set[str]:
    """Modules of `collm.report` that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == REPORT:
            names |= {f"{REPORT}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{REPORT}."):
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(f"{REPORT}.")}
    return names
