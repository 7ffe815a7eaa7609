"""CoLLM: from data to report, for every domain, method and seed that the configuration names.

snakemake --cores all                    everything, with config/config.yaml
snakemake --cores all str_build          one benchmark alone
snakemake --cores all --profile slurm    the same on a cluster
"""

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

# The folder of this file. Sources are called where they are; data and results lie below the working folder.
ROOT = Path(str(workflow.current_basedir))
if not (ROOT / "src/collm").is_dir():
    raise WorkflowError(
        f"{ROOT} holds no src/collm: clone the repository and name the Snakefile of the clone"
    )
HERE = ROOT == Path.cwd().resolve()


configfile: "config/config.yaml" if HERE else str(ROOT / "config/config.yaml")


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
        targets.shown_files(config),
