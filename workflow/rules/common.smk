"""Configuration check, and adapters between Snakemake's wildcards and `collm.pipeline`, where the answers are."""

import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

SOURCE = ROOT / "src"
sys.path.insert(0, str(SOURCE))

from collm.common import file_times
from collm.common.errors import ConfigError
from collm.config import plugins, snapshot
from collm.config.load import check_config, check_files
from collm.config.read_files import read_files
from collm.config.resolve import merge, model_spec, resolve_settings
from collm.config.trackers import check_tracker
from collm.methods.registry import WARM_STARTS
from collm.pipeline import code_version, console, dependencies, failures, machine, targets, variants
from collm.pipeline.jobs import WorkflowJob, results_of
from collm.pipeline.places import Places

# Stages are called as `python`: the one that runs Snakemake, unless a rule's own environment comes first.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.getenv("PATH", os.defpath)]))

# A workflow that uses this one as a `module` gives its own configuration, which may hold differences only, as an overlay.
AS_MODULE = Path(str(workflow.main_snakefile)).resolve().parent != ROOT
if AS_MODULE:
    if workflow.modifier.path_modifier.prefix or hasattr(workflow, "collm_root"):
        raise WorkflowError(
            "as a module this workflow takes no `prefix` and is used once: its scripts write where they are told by "
            "`name` of its configuration, which puts results, checkpoints and logs into folders of their own"
        )
    workflow.collm_root = ROOT
    whole = merge(*read_files([ROOT / "config/config.yaml"]), config)
    config.clear()
    config.update(whole)

# `--config seeds=[0,1]` gives a list whose entries are text.
if isinstance(config.get("seeds"), list):
    config["seeds"] = [int(seed) if str(seed).isdigit() else seed for seed in config["seeds"]]

# Jobs read the settings of the run that planned them, from a file that no other run changes. Its name travels in the
# environment, not in `params`: they name the keys that a job depends on, and the others run nothing again.
# A process that Snakemake starts for one job, on a node of a cluster say, takes what the first one wrote.
try:
    if workflow.is_main_process:
        check_config(config)
        check_tracker(config["report"]["tracker"])
        if not AS_MODULE:
            check_files([ROOT / "config/config.yaml", *workflow.overwrite_configfiles], config)
        config_file = snapshot.path(config)
    else:
        config_file, planned = snapshot.of_this_run(config)
        config.clear()
        config.update(planned)
        plugins.load(config.get("plugins", ()))
    os.environ[snapshot.VARIABLE] = str(config_file)
    if AS_MODULE and workflow.is_main_process:
        snapshot.keep(config)  # handlers of a module are not called
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# DVC with links gives files new times (see `file_times`); the record is kept once DVC has run this workflow here.
TIMES = Path(".snakemake/file_times.json")
if workflow.is_main_process:
    file_times.restore(TIMES)

# Snakemake does not look at code that stages import: what changed is said before anything runs, and by -n.
if workflow.is_main_process:
    for notice in code_version.notices(config):
        print(notice, file=sys.stderr)

# The terminal shows what runs and how it ends (collm.pipeline.console); who asks Snakemake for more or for less gets its
# own log there. Its file below .snakemake/log holds everything either way.
SETTINGS = workflow.output_settings
ASKED = SETTINGS.quiet or SETTINGS.verbose or SETTINGS.printshellcmds or SETTINGS.debug_dag
SHOWS_RUNS = workflow.is_main_process and not (SETTINGS.dryrun or ASKED)
if SHOWS_RUNS and (handler := console.own_handler(logger)) is not None:
    handler.addFilter(console.shown_at_start)

# Paths of rules. Of an experiment with variants {variant} is one of them with a slash, or nothing for shared inputs.
CONFIGURATIONS = {**variants.each(config), "": variants.of(config, "")}
VARIANTS = variants.names(config)
VARIANT = "{variant}" if VARIANTS else ""
OF_VARIANT = "--variant={wildcards.variant} " if VARIANTS else ""
NAME = f"{config['name']}/" if config.get("name") else ""
DATA, MODELS = f"data/{VARIANT}", f"resources/models/{VARIANT}"
RESULTS, LOGS = f"results/{NAME}{VARIANT}", f"logs/{NAME}{VARIANT}"
OF_SHARED_MODELS = f"--models {MODELS.replace('{', '{wildcards.')} " if VARIANTS else ""
# What a report says of a table or figure beside its kind.
LABELS = {"variant": "{variant}"} if VARIANTS else {}
SCRIPTS, STUDY = (shlex.quote(name if HERE else str(ROOT / name)) for name in ("src", targets.STUDY))

