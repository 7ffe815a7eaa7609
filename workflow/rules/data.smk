"""Data: one schema and a manifest, from any source."""


localrules:
    data,


# Local, because nodes of a cluster often have no internet.
rule data:
    input:
        get_embedded,
    output:
        train=DATA + "{domain}/train.jsonl",
        test=DATA + "{domain}/test.jsonl",
        manifest=DATA + "{domain}/manifest.json",
    log:
        LOGS + "data/{domain}.log",
    benchmark:
        BENCHMARKS + "data/{domain}.tsv"
    priority: 50
    conda:
        "../envs/collm.yaml"
    params:
        settings=get_settings("data"),
    shell:
        stage("prepare_data") + "--domain {wildcards.domain} > {log} 2>&1"
