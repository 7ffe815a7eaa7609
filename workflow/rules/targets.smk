"""Names to ask for: one per stage, one per domain, and housekeeping."""


localrules:
    all_data,
    all_models,
    all_warm_start,
    all_train,
    all_evaluate,
    figures,
    reported,
    clean_checkpoints,


rule all_data:
    input:
        targets.all_manifests(config),


rule all_models:
    input:
        targets.all_models(config),


rule all_warm_start:
    input:
        targets.all_warm_starts(config),


rule all_train:
    input:
        targets.all_trained(config),


rule all_evaluate:
    input:
        targets.sample_files(config, config["domains"]),


rule figures:
    input:
        targets.figure_files(config, config["domains"]),


# What a report shows: `make report`. Asked for by --report, it runs nothing.
rule reported:
    input:
        get_report_files,


# One benchmark alone: its runs, its table and its figures.
for domain in config["domains"]:

    rule:
        name:
            domain
        input:
            targets.sample_files(config, [domain]),
            [f"{Places.of(own).results}/{domain}/tables" for own in variants.each(config).values()],
            targets.figure_files(config, [domain]),


# Checkpoints are kept after a run (a longer run goes on from them); this frees the disk.
rule clean_checkpoints:
    log:
        f"logs/{NAME}clean_checkpoints.log",
    conda:
        "../envs/collm.yaml"
    shell:
        f"rm -rf checkpoints/{NAME} > {{log}} 2>&1"
