"""Data: one schema and a manifest, from any source."""


localrules:
    data,


# Local, because nodes of a cluster often have no internet.
rule data:
    input:
        get_embedded,
    output:
        train="data/{domain}/train.jsonl",
        test="data/{domain}/test.jsonl",
        manifest="data/{domain}/manifest.json",
    log:
        "logs/data/{domain}.log",
    benchmark:
        "results/benchmarks/data/{domain}.tsv"
    priority: 50
    conda:
        "../envs/collm.yaml"
    params:
        settings=get_settings("data"),
    shell:
        "python src/prepare_data.py --config $COLLM_CONFIGURATION --domain {wildcards.domain} > {log} 2>&1"
