"""Training: a team, one method, one domain, one seed."""


# Checkpoints go to checkpoints/{domain}/{method}/seed{seed}: not declared, because Snakemake deletes declared
# outputs before it runs a job again, and a killed job must go on where it stopped.
rule train:
    input:
        get_data,
        get_models,
        get_start,
    output:
        adapters=directory("results/{domain}/{method}/seed{seed}/adapters"),
        run="results/{domain}/{method}/seed{seed}/run.json",
        metrics="results/{domain}/{method}/seed{seed}/metrics.jsonl",
    log:
        "logs/train/{domain}/{method}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{domain}_{method}_seed{seed}.tsv"
    wildcard_constraints:
        method="|".join(config["methods"]) or "none",
    priority: 20
    conda:
        "../envs/collm.yaml"
    threads: get_threads
    resources:
        gpu=get_gpu,
        processes=1,
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        settings=get_settings("train"),
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 python src/train.py --config $COLLM_CONFIGURATION "
        "--domain {wildcards.domain} --method {wildcards.method} --seed {wildcards.seed} "
        "--threads {threads} --processes {resources.processes} > {log} 2>&1"
