"""Warm start: supervised fine-tuning of every agent (or of one alone) before reinforcement learning."""


# Checkpoints go to checkpoints/{domain}/{method}/seed{seed}: not declared, because Snakemake deletes declared
# outputs before it runs a job again, and a killed job must go on where it stopped.
rule warm_start:
    input:
        get_data,
        get_models,
    output:
        adapters=directory(in_results("{domain}/{method}/seed{seed}/adapters")),
        run=in_results("{domain}/{method}/seed{seed}/run.json"),
        metrics=in_results("{domain}/{method}/seed{seed}/metrics.jsonl"),
    log:
        in_logs("warm_start/{domain}/{method}/seed{seed}.log"),
    benchmark:
        in_benchmarks("warm_start/{domain}_{method}_seed{seed}.tsv")
    wildcard_constraints:
        method="|".join(WARM_STARTS),
    priority: 30
    conda:
        "../envs/collm.yaml"
    threads: get_threads
    resources:
        gpu=get_gpu,
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        settings=get_settings("warm_start"),
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
        + stage("warm_start")
        + "--domain {wildcards.domain} --method {wildcards.method} --seed {wildcards.seed} "
        "--threads {threads} > {log} 2>&1"