COMPARE = f"python {SCRIPTS}/compare_variants.py --config $COLLM_CONFIGURATION "

ROWS = targets.all_rows(config)
EVALUATED_TOGETHER = targets.evaluated_together(config)
try:
    TRAINING_JOBS = targets.training_jobs(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None
TRAINED_ALONE = set(config["domains"]) - {name for jobs in TRAINING_JOBS for name in jobs.domains}


# Without a limit on submissions Snakemake looks for work when a job ends. With its default limit every such look starts
# a further timer of one second that goes on to the end: after 150 jobs that took a core. Clusters keep their limit.
onstart:
    if workflow.is_main_process:
        snapshot.keep(config)
        if not workflow.touch:
            show_run()
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    remember_times()
    if workflow.is_main_process and not workflow.touch:
        console.end(logger)
        print(results_of(workflow_jobs().values(), Path.cwd()), flush=True)


onerror:
    remember_times()
    if workflow.is_main_process:
        console.end(logger)
        print(f"\n{failures.summary(failed_jobs(), log[0])}\n", file=sys.stderr)


wildcard_constraints:
    variant=f"(?:(?:{'|'.join(map(re.escape, VARIANTS))})/)?" if VARIANTS else "",
    domain="|".join(config["domains"]),
    method="|".join([*ROWS, *WARM_STARTS]),
    seed=r"\d+",
    model="|".join({re.escape(name): None for own in CONFIGURATIONS.values() for name in own["models"]}),


def remember_times():
    """Note the times of results, where DVC runs this workflow or has run it."""
    if workflow.is_main_process and ("DVC_STAGE" in os.environ or TIMES.is_file()):
        file_times.remember(TIMES, [Path("data"), Path("results")])


def workflow_jobs() -> dict[int, WorkflowJob]:
    """The jobs of this run, those of targets included, by Snakemake's numbers."""
    named = {workflow.dag.jobid(job): job for job in workflow.dag.needrun_jobs(exclude_finished=False)}
    return {
        number: WorkflowJob.of(job.rule.name, job.wildcards_dict, job.log, job.output)
        for number, job in named.items()
    }


def show_run():
    """Say what will run, for how long and where, and show it from now on."""
    from collm.planning import expected_time

    cores = workflow.cores if workflow.local_exec else None
    expected = expected_time.expect(config, workflow_jobs(), cores)
    print(expected_time.start_lines(expected, Path.cwd(), Places.of(config)), file=sys.stderr)
    if SHOWS_RUNS:
        console.Console.install(logger, expected.jobs, expected.wall)


def failed_jobs() -> list[failures.Failure]:
    """Jobs that failed in this run, those of groups one by one."""
    jobs = [job for failed in workflow.scheduler.failed for job in getattr(failed, "jobs", [failed])]
    named = [(job, ", ".join(f"{key}={value}" for key, value in job.wildcards_dict.items())) for job in jobs]
    return [failures.Failure(job.rule.name, wildcards, tuple(map(str, job.log))) for job, wildcards in named]


def in_data(path: str) -> str:
    return f"{DATA}{path}"


def in_models(path: str) -> str:
    return f"{MODELS}{path}"


def in_results(path: str) -> str:
    return f"{RESULTS}{path}"


def in_logs(path: str) -> str:
    return f"{LOGS}{path}"


def in_benchmarks(path: str) -> str:
    return f"{RESULTS}benchmarks/{path}"


def stage(name: str) -> str:
    """The start of a shell command that calls a stage's script with the settings of this run."""
    return f"python {SCRIPTS}/{name}.py --config $COLLM_CONFIGURATION {OF_VARIANT}"


def modules_of(script: str) -> list[str]:
    """Sources that a table or a figure depends on."""
    return source_files(targets.report_modules(script, SOURCE))


def any_of(names) -> str:
    """A regular expression that matches these names, and nothing if there are none."""
    return "|".join(sorted(names)) or "(?!)"


def variant_of(wildcards) -> str:
    return wildcards.get("variant", "").strip("/")


def config_of(wildcards) -> dict:
    """The configuration of a rule's variant, which without variants is that of all jobs."""
    return CONFIGURATIONS[variant_of(wildcards)]


@cache
def places(variant: str) -> Places:
    return Places.of(CONFIGURATIONS[variant])


def places_of(wildcards) -> Places:
    return places(variant_of(wildcards))


@cache
def resolved(variant: str, domain: str, method: str) -> dict:
    return resolve_settings(CONFIGURATIONS[variant], domain, method)


def job_settings(wildcards, method: str) -> dict:
    """Resolved settings of one job; many rules ask for the same ones."""
    return resolved(variant_of(wildcards), wildcards.domain, method)


def settings_of(wildcards) -> dict:
    """Resolved settings of a rule's job; a rule without a method asks for its domain's own."""
    return job_settings(wildcards, wildcards.get("method", "warm_start"))


def get_gpu(wildcards) -> int:
    return machine.gpus(settings_of(wildcards))


def get_threads(wildcards) -> int:
    return machine.threads(settings_of(wildcards))


def get_memory(wildcards, attempt: int) -> int:
    return machine.memory(settings_of(wildcards), attempt)


def get_runtime(wildcards, attempt: int) -> int:
    return machine.minutes(settings_of(wildcards), attempt)


def get_embedded(wildcards) -> list[str]:
    return source_files(targets.embedded_rows(config_of(wildcards), wildcards.domain, ROOT))


def get_data(wildcards) -> list[str]:
    return targets.data_files(wildcards.domain, places_of(wildcards))


def get_models(wildcards) -> list[str]:
    return targets.model_files(settings_of(wildcards), places_of(wildcards))


def get_start(wildcards) -> list[str]:
    return targets.start_files(settings_of(wildcards), wildcards.seed, places_of(wildcards))


def runs_of(wildcards, jobs) -> list[tuple[str, int | str]]:
    return jobs.runs(wildcards.get("method"), wildcards.get("seed"))


def get_starts_of_jobs(jobs):
    """A function that gives the warm-started adapters of the runs of a job."""

    def files(wildcards) -> list[str]:
        at = places_of(wildcards)
        runs = [(job_settings(wildcards, method), seed) for method, seed in runs_of(wildcards, jobs)]
        return sorted({file for settings, seed in runs for file in targets.start_files(settings, seed, at)})

    return files


def get_models_of_jobs(jobs):
    """A function that gives the models of the runs of a job."""
    return lambda wildcards: get_models_of([method for method, _ in runs_of(wildcards, jobs)])(wildcards)


def get_runtime_of_jobs(jobs):
    """A function that gives the minutes of a job that trains several runs."""
    return lambda wildcards, attempt: get_runtime(wildcards, attempt) * len(runs_of(wildcards, jobs))


def get_models_of(methods: list[str]):
    """A function that gives the models of these rows."""
    return lambda wildcards: targets.models_of_jobs(
        (job_settings(wildcards, name) for name in methods), places_of(wildcards)
    )


def get_adapters(wildcards) -> list[str]:
    return targets.adapter_files(wildcards.domain, [wildcards.method], wildcards.seed, places_of(wildcards))


def get_adapters_of_rows(wildcards) -> list[str]:
    return targets.adapter_files(wildcards.domain, ROWS, wildcards.seed, places_of(wildcards))


def get_results_of_domain(wildcards) -> list[str]:
    return targets.result_files(config_of(wildcards), [wildcards.domain])


def get_results(wildcards) -> list[str]:
    own = config_of(wildcards)
    return targets.result_files(own, own["domains"])


def get_figures(wildcards) -> list[str]:
    own = config_of(wildcards)
    return targets.figure_files(own, own["domains"])


def source_files(names) -> list[str]:
    """Files of the repository, as rules name them."""
    return [name if HERE else str(ROOT / name) for name in names]


def get_report_files(wildcards) -> list[str]:
    try:
        return targets.report_files(config)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def get_settings(stage: str):
    """A function that gives the settings that a stage's job depends on."""
    return lambda wildcards: dependencies.stage_settings(stage, settings_of(wildcards))


def get_settings_of(stage: str, rows: list[str]):
    """A function that gives, by row, the settings that a stage's job of several rows depends on."""

    def settings(wildcards) -> dict:
        return {row: dependencies.stage_settings(stage, job_settings(wildcards, row)) for row in rows}

    return settings


def get_settings_of_jobs(jobs):
    """A function that gives, by method, the settings that the runs of a training job depend on."""
    return lambda wildcards: get_settings_of("train", [*dict(runs_of(wildcards, jobs))])(wildcards)


def get_scratch_model_settings(wildcards) -> dict:
    spec = model_spec(config_of(wildcards), wildcards.model, wildcards.domain)
    return dependencies.scratch_model_settings(settings_of(wildcards), spec)


def get_pretrained_model_settings(wildcards) -> dict:
    return dependencies.model_settings(config_of(wildcards)["models"][wildcards.model])
