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
        domain=any_of(set(config["domains"]) - set(TRAINED_TOGETHER)),
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


# Short runs of a seed in two jobs, each of which trains several methods one after another: to start a process takes as
# long as such a run. All else is as above: every run has its log, its checkpoints and its outputs.
if TRAINED_TOGETHER:
    for number, methods in enumerate(targets.shares(config["methods"])):

        rule:
            name:
                f"train_together_{number}"
            input:
                get_data,
                get_models_of(methods),
                get_starts_of(methods),
            output:
                adapters=directory(
                    expand(
                        in_results("{domain}/{method}/seed{seed}/adapters"),
                        method=methods,
                        allow_missing=True,
                    )
                ),
                run=expand(
                    in_results("{domain}/{method}/seed{seed}/run.json"), method=methods, allow_missing=True
                ),
                metrics=expand(
                    in_results("{domain}/{method}/seed{seed}/metrics.jsonl"),
                    method=methods,
                    allow_missing=True,
                ),
            log:
                runs=expand(
                    in_logs("train/{domain}/{method}/seed{seed}.log"), method=methods, allow_missing=True
                ),
                job=in_logs(f"train/{{domain}}/together_{number}/seed{{seed}}.log"),
            benchmark:
                in_benchmarks(f"train/{{domain}}_together_{number}_seed{{seed}}.tsv")
            wildcard_constraints:
                domain=any_of(TRAINED_TOGETHER),
            priority: 20
            conda:
                "../envs/collm.yaml"
            threads: 1
            resources:
                mem_mb=get_memory,
                runtime=get_runtime,
            params:
                methods=methods,
                settings=get_settings_of("train", methods),
            shell:
                "OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 "
                + stage("train")
                + "--domain {wildcards.domain} --method {params.methods} --seed {wildcards.seed} --threads {threads} "
                "--logs {log.runs} > {log.job} 2>&1"
