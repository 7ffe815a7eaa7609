"""Tables and figures, from result files alone: no model and no GPU."""


localrules:
    tables,
    domain_tables,
    figure,
    worlds,
    episodes,
    report_page,
    variant_tables,
    variant_figure,


rule tables:
    input:
        results=get_results,
        modules=modules_of("make_tables.py"),
    output:
        main=report(
            in_results("tables/main.csv"),
            caption="../report/main_table.rst",
            category="Tables",
            labels=LABELS | {"table": "Main results", "domain": "all"},
        ),
        rewards=report(
            in_results("tables/rewards.csv"),
            caption="../report/rewards.rst",
            category="Tables",
            labels=LABELS | {"table": "Rewards and their parts", "domain": "all"},
        ),
        differences=report(
            in_results("tables/differences.csv"),
            caption="../report/differences.rst",
            category="Tables",
            labels=LABELS | {"table": "What training changed", "domain": "all"},
        ),
        health=report(
            in_results("tables/health.csv"),
            caption="../report/health.rst",
            category="Tables",
            labels=LABELS | {"table": "Health of the training runs", "domain": "all"},
        ),
        improvement=report(
            in_results("tables/improvement.csv"),
            caption="../report/improvement.rst",
            category="Tables",
            labels=LABELS | {"table": "Probability of improvement", "domain": "all"},
        ),
        improvement_texts=[in_results("tables/improvement.md"), in_results("tables/improvement.tex")],
        text_quality=report(
            in_results("tables/text_quality.csv"),
            caption="../report/text_quality.rst",
            category="Tables",
            labels=LABELS | {"table": "Texts beside their score", "domain": "all"},
        ),
        text_quality_markdown=in_results("tables/text_quality.md"),
        curves=in_results("tables/curves.csv"),
        markdown=in_results("tables/main.md"),
        latex=in_results("tables/main.tex"),
        health_markdown=in_results("tables/health.md"),
        health_latex=in_results("tables/health.tex"),
        overview=in_results("tables/overview.md"),
        metrics=in_results("tables/metrics.json"),
    log:
        in_logs("tables.log"),
    benchmark:
        in_benchmarks("tables.tsv")
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        stage("make_tables") + "> {log} 2>&1"


# The table of one benchmark, so that it can be made again without the others.
rule domain_tables:
    input:
        results=get_results_of_domain,
        modules=modules_of("make_tables.py"),
    output:
        directory(in_results("{domain}/tables")),
    log:
        in_logs("domain_tables/{domain}.log"),
    benchmark:
        in_benchmarks("domain_tables/{domain}.tsv")
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        stage("make_tables") + "--domains {wildcards.domain} " "--out {output} > {log} 2>&1"


rule figure:
    input:
        results=get_results_of_domain,
        modules=modules_of("make_figures.py"),
    output:
        curves=report(
            in_results("figures/curves_{domain}.png"),
            caption="../report/curves.rst",
            category="Figures",
            labels=LABELS | {"figure": "Learning curves", "domain": "{domain}"},
        ),
        bars=report(
            in_results("figures/bars_{domain}.png"),
            caption="../report/bars.rst",
            category="Figures",
            labels=LABELS | {"figure": "Final results", "domain": "{domain}"},
        ),
        health=report(
            in_results("figures/health_{domain}.png"),
            caption="../report/health_figure.rst",
            category="Figures",
            labels=LABELS | {"figure": "Health of the training runs", "domain": "{domain}"},
        ),
        curves_svg=in_results("figures/curves_{domain}.svg"),
        bars_svg=in_results("figures/bars_{domain}.svg"),
        health_svg=in_results("figures/health_{domain}.svg"),
        captions=[in_results(f"figures/{kind}_{{domain}}.txt") for kind in ("curves", "bars", "health")],
    log:
        in_logs("figure/{domain}.log"),
    benchmark:
        in_benchmarks("figure/{domain}.tsv")
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        stage("make_figures") + "--domains {wildcards.domain} " "--kinds curves bars health > {log} 2>&1"


rule worlds:
    input:
        results=get_results_of_domain,
        modules=modules_of("make_figures.py"),
    output:
        png=report(
            in_results("figures/worlds_{domain}.png"),
            caption="../report/worlds.rst",
            category="Figures",
            labels=LABELS | {"figure": "Final worlds", "domain": "{domain}"},
        ),
        svg=in_results("figures/worlds_{domain}.svg"),
        caption=in_results("figures/worlds_{domain}.txt"),
    log:
        in_logs("worlds/{domain}.log"),
    benchmark:
        in_benchmarks("worlds/{domain}.tsv")
    wildcard_constraints:
        domain="|".join(targets.WORLDS),
    conda:
        "../envs/collm.yaml"
    shell:
        stage("make_figures") + "--domains {wildcards.domain} " "--kinds worlds > {log} 2>&1"


# What every team was shown and answered: one page that needs no network.
rule episodes:
    input:
        results=get_results,
        modules=modules_of("episodes.py"),
    output:
        in_results(targets.EPISODES),
    log:
        in_logs("episodes.log"),
    benchmark:
        in_benchmarks("episodes.tsv")
    conda:
        "../envs/collm.yaml"
    params:
        most=config["report"]["episodes"],
    shell:
        stage("episodes") + "> {log} 2>&1"


# What a reader opens first: overview, main figure, a section per benchmark. `make report` makes it of what is there.
rule report_page:
    input:
        results=get_results,
        figures=get_figures,
        episodes=rules.episodes.output,
        modules=modules_of("make_report.py"),
    output:
        in_results(targets.PAGE),
    log:
        in_logs("report_page.log"),
    benchmark:
        in_benchmarks("report_page.tsv")
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        stage("make_report") + "> {log} 2>&1"


# Variants beside each other; without them nothing asks for these files.
rule variant_tables:
    input:
        results=targets.result_files(config, config["domains"]),
        modules=modules_of("compare_variants.py"),
    output:
        markdown=f"results/{NAME}tables/variants.md",
        csv=report(
            f"results/{NAME}tables/variants.csv",
            caption="../report/variants.rst",
            category="Tables",
            labels={"table": "Variants", "domain": "all"},
        ),
    log:
        f"logs/{NAME}variant_tables.log",
    benchmark:
        f"results/{NAME}benchmarks/variant_tables.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
        variants=VARIANTS,
    shell:
        f"{COMPARE}--kinds tables > {{log}} 2>&1"


rule variant_figure:
    input:
        results=lambda wildcards: targets.result_files(config, [wildcards.domain]),
        modules=modules_of("compare_variants.py"),
    output:
        png=report(
            f"results/{NAME}figures/variants_{{domain}}.png",
            caption="../report/variants.rst",
            category="Figures",
            labels={"figure": "Variants", "domain": "{domain}"},
        ),
        svg=f"results/{NAME}figures/variants_{{domain}}.svg",
        caption=f"results/{NAME}figures/variants_{{domain}}.txt",
    log:
        f"logs/{NAME}variant_figure/{{domain}}.log",
    benchmark:
        f"results/{NAME}benchmarks/variant_figure/{{domain}}.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
        variants=VARIANTS,
    shell:
        f"{COMPARE}--kinds figures --domains {{wildcards.domain}} > {{log}} 2>&1"
