"""Configuration check, what each stage depends on, and how much of a machine it needs."""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))

from collm.common.errors import ConfigError
from collm.common.files import write_json
from collm.config.load import check_config
from collm.config.resolve import model_spec, resolve_settings, rows, starts_from
from collm.methods.registry import UNTRAINED, WARM_STARTS

# Stages are called as `python`: the one that runs Snakemake, unless a rule's own environment comes first.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.getenv("PATH", os.defpath)]))

# `--config seeds=[0,1]` gives a list whose entries are text.
if isinstance(config.get("seeds"), list):
    config["seeds"] = [int(seed) if str(seed).isdigit() else seed for seed in config["seeds"]]

try:
    check_config(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None


# What a stage depends on, as keys of a job's resolved settings (a block stands for all its keys). A job runs again
# only if one of these changes; everything else reaches it through its input files.
PLAYED = ["profile", "semantics", "options", "team", "rollout"]
WATCHED = ["evaluation.tasks_during", "evaluation.samples_during", "evaluation.examples"]
DEPENDS = {
    "data": ["data", "options", "profile", "team.num_agents"],
    "scratch_model": ["revision", "options", "team.num_agents"],
    "warm_start": ["revision", *PLAYED, *WATCHED, "warm_start"],
    "train": ["revision", *PLAYED, *WATCHED, "evaluation.every", "training", "warm_start.enabled"],
    "evaluate": [*PLAYED, "evaluation.samples", "evaluation.latency_tasks"],
}
# Keys inside those blocks that do not change what the stage computes.
MEMORY_KNOBS = {
    "rollout.max_rows",
    "rollout.vllm_memory",
    "training.micro_batch_tokens",
    "training.gradient_checkpointing",
    "training.offload_optimiser",
}
BOOKKEEPING = {"training.checkpoint_every", "training.keep_checkpoints"}
OF_TRAINING = {"team.critic", "rollout.generations", "rollout.discount", "rollout.joint_mode"}
NEUTRAL = {
    "train": MEMORY_KNOBS | BOOKKEEPING,
    "warm_start": MEMORY_KNOBS | OF_TRAINING | {"warm_start.enabled"},
    "evaluate": MEMORY_KNOBS | OF_TRAINING,
}
# Per source of the largest model: memory in MB and minutes of a training job; attempts multiply both.
MEMORY = {"scratch": 2_000, "wheel": 6_000, "folder": 24_000, "hub": 32_000}
MINUTES = {"scratch": 60, "wheel": 720, "folder": 720, "hub": 1_440}
# Factor for team.adapter full: optimiser states of every copy.
MEMORY_OF_WHOLE_MODELS = 3
# Snakemake cuts this to --cores, a cluster's profile to its max-threads.
ALL_THREADS = 64

TABLES = (
    "main.csv",
    "rewards.csv",
    "differences.csv",
    "curves.csv",
    "main.md",
    "main.tex",
    "overview.md",
    "metrics.json",
)
WORLDS = ("str_build", "house_build")  # domains whose final worlds are drawn
SHARED_MODULES = (
    "collm/report/results.py",
    "collm/report/tables.py",
    "collm/report/statistics.py",
    "collm/report/paper.py",
    "collm/report/paper_results.csv",
)
TABLE_MODULES = ("make_tables.py", "collm/report/table_text.py", *SHARED_MODULES)
FIGURE_MODULES = ("make_figures.py", "collm/report/figures.py", "collm/report/str_build_worlds.py", "collm/report/house_build_worlds.py", *SHARED_MODULES)


# Written when jobs start, not by a rule: a rule would have every job below it run again when any key changes. Jobs
# name the keys they depend on in `params`; this file only carries the values.
# Without a limit on submissions Snakemake looks for work when a job ends. With its default limit every such look starts
# a further timer of one second that goes on to the end: after 150 jobs that took a core. Clusters keep their limit.
onstart:
    write_json("results/config.json", config)
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


wildcard_constraints:
    domain="|".join(config["domains"]),
    method="|".join([*config["methods"], *config["baselines"], *WARM_STARTS]),
    seed=r"\d+",
    model="|".join(map(re.escape, config["models"])),


@cache
def job_settings(domain: str, method: str = "warm_start") -> dict:
    """Resolved settings of one job."""
    return resolve_settings(config, domain, method)


def flat(value: dict, prefix: str = "") -> dict:
    """Nested mappings as one with dotted keys."""
    result = {}
    for key, part in value.items():
        name = f"{prefix}{key}"
        result.update(flat(part, f"{name}.") if isinstance(part, dict) else {name: part})
    return result


def get_dependencies(stage: str, domain: str, method: str = "warm_start") -> dict:
    """The settings that `stage` depends on, with dotted keys: Snakemake compares them and says which one changed."""
    neutral = NEUTRAL.get(stage, set())
    return {
        key: value
        for key, value in flat(job_settings(domain, method)).items()
        if key not in neutral and any(key == part or key.startswith(f"{part}.") for part in DEPENDS[stage])
    }


def is_warm_started(domain: str, method: str = "warm_start") -> bool:
    """Whether a method of a domain starts from fine-tuned adapters."""
    return job_settings(domain, method)["warm_start"]["enabled"]


def get_rows(domain: str) -> list[str]:
    """Methods and baselines that have a row in the tables of a domain."""
    return rows(config, domain)


def get_sources(domain: str, method: str = "warm_start") -> set[str]:
    """Sources of the models that a job uses."""
    return {spec["source"] for spec in job_settings(domain, method)["models"].values()}


ROWS = [*config["methods"], *config["baselines"]]
# Domains whose rows are evaluated by one job: nothing but models made from scratch.
EVALUATED_TOGETHER = [
    domain
    for domain in config["domains"]
    if get_rows(domain) == ROWS and all(get_sources(domain, row) == {"scratch"} for row in ROWS)
]


def any_of(names) -> str:
    """A regular expression that matches these names, and nothing if there are none."""
    return "|".join(sorted(names)) or "(?!)"


def get_largest(sizes: dict[str, int], wildcards) -> int:
    """The largest of `sizes` over the models of a job."""
    return max(
        sizes[source] for source in get_sources(wildcards.domain, wildcards.get("method", "warm_start"))
    )


def get_gpu(wildcards) -> int:
    """GPUs of a job: none for models made from scratch, they are too small for one to pay."""
    return int(get_sources(wildcards.domain, wildcards.get("method", "warm_start")) != {"scratch"})


def get_threads(wildcards) -> int:
    """Threads of a job: one for small models, so that jobs run side by side; all for the others."""
    return ALL_THREADS if get_gpu(wildcards) else 1


def get_memory(wildcards, attempt: int) -> int:
    """MB of main memory, more with every attempt."""
    team = job_settings(wildcards.domain, wildcards.get("method", "warm_start"))["team"]
    factor = MEMORY_OF_WHOLE_MODELS if team["adapter"] == "full" else 1
    return attempt * factor * get_largest(MEMORY, wildcards)


def get_runtime(wildcards, attempt: int) -> int:
    """Minutes, more with every attempt."""
    return attempt * get_largest(MINUTES, wildcards)


def get_data(wildcards) -> list[str]:
    """Both splits and the manifest of a domain."""
    return [f"data/{wildcards.domain}/{name}" for name in ("manifest.json", "train.jsonl", "test.jsonl")]


def get_model(domain: str, name: str) -> str:
    """Description of a prepared model: models made from scratch belong to a domain, the others are shared."""
    scratch = config["models"][name]["source"] == "scratch"
    return (
        f"resources/models/{domain}/{name}/model.json" if scratch else f"resources/models/{name}/model.json"
    )


def get_models(wildcards) -> list[str]:
    """Descriptions of the models of a job."""
    names = job_settings(wildcards.domain, wildcards.get("method", "warm_start"))["models"]
    return [get_model(wildcards.domain, name) for name in names]


def get_modules(*names: str) -> list[str]:
    """Source files that a cheap stage depends on; training names `revision` instead (see config.yaml)."""
    return [str(SOURCE.relative_to(workflow.basedir) / name) for name in names]


def get_run(domain: str, method: str, seed: int) -> str:
    """Folder of the results of one run."""
    return f"results/{domain}/{method}/seed{seed}"


def get_embedded(wildcards) -> list[str]:
    """Rows that ship with the project, for the source that reads them."""
    if config["data"]["source"] != "embedded":
        return []
    return [str(path) for path in Path("src/collm/domains/embedded").glob(f"{wildcards.domain}.jsonl")]


def get_data_settings(wildcards) -> dict:
    """What the data stage depends on."""
    return get_dependencies("data", wildcards.domain)


def get_model_settings(wildcards) -> dict:
    """What a model made from scratch depends on."""
    return {
        **get_dependencies("scratch_model", wildcards.domain),
        **placed_anywhere(model_spec(config, wildcards.model, wildcards.domain)),
    }


def get_model_spec(wildcards) -> dict:
    """What a pretrained model depends on."""
    return placed_anywhere(config["models"][wildcards.model])


def placed_anywhere(spec: dict) -> dict:
    """A model's specification with dotted keys, without where a run puts it."""
    return {key: value for key, value in flat(spec).items() if key != "device_map"}


def get_warm_start_settings(wildcards) -> dict:
    """What the warm start depends on."""
    return get_dependencies("warm_start", wildcards.domain, wildcards.method)


def get_warm_starts() -> list[str]:
    """Warm starts that the configured methods and baselines need: of the team, of one agent alone."""
    needed = {starts_from(method, True) for method in config["methods"]} | set(config["baselines"])
    return [
        name for name in WARM_STARTS if name in needed or (name == "warm_start" and not config["methods"])
    ]


def get_start(wildcards) -> list[str]:
    """Warm-started adapters, where the method starts from them."""
    start = starts_from(wildcards.method, is_warm_started(wildcards.domain, wildcards.method))
    return [f"{get_run(wildcards.domain, start, wildcards.seed)}/adapters"] if start else []


def get_train_settings(wildcards) -> dict:
    """What training depends on."""
    return get_dependencies("train", wildcards.domain, wildcards.method)


def get_adapters(wildcards) -> list[str]:
    """Adapters of the team; untrained ones have none."""
    if wildcards.method in UNTRAINED:
        return []
    return [f"{get_run(wildcards.domain, wildcards.method, wildcards.seed)}/adapters"]


def get_evaluate_settings(wildcards) -> dict:
    """What the evaluation depends on."""
    return get_dependencies("evaluate", wildcards.domain, wildcards.method)


def get_models_of_rows(wildcards) -> list[str]:
    """Descriptions of the models of all rows of a domain."""
    names = {name for row in ROWS for name in job_settings(wildcards.domain, row)["models"]}
    return [get_model(wildcards.domain, name) for name in sorted(names)]


def get_adapters_of_rows(wildcards) -> list[str]:
    """Adapters of all rows of a domain that have some."""
    trained = [row for row in ROWS if row not in UNTRAINED]
    return [f"{get_run(wildcards.domain, row, wildcards.seed)}/adapters" for row in trained]


def get_evaluate_settings_of_rows(wildcards) -> dict:
    """What the evaluation of all rows of a domain depends on."""
    return {row: get_dependencies("evaluate", wildcards.domain, row) for row in ROWS}


def get_tables() -> list[str]:
    """Tables over all domains."""
    return [f"results/tables/{name}" for name in TABLES]


def get_report_settings() -> dict:
    """What tables and figures depend on beside result files."""
    return {key: config["report"][key] for key in ("estimator", "resamples")}


def get_figures(domains: list[str]) -> list[str]:
    """Figures of some domains, as PNG and SVG."""
    kinds = {domain: ["curves", "bars", *(["worlds"] if domain in WORLDS else [])] for domain in domains}
    return [
        f"results/figures/{kind}_{domain}.{suffix}"
        for domain in domains
        for kind in kinds[domain]
        for suffix in ("png", "svg")
    ]


def get_results(domains: list[str]) -> list[str]:
    """What the tables and figures of some domains are made from."""
    files = [f"data/{domain}/manifest.json" for domain in domains]
    for domain in domains:
        for method in get_rows(domain):
            names = [
                "samples.jsonl",
                "evaluation.json",
                *(["metrics.jsonl"] if method in config["methods"] else []),
            ]
            files += [f"{get_run(domain, method, seed)}/{name}" for seed in config["seeds"] for name in names]
    return files


def get_results_of_domain(wildcards) -> list[str]:
    """The same for the domain of a job."""
    return get_results([wildcards.domain])


def get_all_models() -> list[str]:
    """Models of all jobs."""
    rows = [(domain, method) for domain in config["domains"] for method in get_rows(domain)]
    return sorted(
        {get_model(domain, name) for domain, row in rows for name in job_settings(domain, row)["models"]}
    )


def get_all_runs(methods: list[str]) -> list[str]:
    """run.json of some methods in all domains and seeds, as far as the configuration has them."""
    return [
        f"{get_run(domain, method, seed)}/run.json"
        for domain in config["domains"]
        for method in methods
        for seed in config["seeds"]
        if method not in WARM_STARTS or is_warm_started(domain, method)
    ]


def get_samples(domains: list[str]) -> list[str]:
    """Final samples of some domains."""
    runs = [
        get_run(domain, row, seed)
        for domain in domains
        for row in get_rows(domain)
        for seed in config["seeds"]
    ]
    return [f"{run}/samples.jsonl" for run in runs]
