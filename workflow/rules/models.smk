"""Base models: made from scratch out of a domain's training text, or prepared from a package, a folder or the hub."""


localrules:
    pretrained_model,


rule scratch_model:
    input:
        in_data("{domain}/train.jsonl"),
    output:
        in_models("{domain}/{model}/model.json"),
    log:
        in_logs("scratch_model/{domain}/{model}.log"),
    benchmark:
        in_benchmarks("scratch_model/{domain}_{model}.tsv")
    priority: 40
    conda:
        "../envs/collm.yaml"
    threads: 1
    resources:
        mem_mb=get_memory,
        runtime=get_runtime,
    params:
        settings=get_scratch_model_settings,
    shell:
        "OMP_NUM_THREADS={threads} "
        + stage("make_model")
        + "--domain {wildcards.domain} --model {wildcards.model} > {log} 2>&1"


# Local, because nodes of a cluster often have no internet.
rule pretrained_model:
    output:
        in_models("{model}/model.json"),
    log:
        in_logs("pretrained_model/{model}.log"),
    benchmark:
        in_benchmarks("pretrained_model/{model}.tsv")
    priority: 40
    conda:
        "../envs/collm.yaml"
    params:
        settings=get_pretrained_model_settings,
    shell:
        stage("make_model") + OF_SHARED_MODELS + "--model {wildcards.model} > {log} 2>&1"
