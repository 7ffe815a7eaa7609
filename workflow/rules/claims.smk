"""Verdicts on the paper's claims, from config/claims.yaml and the small files of a study in docs/study alone."""


localrules:
    claims,


# Not part of `all`: a study is longer than a run, and its small files are committed (studies/reduce.py writes them).
rule claims:
    input:
        claims=source_files(["config/claims.yaml"]),
        study=source_files(targets.study_files(ROOT)),
        modules=modules_of("claims.py"),
    output:
        table=report(
            "results/tables/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "Verdicts on the paper's claims", "domain": "all"},
        ),
        figure=report(
            "results/figures/claims.png",
            caption="../report/claims.rst",
            category="Claims",
            labels={"figure": "Claims, line by line", "domain": "all"},
        ),
        profiles=report(
            "results/figures/profiles.png",
            caption="../report/profiles.rst",
            category="Claims",
            labels={"figure": "Performance profiles", "domain": "all"},
        ),
        texts=["results/tables/claims.md", "results/tables/claims.tex"],
        svg=["results/figures/claims.svg", "results/figures/profiles.svg"],
        captions=["results/figures/claims.txt", "results/figures/profiles.txt"],
    log:
        "logs/claims.log",
    benchmark:
        "results/benchmarks/claims.tsv"
    conda:
        "../envs/collm.yaml"
    shell:
        f"python {SCRIPTS}/claims.py --study {STUDY} --out results --claims {{input.claims}} > {{log}} 2>&1"
