"""Tables and figures, from result files alone: no model and no GPU."""


localrules:
    tables,
    domain_tables,
    figure,
    worlds,
    episodes,
    report_page,


rule tables:
    input:
        results=targets.result_files(config, config["domains"]),
        modules=targets.report_modules("make_tables.py", SOURCE),
    output:
        main=report(
            "results/tables/main.csv",
            caption="../report/main_table.rst",
            category="Tables",
            labels={"table": "Main results", "domain": "all"},
        ),
        rewards=report(
            "results/tables/rewards.csv",
            caption="../report/rewards.rst",
            category="Tables",
            labels={"table": "Rewards and their parts", "domain": "all"},
        ),
        differences=report(
            "results/tables/differences.csv",
            caption="../report/differences.rst",
            category="Tables",
            labels={"table": "What training changed", "domain": "all"},
        ),
        health=report(
            "results/tables/health.csv",
            caption="../report/health.rst",
            category="Tables",
            labels={"table": "Health of the training runs", "domain": "all"},
        ),
        improvement=report(
            "results/tables/improvement.csv",
            caption="../report/improvement.rst",
            category="Tables",
            labels={"table": "Probability of improvement", "domain": "all"},
        ),
        improvement_texts=["results/tables/improvement.md", "results/tables/improvement.tex"],
        curves="results/tables/curves.csv",
        markdown="results/tables/main.md",
        latex="results/tables/main.tex",
        health_markdown="results/tables/health.md",
        health_latex="results/tables/health.tex",
        overview="results/tables/overview.md",
        metrics="results/tables/metrics.json",
    log:
        "logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        "python src/make_tables.py --config $COLLM_CONFIGURATION > {log} 2>&1"


# The table of one benchmark, so that it can be made again without the others.
rule domain_tables:
    input:
        results=get_results_of_domain,
        modules=targets.report_modules("make_tables.py", SOURCE),
    output:
        directory("results/{domain}/tables"),
    log:
        "logs/domain_tables/{domain}.log",
    benchmark:
        "results/benchmarks/domain_tables/{domain}.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        "python src/make_tables.py --config $COLLM_CONFIGURATION --domains {wildcards.domain} "
        "--out {output} > {log} 2>&1"


rule figure:
    input:
        results=get_results_of_domain,
        modules=targets.report_modules("make_figures.py", SOURCE),
    output:
        curves=report(
            "results/figures/curves_{domain}.png",
            caption="../report/curves.rst",
            category="Figures",
            labels={"figure": "Learning curves", "domain": "{domain}"},
        ),
        bars=report(
            "results/figures/bars_{domain}.png",
            caption="../report/bars.rst",
            category="Figures",
            labels={"figure": "Final results", "domain": "{domain}"},
        ),
        health=report(
            "results/figures/health_{domain}.png",
            caption="../report/health_figure.rst",
            category="Figures",
            labels={"figure": "Health of the training runs", "domain": "{domain}"},
        ),
        curves_svg="results/figures/curves_{domain}.svg",
        bars_svg="results/figures/bars_{domain}.svg",
        health_svg="results/figures/health_{domain}.svg",
    log:
        "logs/figure/{domain}.log",
    benchmark:
        "results/benchmarks/figure/{domain}.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        "python src/make_figures.py --config $COLLM_CONFIGURATION --domains {wildcards.domain} "
        "--kinds curves bars health > {log} 2>&1"


rule worlds:
    input:
        results=get_results_of_domain,
        modules=targets.report_modules("make_figures.py", SOURCE),
    output:
        png=report(
            "results/figures/worlds_{domain}.png",
            caption="../report/worlds.rst",
            category="Figures",
            labels={"figure": "Final worlds", "domain": "{domain}"},
        ),
        svg="results/figures/worlds_{domain}.svg",
    log:
        "logs/worlds/{domain}.log",
    benchmark:
        "results/benchmarks/worlds/{domain}.tsv"
    wildcard_constraints:
        domain="|".join(targets.WORLDS),
    conda:
        "../envs/collm.yaml"
    shell:
        "python src/make_figures.py --config $COLLM_CONFIGURATION --domains {wildcards.domain} "
        "--kinds worlds > {log} 2>&1"


# What every team was shown and answered: one page that needs no network.
rule episodes:
    input:
        results=targets.result_files(config, config["domains"]),
        modules=targets.report_modules("episodes.py", SOURCE),
    output:
        targets.EPISODES,
    log:
        "logs/episodes.log",
    benchmark:
        "results/benchmarks/episodes.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        most=config["report"]["episodes"],
    shell:
        "python src/episodes.py --config $COLLM_CONFIGURATION > {log} 2>&1"


# What a reader opens first: overview, main figure, a section per benchmark. `make report` makes it of what is there.
rule report_page:
    input:
        results=targets.result_files(config, config["domains"]),
        figures=targets.figure_files(config["domains"]),
        episodes=rules.episodes.output,
        modules=targets.report_modules("make_report.py", SOURCE),
    output:
        targets.PAGE,
    log:
        "logs/report_page.log",
    benchmark:
        "results/benchmarks/report_page.tsv"
    conda:
        "../envs/collm.yaml"
    params:
        settings=dependencies.report_settings(config),
    shell:
        "python src/make_report.py --config $COLLM_CONFIGURATION > {log} 2>&1"
