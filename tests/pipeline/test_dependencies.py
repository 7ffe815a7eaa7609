"""What a stage depends on, what a job asks of a machine, and the files of the workflow; nothing is run."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.common.mappings import flatten
from collm.config.load import load_config
from collm.config.resolve import merge, resolve_settings, rows
from collm.methods.registry import METHODS
from collm.pipeline import dependencies, machine, targets

BASE, PAPER, SMOL = (ROOT / "config" / f"{name}.yaml" for name in ("config", "paper", "smol"))
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def default():
    return load_config([BASE])


@pytest.fixture(scope="module")
def paper():
    return load_config([BASE, PAPER])


def changed(settings: dict, key: str) -> dict:
    """The same settings with another value for a dotted key."""
    other = copy.deepcopy(settings)
    *blocks, name = key.split(".")
    place = other
    for block in blocks:
        place = place[block]
    place[name] = "another value"
    return other


PLAYING = {"warm_start", "train", "evaluate"}
LEARNING = {"warm_start", "train"}


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        ("rollout.temperature", PLAYING),
        ("team.lora.rank", PLAYING),
        ("team.num_agents", {"data", "scratch_model", *PLAYING}),
        ("profile", {"data", *PLAYING}),
        ("semantics", PLAYING),
        ("revision", {"scratch_model", *LEARNING}),
        ("data.seed", {"data"}),
        ("training.agent_learning_rate", {"train"}),
        ("warm_start.enabled", {"train"}),
        ("warm_start.epochs", {"warm_start"}),
        ("evaluation.every", {"train"}),
        ("evaluation.samples_during", LEARNING),
        ("evaluation.samples", {"evaluate"}),
        ("evaluation.latency_tasks", {"evaluate"}),
        *((key, {"train"}) for key in dependencies.OF_TRAINING),
        *((key, set()) for key in (*dependencies.MEMORY_KNOBS, *dependencies.BOOKKEEPING)),
        *((key, set()) for key in ("tracker", "sandbox", "fixed", "models")),
    ],
)
def test_a_changed_key_reaches_the_stages_that_compute_with_it(default, key, stages):
    settings = resolve_settings(default, "tldr", "collm_cc")
    assert key in flatten(settings) or key in settings
    other = changed(settings, key)
    differing = {
        stage
        for stage in dependencies.DEPENDS
        if dependencies.stage_settings(stage, settings) != dependencies.stage_settings(stage, other)
    }
    assert differing == stages


def test_every_named_block_and_key_is_one_of_the_settings(default):
    settings = resolve_settings(default, "str_build", "collm_dc")
    keys = set(flatten(settings)) | set(settings) | {*dependencies.PAID}  # there only where they change something
    listed = {*dependencies.KNOBS, *dependencies.OF_TRAINING}
    listed |= {key for blocks in dependencies.DEPENDS.values() for key in blocks}
    listed |= {key for neutral in dependencies.NEUTRAL.values() for key in neutral}
    assert listed <= keys


def test_what_fingerprints_leave_out():
    # A change here refuses the checkpoints of unfinished runs.
    assert set(dependencies.KNOBS) == {
        "plugins",
        "rollout.cache",
        "training.together",
        "configuration",
        "tracker",
        "sandbox",
        "fixed",
        "rollout.max_rows",
        "rollout.vllm_memory",
        "team.deterministic",
        "training.micro_batch_tokens",
        "training.gradient_checkpointing",
        "training.offload_optimiser",
        "training.checkpoint_every",
        "training.keep_checkpoints",
        "evaluation.latency_tasks",
        "evaluation.shown_samples",
    }


def test_a_model_depends_on_what_it_is_made_of_and_not_on_its_place(default):
    spec = {"source": "scratch", "layers": 2, "pretrain": {"steps": 50}, "device_map": "auto"}
    assert dependencies.model_settings(spec) == {"source": "scratch", "layers": 2, "pretrain.steps": 50}
    settings = resolve_settings(default, "str_build")
    made = dependencies.scratch_model_settings(settings, spec)
    assert {"layers", "pretrain.steps", "revision", "team.num_agents", "options.generated"} <= set(made)
    assert dependencies.report_settings(default) == {"estimator": "mean", "resamples": default["report"]["resamples"]}


def test_what_jobs_ask_of_a_machine(default, paper):
    scratch, hub = resolve_settings(default, "tldr", "collm_cc"), resolve_settings(paper, "tldr", "collm_cc")
    wheel = resolve_settings(load_config([BASE, SMOL]), "tldr", "collm_cc")
    assert [machine.gpus(job) for job in (scratch, wheel, hub)] == [0, 1, 1]
    assert [machine.threads(job) for job in (scratch, wheel, hub)] == [1, 64, 64]
    assert [machine.memory(job) for job in (scratch, wheel, hub)] == [2_000, 6_000, 32_000]
    assert [machine.minutes(job, attempt=2) for job in (scratch, wheel, hub)] == [120, 1_440, 2_880]
    whole = merge(hub, {"team": {"adapter": "full"}})
    assert machine.memory(whole, attempt=2) == 2 * 3 * 32_000 and machine.minutes(whole) == machine.minutes(hub)


def test_the_largest_model_counts(default):
    models = {"small": {"source": "scratch"}, "large": {"source": "hub"}}
    mixed = resolve_settings(default, "tldr") | {"models": models}
    assert (machine.memory(mixed), machine.minutes(mixed), machine.gpus(mixed)) == (32_000, 1_440, 1)
    assert targets.model_files(mixed) == ["resources/models/tldr/small/model.json", "resources/models/large/model.json"]


def test_files_of_a_job(default):
    trained, untrained = (resolve_settings(default, "tldr", name) for name in ("grpo", "parallel"))
    assert targets.start_files(trained, 3) == ["results/tldr/warm_start_single/seed3/adapters"]
    assert targets.start_files(merge(trained, {"warm_start": {"enabled": False}}), 3) == []
    assert targets.model_files(untrained) == ["resources/models/tldr/scratch/model.json"]
    assert targets.adapter_files("tldr", ["parallel", "raw", "grpo"], 0) == ["results/tldr/grpo/seed0/adapters"]
    assert targets.data_files("mbpp")[0] == "data/mbpp/manifest.json"
    assert targets.result_names("grpo") == ["samples.jsonl", "evaluation.json", "metrics.jsonl"]
    assert targets.result_names("warm_start") == targets.result_names("raw") == ["samples.jsonl", "evaluation.json"]


def test_embedded_rows_are_read_where_the_source_is_embedded(default):
    assert targets.embedded_rows(default, "tldr", ROOT) == ["src/collm/domains/embedded/tldr.jsonl"]
    assert targets.embedded_rows(default, "algebra", ROOT) == []  # generated
    assert targets.embedded_rows(merge(default, {"data": {"source": "hub"}}), "tldr", ROOT) == []


def test_files_of_tables_and_figures(default):
    config = default | {"methods": ["magrpo"], "baselines": ["parallel"], "seeds": [0, 1]}
    assert targets.result_files(config, ["tldr"]) == [
        "data/tldr/manifest.json",
        "results/tldr/magrpo/seed0/samples.jsonl",
        "results/tldr/magrpo/seed0/evaluation.json",
        "results/tldr/magrpo/seed0/metrics.jsonl",
        "results/tldr/magrpo/seed1/samples.jsonl",
        "results/tldr/magrpo/seed1/evaluation.json",
        "results/tldr/magrpo/seed1/metrics.jsonl",
        "results/tldr/parallel/seed0/samples.jsonl",
        "results/tldr/parallel/seed0/evaluation.json",
        "results/tldr/parallel/seed1/samples.jsonl",
        "results/tldr/parallel/seed1/evaluation.json",
    ]
    assert len(targets.sample_files(config, ["tldr", "arxiv"])) == 2 * 2 * 2
    assert targets.figure_files(config, ["tldr"]) == [
        f"results/figures/{kind}_tldr.{suffix}" for kind in ("curves", "bars", "health") for suffix in targets.SUFFIXES
    ]
    assert "results/figures/worlds_str_build.svg" in targets.figure_files(config, ["str_build"])


def test_runs_and_models_of_all_jobs(default, paper):
    count = len(default["domains"])
    assert (len(targets.all_trained(default)), len(targets.all_models(default))) == (count * 3, count)
    assert targets.all_warm_starts(default) == [
        f"results/{domain}/warm_start/seed0/run.json" for domain in default["domains"]
    ]
    assert targets.all_warm_starts(paper) == []
    assert [name.split("/")[2] for name in targets.all_models(paper)] == sorted(
        {name for domain in paper["domains"] for row in rows(paper, domain) for name in used(paper, domain, row)}
    )


def used(config: dict, domain: str, row: str) -> list[str]:
    return list(resolve_settings(config, domain, row)["models"])


def test_warm_starts_that_are_needed(default):
    def needed(methods: list[str], baselines: list[str], enabled: bool = True) -> list[str]:
        config = merge(default, {"defaults": {"warm_start": {"enabled": enabled}}})
        return targets.needed_warm_starts(config | {"methods": methods, "baselines": baselines}, "tldr")

    assert needed(["magrpo"], []) == ["warm_start"]
    assert needed(["grpo"], ["parallel"]) == ["warm_start_single"]
    assert needed(["ac", "collm_cc"], []) == ["warm_start", "warm_start_single"]
    assert needed([], ["warm_start_single", "raw"]) == ["warm_start_single"]
    assert needed([], ["parallel"]) == needed(["grpo", "magrpo"], ["warm_start"], enabled=False) == []


def test_rows_that_one_job_evaluates(default, paper):
    assert targets.evaluated_together(default) == default["domains"]
    assert targets.evaluated_together(paper) == []
    cold = merge(default, {"domain": {"tldr": {"warm_start": {"enabled": False}}}})
    assert set(default["domains"]) - set(targets.evaluated_together(cold)) == {"tldr"}
    mixed = merge(default, {"domain": {"mbpp": {"methods": {"magrpo": {"team": {"precision": "bf16"}}}}}})
    assert set(default["domains"]) - set(targets.evaluated_together(mixed)) == {"mbpp"}, "a process has one precision"


def test_short_runs_share_jobs(default, paper):
    assert targets.trained_together(default) == targets.trained_together(paper) == [], "their runs are longer"
    own = default["domain"]
    long = {name for name in default["domains"] if "max_updates" in own.get(name, {}).get("training", {})}
    brief = merge(default, {"defaults": {"training": {"max_updates": 4}}})
    assert set(targets.trained_together(brief)) == set(default["domains"]) - long
    assert targets.trained_together(merge(default, {"defaults": {"training": {"max_updates": None}}})) == []
    assert targets.trained_together({**brief, "methods": ["magrpo", "collm_cc"]}) == [], "two jobs are as many"
    more = {"domain": {"mbpp": {"methods": {"magrpo": {"training": {"max_updates": 5}}}}}}
    mixed = {"domain": {"humaneval": {"methods": {"magrpo": {"team": {"precision": "bf16"}}}}}}
    fewer = targets.trained_together(merge(merge(brief, more), mixed))
    assert set(targets.trained_together(brief)) - set(fewer) == {"mbpp", "humaneval"}


def joined(config, kind, **more):
    """Training jobs of several runs, where a kind of them is set for all benchmarks."""
    own = merge(config, {"defaults": {"training": {"together": kind}}}) | more
    return targets.training_jobs(own)


def test_jobs_that_train_seeds_or_methods_together(default):
    assert targets.training_jobs(default) == [], "everything alone"
    seeds, domains, methods = [3, 4], tuple(default["domains"]), tuple(default["methods"])
    (of_seeds,) = joined(default, "seeds", seeds=seeds)
    assert (of_seeds.name, of_seeds.domains, of_seeds.joined) == ("together_seeds", domains, {"seed": (3, 4)})
    assert of_seeds.runs("magrpo", None) == [("magrpo", 3), ("magrpo", 4)]
    assert of_seeds.place == "{domain}/{method}/together_seeds"
    (of_methods,) = joined(default, "methods", seeds=seeds)
    assert of_methods.joined == {"method": methods} and of_methods.place == "{domain}/together_methods/seed{seed}"
    assert of_methods.runs(None, "4") == [(method, "4") for method in methods]
    (of_all,) = joined(default, "all", seeds=seeds)
    assert of_all.runs(None, None) == [(method, seed) for method in methods for seed in seeds]
    assert of_all.place == "{domain}/together_all"
    assert joined(default, "seeds", seeds=[0]) == [], "one seed is alone"
    assert joined(default, "all", seeds=[0], methods=["magrpo"]) == []
    tldr = merge(default, {"domain": {"tldr": {"training": {"together": "seeds"}}}}) | {"seeds": seeds}
    assert [jobs.domains for jobs in targets.training_jobs(tldr)] == [("tldr",)]


def test_short_runs_are_trained_as_they_are_told(default):
    brief = merge(default, {"defaults": {"training": {"max_updates": 4}}})
    names = [jobs.name for jobs in targets.training_jobs(brief)]
    assert names == ["together_0", "together_1"]
    assert targets.training_jobs(brief)[1].place == "{domain}/together_1/seed{seed}"
    kinds = {jobs.name: jobs.domains for jobs in joined(brief, "methods")}
    assert kinds == {"together_methods": tuple(default["domains"])}, "no second mechanism beside it"


def test_variants_train_the_same_together(default):
    def variants_of(**changes):
        together = {"defaults": {"training": {"together": "seeds"}}}
        return merge(default, together) | {"seeds": [0, 1], "variants": {"a": {}, "b": changes}}

    targets.training_jobs(variants_of(defaults={"rollout": {"discount": 1.0}}))
    with pytest.raises(ConfigError, match="tldr: training.together is seeds in variant a, none in variant b"):
        targets.training_jobs(variants_of(defaults={"training": {"together": "none"}}))
    with pytest.raises(ConfigError, match="variant b has methods or seeds of its own"):
        targets.training_jobs(variants_of(seeds=[0, 2]))


def test_shares_are_all_methods_in_two_parts_of_about_the_same_cost():
    assert targets.shares(["magrpo", "collm_dc", "collm_cc"]) == [["collm_dc"], ["collm_cc", "magrpo"]]
    first, second = targets.shares([*METHODS])
    assert sorted([*first, *second]) == sorted(METHODS) and len(first) == len(second)
    assert {"ac", "collm_dc"} & set(first) and {"ac", "collm_dc"} & set(second), "local critics on both sides"


def test_report_modules_are_all_that_draw_and_nothing_that_would_draw_for_a_comment():
    tables, figures = (targets.report_modules(f"make_{kind}.py", SOURCE) for kind in ("tables", "figures"))
    assert tables[0] == "src/make_tables.py" and figures[0] == "src/make_figures.py"
    for files in (tables, figures):
        assert len(set(files)) == len(files) and all((ROOT / file).is_file() for file in files)
        rest = [file for file in files[1:] if not file.startswith("src/collm/report/")]
        assert rest == [f"src/collm/{name}.py" for name in ("methods/registry", "runs/health", "runs/health_remarks")]
        assert "src/collm/report/paper_results.csv" in files
    pages = [
        file
        for kind in ("episodes", "make_report", "claims", "compare_variants")
        for file in targets.report_modules(f"{kind}.py", SOURCE)
    ]
    assert {"src/collm/report/episodes/page.py", "src/collm/report/episodes/static/page.html"} <= {*pages}
    found = (SOURCE / "collm" / "report").rglob("*.py")
    everything = {str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"}
    claims = targets.report_modules("claims.py", SOURCE)
    assert everything <= {*tables, *figures, *pages, *claims}
    drawing = {file for file in everything if "matplotlib" in (ROOT / file).read_text(encoding="utf-8")}
    assert len(drawing) >= 3 and drawing <= {*figures, *pages, *claims} and not drawing & set(tables)


def test_a_new_module_of_the_report_is_found(tmp_path):
    source = tmp_path / "src"
    report = source / "collm" / "report"
    report.mkdir(parents=True)
    (source / "make_tables.py").write_text("from collm.report import first\nfrom collm.domains import get\n")
    (report / "first.py").write_text("import collm.report.second\nfrom collm.config import load\n")
    (report / "second.py").write_text("def late():\n    from collm.report.third import name\n")
    (report / "third.py").write_text("from collm.report import first\n")  # a circle ends
    (report / "unused.py").write_text("")
    assert targets.report_modules("make_tables.py", source) == [
        "src/make_tables.py",
        "src/collm/methods/registry.py",
        "src/collm/report/first.py",
        "src/collm/report/paper_results.csv",
        "src/collm/report/second.py",
        "src/collm/report/third.py",
        "src/collm/runs/health.py",
        "src/collm/runs/health_remarks.py",
    ]


def test_a_workflow_that_asks_for_files_loads_neither_torch_nor_pandas():
    program = "import sys; from collm.pipeline import dependencies, machine, targets; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "matplotlib"} & set(loaded)


def test_paths_are_relative_to_the_repository(default):
    files = [
        *targets.result_files(default, ["tldr"]),
        *targets.all_models(default),
        *targets.figure_files(default, ["tldr"]),
    ]
    assert not [file for file in files if Path(file).is_absolute()]


def test_a_report_shows_what_is_there(default, tmp_path):
    with pytest.raises(ConfigError, match="no table or figure of tldr, .* run snakemake first, or name the conf"):
        targets.report_files(default, tmp_path)
    for name in ("tables/main.csv", "figures/bars_tldr.png", "figures/bars_tldr.svg", "figures/bars_other.png"):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    assert targets.report_files(default, tmp_path) == ["results/tables/main.csv", "results/figures/bars_tldr.png"]


def test_claims_are_shown_once_they_are_there_and_need_no_file_of_a_study(default, tmp_path):
    for name in ("tables/main.csv", "tables/claims.csv", "figures/claims.png"):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    shown = targets.report_files(default, tmp_path)
    assert shown == ["results/tables/main.csv", "results/tables/claims.csv", "results/figures/claims.png"]
    assert targets.study_files(tmp_path) == []
    (tmp_path / "docs/study").mkdir(parents=True)
    for name in ("scores.csv", "curves.csv", "README.md"):
        (tmp_path / "docs/study" / name).touch()
    assert targets.study_files(tmp_path) == ["docs/study/curves.csv", "docs/study/scores.csv"]


def test_modules_of_claims_are_found():
    files = targets.report_modules("claims.py", SOURCE)
    folder = {str(path.relative_to(ROOT)) for path in (SOURCE / "collm" / "report" / "claims").glob("*.py")}
    assert folder - {"src/collm/report/claims/__init__.py"} <= set(files)
