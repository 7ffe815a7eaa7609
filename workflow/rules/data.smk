"""Data: one schema and a manifest, from any source."""


localrules:
    data,


# Local, because nodes of a cluster often have no internet.
rule data:
    input:
        get_embedded,
    output:
        train=in_data("{domain}/train.jsonl"),
        test=in_data("{domain}/test.jsonl"),
        manifest=in_data("{domain}/manifest.json"),
    log:
        in_logs("data/{domain}.log"),
    benchmark:
        in_benchmarks("data/{domain}.tsv")
    priority: 50
    conda:
        "../envs/collm.yaml"
    params:
        settings=get_settings("data"),
    shell:
        stage("prepare_data") + "--domain {wildcards.domain} > {log} 2>&1"
