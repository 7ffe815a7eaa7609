"""Warm start: supervised fine-tuning of every agent before reinforcement learning."""


# Checkpoints go to checkpoints/{domain}/warm_start/seed{seed}: not declared, because Snakemake deletes declared
# outputs before it runs a job again, and a killed job must go on where it stopped.
rule warm_start:
    input:
        get_data,
        get_models,
    output:
        adapters=directory("results/{domain}/warm_start/seed{seed}/adapters"),
        run="results/{domain}/warm_start/seed{seed}/run.json",
        metrics="results/{domain}/warm_start/seed{seed}/metrics.jsonl",
    log:
        "logs/warm_start/{domain}/seed{seed}.log",
    benchmark:
        "results/benchmarks/warm_start/{domain}_seed{seed}.tsv"
    priority: 30
    conda:
        "../envs/collm.yaml"
    threads: get_threads
    resources:
        gpu=get_gpu,
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        settings=get_warm_start_settings,
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 python src/warm_start.py --config results/config.json "
        "--domain {wildcards.domain} --seed {wildcards.seed} --threads {threads} > {log} 2>&1"
