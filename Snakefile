"""CoLLM: from data to report, for every domain, method and seed that the configuration names.

snakemake --cores all                    everything, with config/config.yaml
snakemake --cores all str_build          one benchmark alone
snakemake --cores all --profile slurm    the same on a cluster
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/warm_start.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        rules.tables.output,
        targets.figure_files(config["domains"]),
