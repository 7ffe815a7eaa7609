"""Evaluation: the whole test split, the same protocol for every method and baseline."""


rule evaluate:
    input:
        get_data,
        get_models,
        get_adapters,
    output:
        samples="results/{domain}/{method}/seed{seed}/samples.jsonl",
        record="results/{domain}/{method}/seed{seed}/evaluation.json",
    log:
        "logs/evaluate/{domain}/{method}/seed{seed}.log",
    benchmark:
        "results/benchmarks/evaluate/{domain}_{method}_seed{seed}.tsv"
    priority: 10
    conda:
        "../envs/collm.yaml"
    threads: get_threads
    resources:
        gpu=get_gpu,
        processes=1,
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        settings=get_evaluate_settings,
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 python src/evaluate.py --config results/config.json "
        "--domain {wildcards.domain} --method {wildcards.method} --seed {wildcards.seed} "
        "--threads {threads} --processes {resources.processes} > {log} 2>&1"
