"""Evaluation: the whole test split, the same protocol for every method and baseline."""


rule evaluate:
    input:
        get_data,
        get_models,
        get_adapters,
    output:
        samples=in_results("{domain}/{method}/seed{seed}/samples.jsonl"),
        record=in_results("{domain}/{method}/seed{seed}/evaluation.json"),
    log:
        in_logs("evaluate/{domain}/{method}/seed{seed}.log"),
    benchmark:
        in_benchmarks("evaluate/{domain}_{method}_seed{seed}.tsv")
    wildcard_constraints:
        domain=any_of(set(config["domains"]) - set(EVALUATED_TOGETHER)),
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
        settings=get_settings("evaluate"),
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
        + stage("evaluate")
        + "--domain {wildcards.domain} --method {wildcards.method} --seed {wildcards.seed} "
        "--threads {threads} --processes {resources.processes} > {log} 2>&1"


# All rows of a domain in one job, where models are made from scratch: to start a process takes longer than to play with
# so small a model.
rule evaluate_together:
    input:
        get_data,
        get_models_of(ROWS),
        get_adapters_of_rows,
    output:
        samples=expand(
            in_results("{domain}/{method}/seed{seed}/samples.jsonl"), method=ROWS, allow_missing=True
        ),
        record=expand(
            in_results("{domain}/{method}/seed{seed}/evaluation.json"), method=ROWS, allow_missing=True
        ),
    log:
        in_logs("evaluate/{domain}/seed{seed}.log"),
    benchmark:
        in_benchmarks("evaluate/{domain}_seed{seed}.tsv")
    wildcard_constraints:
        domain=any_of(EVALUATED_TOGETHER),
    priority: 10
    conda:
        "../envs/collm.yaml"
    threads: 1
    resources:
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        methods=ROWS,
        settings=get_settings_of("evaluate", ROWS),
    shell:
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
        + stage("evaluate")
        + "--domain {wildcards.domain} --method {params.methods} --seed {wildcards.seed} "
        "--threads {threads} > {log} 2>&1"
