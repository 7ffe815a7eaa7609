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
            RESULTS + "tables/main.csv",
            caption="../report/main_table.rst",
            category="Tables",
            labels=LABELS | {"table": "Main results", "domain": "all"},
        ),
        rewards=report(
            RESULTS + "tables/rewards.csv",
            caption="../report/rewards.rst",
            category="Tables",
            labels=LABELS | {"table": "Rewards and their parts", "domain": "all"},
        ),
        differences=report(
            RESULTS + "tables/differences.csv",
            caption="../report/differences.rst",
            category="Tables",
            labels=LABELS | {"table": "What training changed", "domain": "all"},
        ),
        health=report(
            RESULTS + "tables/health.csv",
            caption="../report/health.rst",
            category="Tables",
            labels=LABELS | {"table": "Health of the training runs", "domain": "all"},
        ),
        improvement=report(
            RESULTS + "tables/improvement.csv",
            caption="../report/improvement.rst",
            category="Tables",
            labels=LABELS | {"table": "Probability of improvement", "domain": "all"},
        ),
        improvement_texts=[RESULTS + "tables/improvement.md", RESULTS + "tables/improvement.tex"],
        text_quality=report(
            RESULTS + "tables/text_quality.csv",
            caption="../report/text_quality.rst",
            category="Tables",
            labels=LABELS | {"table": "Texts beside their score", "domain": "all"},
        ),
        text_quality_markdown=RESULTS + "tables/text_quality.md",
        curves=RESULTS + "tables/curves.csv",
        markdown=RESULTS + "tables/main.md",
        latex=RESULTS + "tables/main.tex",
        health_markdown=RESULTS + "tables/health.md",
        health_latex=RESULTS + "tables/health.tex",
        overview=RESULTS + "tables/overview.md",
        metrics=RESULTS + "tables/metrics.json",
    log:
        LOGS + "tables.log",
    benchmark:
        BENCHMARKS + "tables.tsv"
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
        directory(RESULTS + "{domain}/tables"),
    log:
        LOGS + "domain_tables/{domain}.log",
    benchmark:
        BENCHMARKS + "domain_tables/{domain}.tsv"
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
            RESULTS + "figures/curves_{domain}.png",
            caption="../report/curves.rst",
            category="Figures",
            labels=LABELS | {"figure": "Learning curves", "domain": "{domain}"},
        ),
        bars=report(
            RESULTS + "figures/bars_{domain}.png",
            caption="../report/bars.rst",
            category="Figures",
            labels=LABELS | {"figure": "Final results", "domain": "{domain}"},
        ),
        health=report(
            RESULTS + "figures/health_{domain}.png",
            caption="../report/health_figure.rst",
            category="Figures",
            labels=LABELS | {"figure": "Health of the training runs", "domain": "{domain}"},
        ),
        curves_svg=RESULTS + "figures/curves_{domain}.svg",
        bars_svg=RESULTS + "figures/bars_{domain}.svg",
        health_svg=RESULTS + "figures/health_{domain}.svg",
        captions=[RESULTS + f"figures/{kind}_{{domain}}.txt" for kind in ("curves", "bars", "health")],
    log:
        LOGS + "figure/{domain}.log",
    benchmark:
        BENCHMARKS + "figure/{domain}.tsv"
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
            RESULTS + "figures/worlds_{domain}.png",
            caption="../report/worlds.rst",
            category="Figures",
            labels=LABELS | {"figure": "Final worlds", "domain": "{domain}"},
        ),
        svg=RESULTS + "figures/worlds_{domain}.svg",
        caption=RESULTS + "figures/worlds_{domain}.txt",
    log:
        LOGS + "worlds/{domain}.log",
    benchmark:
        BENCHMARKS + "worlds/{domain}.tsv"
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
        RESULTS + targets.EPISODES,
    log:
        LOGS + "episodes.log",
    benchmark:
        BENCHMARKS + "episodes.tsv"
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
        RESULTS + targets.PAGE,
    log:
        LOGS + "report_page.log",
    benchmark:
        BENCHMARKS + "report_page.tsv"
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
        markdown=COMPARISON + "tables/variants.md",
        csv=report(
            COMPARISON + "tables/variants.csv",
            caption="../report/variants.rst",
            category="Tables",
            labels={"table": "Variants", "domain": "all"},
        ),
    log:
        COMPARISON_LOGS + "variant_tables.log",
    benchmark:
        COMPARISON + "benchmarks/variant_tables.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
        variants=VARIANTS,
    shell:
        COMPARE + "--kinds tables > {log} 2>&1"


rule variant_figure:
    input:
        results=lambda wildcards: targets.result_files(config, [wildcards.domain]),
        modules=modules_of("compare_variants.py"),
    output:
        png=report(
            COMPARISON + "figures/variants_{domain}.png",
            caption="../report/variants.rst",
            category="Figures",
            labels={"figure": "Variants", "domain": "{domain}"},
        ),
        svg=COMPARISON + "figures/variants_{domain}.svg",
        caption=COMPARISON + "figures/variants_{domain}.txt",
    log:
        COMPARISON_LOGS + "variant_figure/{domain}.log",
    benchmark:
        COMPARISON + "benchmarks/variant_figure/{domain}.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
        variants=VARIANTS,
    shell:
        COMPARE + "--kinds figures --domains {wildcards.domain} > {log} 2>&1"
