"""Names to ask for: one per stage, one per domain, and housekeeping."""


localrules:
    all_data,
    all_models,
    all_warm_start,
    all_train,
    all_evaluate,
    figures,
    clean_checkpoints,


rule all_data:
    input:
        expand("data/{domain}/manifest.json", domain=config["domains"]),


rule all_models:
    input:
        get_all_models(),


rule all_warm_start:
    input:
        get_all_runs(get_warm_starts()),


rule all_train:
    input:
        get_all_runs(config["methods"]),


rule all_evaluate:
    input:
        get_samples(config["domains"]),


rule figures:
    input:
        get_figures(config["domains"]),


# One benchmark alone: its runs, its table and its figures.
for domain in config["domains"]:

    rule:
        name:
            domain
        input:
            get_samples([domain]),
            f"results/{domain}/tables",
            get_figures([domain]),


# Checkpoints are kept after a run (a longer run goes on from them); this frees the disk.
rule clean_checkpoints:
    log:
        "logs/clean_checkpoints.log",
    conda:
        "../envs/collm.yaml"
    shell:
        "rm -rf checkpoints > {log} 2>&1"
