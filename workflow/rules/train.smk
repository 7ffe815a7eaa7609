"""Training: a team, one method, one domain, one seed."""


# Checkpoints go to checkpoints/{domain}/{method}/seed{seed}: not declared, because Snakemake deletes declared
# outputs before it runs a job again, and a killed job must go on where it stopped.
rule train:
    input:
        get_data,
        get_models,
        get_start,
    output:
        adapters=directory(in_results("{domain}/{method}/seed{seed}/adapters")),
        run=in_results("{domain}/{method}/seed{seed}/run.json"),
        metrics=in_results("{domain}/{method}/seed{seed}/metrics.jsonl"),
    log:
        in_logs("train/{domain}/{method}/seed{seed}.log"),
    benchmark:
        in_benchmarks("train/{domain}_{method}_seed{seed}.tsv")
    wildcard_constraints:
        domain=any_of(TRAINED_ALONE),
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
        "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
        + stage("train")
        + "--domain {wildcards.domain} --method {wildcards.method} --seed {wildcards.seed} "
        "--threads {threads} --processes {resources.processes} > {log} 2>&1"


# Jobs that train several runs: those that `training.together` joins, and short ones, since to start a process takes as
# long as such a run. All else is as above: every run has its log, its checkpoints and its outputs.
for jobs in TRAINING_JOBS:

    rule:
        name:
            f"train_{jobs.name}"
        input:
            get_data,
            get_models_of_jobs(jobs),
            get_starts_of_jobs(jobs),
        output:
            adapters=directory(
                expand(
                    in_results("{domain}/{method}/seed{seed}/adapters"), **jobs.joined, allow_missing=True
                )
            ),
            run=expand(in_results("{domain}/{method}/seed{seed}/run.json"), **jobs.joined, allow_missing=True),
            metrics=expand(
                in_results("{domain}/{method}/seed{seed}/metrics.jsonl"), **jobs.joined, allow_missing=True
            ),
        log:
            runs=expand(in_logs("train/{domain}/{method}/seed{seed}.log"), **jobs.joined, allow_missing=True),
            job=in_logs(f"train/{jobs.place}.log"),
        benchmark:
            in_benchmarks(f"train/{jobs.flat_place}.tsv")
        wildcard_constraints:
            domain=any_of(jobs.domains),
            method="|".join(config["methods"]),
        priority: 20
        conda:
            "../envs/collm.yaml"
        threads: get_threads
        resources:
            gpu=get_gpu,
            mem_mb=get_memory,
            runtime=get_runtime_of_jobs(jobs),
        params:
            methods=lambda wildcards, jobs=jobs: jobs.methods or wildcards.method,
            seeds=lambda wildcards, jobs=jobs: jobs.seeds or wildcards.seed,
            settings=get_settings_of_jobs(jobs),
        shell:
            "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
            + stage("train")
            + "--domain {wildcards.domain} --method {params.methods} --seed {params.seeds} --threads {threads} "
            "--logs {log.runs} > {log.job} 2>&1"
