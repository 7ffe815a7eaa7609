"""CoLLM: from data to report, for every domain, method and seed that the configuration names.

snakemake --cores all                    everything, with config/config.yaml
snakemake --cores all str_build          one benchmark alone
snakemake --cores all --profile slurm    the same on a cluster
"""

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

# Stages are called, and all files named, from the folder of this file.
if str(workflow.current_basedir) != str(Path.cwd().resolve()):
    raise WorkflowError(
        f"this workflow runs in its own folder only: start Snakemake in {workflow.current_basedir}, not in {Path.cwd()}, "
        "without --directory, and do not include it as a `module`"
    )


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/warm_start.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/targets.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        rules.tables.output,
        targets.figure_files(config["domains"]),
        targets.EPISODES,
        targets.PAGE,
