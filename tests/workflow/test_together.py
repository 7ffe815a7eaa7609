"""Runs side by side in one folder, runs from elsewhere, jobs that fail, and the report of another configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.workflow import DEFAULT, ENVIRONMENT, NOTHING, TINY, call, copy_of_repository, planned, snakemake

from collm.config import snapshot
from collm.config.load import load_config
from collm.config.resolve import merge

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]

RATE = 0.004
FAILING = """
import os, sys
domain = sys.argv[sys.argv.index("--domain") + 1]
print("reading rows", flush=True)
if domain == "tldr":
    os.kill(os.getpid(), 9)
if domain == "str_build":
    print("error: no folder x; correct it")
    sys.exit(2)
for name in ("manifest.json", "train.jsonl", "test.jsonl"):
    os.makedirs(f"data/{domain}", exist_ok=True)
    open(f"data/{domain}/{name}", "w").write("{}")
"""


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy in which nothing has run."""
    folder = tmp_path / "copy"
    folder.mkdir()
    return copy_of_repository(folder)


def overlay(folder: Path, name: str, content: dict) -> str:
    (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return name


def wait_for(file: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, f"{file} did not appear"
        time.sleep(0.2)


def test_two_runs_in_one_folder_keep_their_settings(copy):
    first = overlay(copy, "a.yaml", {"domain": {"tldr": {"training": {"agent_learning_rate": RATE}}}})
    second = overlay(copy, "b.yaml", {"domains": ["str_build"], "seeds": [3]})
    target = "results/tldr/collm_cc/seed0/run.json"
    command = ["snakemake", "--cores", "1", target, "--configfile", DEFAULT, TINY, first]
    running = subprocess.Popen(command, cwd=copy, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(copy / "logs/data/tldr.log")
        snakemake(copy, "--cores", "1", "data/str_build/manifest.json", overlays=(TINY, second))
        assert not (copy / target).exists(), "the second run was too slow to show anything"
        output, _ = running.communicate()
    finally:
        running.kill()
    assert running.returncode == 0, output.decode()[-4000:]
    used = json.loads((copy / target).read_text(encoding="utf-8"))["config"]
    assert used["training"]["agent_learning_rate"] == RATE
    files = (copy / "results/configs").iterdir()
    snapshots = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    assert sorted(config["seeds"] for config in snapshots.values()) == [[0], [3]]
    assert snapshots[used["configuration"]]["seeds"] == [0]
    assert NOTHING in snakemake(copy, "-n", target, overlays=(TINY, first))
    # A key that the jobs do not depend on: another snapshot, and nothing to do.
    third = overlay(copy, "c.yaml", {"report": {"resamples": 777}, "seeds": [0, 1]})
    assert NOTHING in snakemake(copy, "-n", target, overlays=(TINY, first, third))


def test_a_job_on_a_node_reads_what_its_run_wrote(copy):
    """As an executor for clusters calls Snakemake there, with the names of the user's files, edited in the meantime."""
    config = load_config([copy / DEFAULT, copy / TINY])
    snapshot.keep(merge(config, {"data": {"seed": 5}}), copy / snapshot.FOLDER)
    (file,) = (copy / snapshot.FOLDER).iterdir()
    job = ["--mode", "remote", "--nolock", "--target-jobs", "data:domain=str_build", "--allowed-rules", "data"]
    command = ["snakemake", "--cores", "1", *job, "--configfile", DEFAULT, TINY]
    output = call(copy, *command, status=1)
    assert "is not there: the configuration files changed since this run began" in output
    call(copy, "env", f"{snapshot.VARIABLE}={file.relative_to(copy)}", *command)
    assert json.loads((copy / "data/str_build/manifest.json").read_text(encoding="utf-8"))["seed"] == 5


def test_the_workflow_runs_in_another_folder(copy, tmp_path):
    """Sources stay in the clone, everything that is made lies where `--directory` says."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    mine = overlay(elsewhere, "mine.yaml", {"domains": ["str_build"]})
    files = ["--configfile", str(copy / DEFAULT), str(copy / TINY), mine]
    command = ["snakemake", "-s", str(copy / "Snakefile"), "--directory", str(elsewhere), "--cores", "1"]
    call(elsewhere, *command, "all_data", *files)
    assert (elsewhere / "data/str_build/manifest.json").is_file() and not (copy / "data").exists()
    output = call(elsewhere, *command, "-n", *files)
    assert {rule for rule, _ in planned(output)} >= {"train", "evaluate_together", "report_page"}
    assert f"{copy}/src/make_tables.py" in output
    assert planned(call(elsewhere, "snakemake", "-n", "-s", str(copy / "Snakefile"), "tldr")), (
        "the clone's own settings"
    )


MODULE = """
configfile: "mine.yaml"

module collm:
    snakefile: "{snakefile}"
    config: config

use rule * from collm as collm_*

rule mine:
    default_target: True
    input: "results/study/str_build/tables", "data/str_build/manifest.json"
"""


def test_the_workflow_serves_as_a_module(copy, tmp_path):
    """With differences alone in its configuration; its jobs run as those of the workflow that uses it."""
    outer = tmp_path / "outer"
    outer.mkdir()
    overlay(outer, "mine.yaml", {"domains": ["str_build"], "methods": ["magrpo"], "name": "study"})
    (outer / "Snakefile").write_text(MODULE.format(snakefile=copy / "Snakefile"), encoding="utf-8")
    jobs = dict(planned(call(outer, "snakemake", "-n")))
    assert {"collm_data", "collm_train", "collm_domain_tables", "mine"} <= set(jobs)
    call(outer, "snakemake", "--cores", "1", "data/str_build/manifest.json")
    made = json.loads((outer / "data/str_build/manifest.json").read_text(encoding="utf-8"))
    assert made["domain"] == "str_build"
    overlay(outer, "mine.yaml", {"domain": {"tldr": {"trainin": {}}}})
    assert "did you mean 'training'?" in call(outer, "snakemake", "-n", status=1)
    prefixed = MODULE.format(snakefile=copy / "Snakefile").replace("    config:", '    prefix: "sub"\n    config:')
    overlay(outer, "mine.yaml", {"domains": ["str_build"]})
    (outer / "Snakefile").write_text(prefixed, encoding="utf-8")
    output = call(outer, "snakemake", "-n", status=1)
    assert "takes no `prefix`" in output and "Traceback" not in output


def test_two_named_experiments_run_side_by_side(copy):
    """Snakemake locks files, not the folder: what both read has to be there, what they make has its own place."""
    first, second = (overlay(copy, f"{name}.yaml", {"domains": ["tldr"], "name": name}) for name in ("one", "two"))
    call(copy, "snakemake", "--cores", "1", "all_models", "--configfile", DEFAULT, TINY, first)
    target = "results/{}/tldr/warm_start/seed0/run.json"
    command = ["snakemake", "--cores", "1", target.format("one"), "--configfile", DEFAULT, TINY, first]
    running = subprocess.Popen(command, cwd=copy, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(copy / "logs/one/warm_start/tldr/warm_start/seed0.log")
        output = snakemake(copy, "--cores", "1", target.format("one"), overlays=(TINY, first), status=1)
        assert "cannot be locked" in output, "the same experiment twice"
        snakemake(copy, "--cores", "1", target.format("two"), overlays=(TINY, second))
        output, _ = running.communicate()
    finally:
        running.kill()
    assert running.returncode == 0, output.decode()[-4000:]
    assert all((copy / target.format(name)).is_file() for name in ("one", "two"))
    assert (copy / "checkpoints/two/tldr/warm_start/seed0").is_dir() and not (copy / "results/tldr").exists()


def test_variants_are_an_axis_of_the_plan(copy):
    change = {"variants": {"a": {}, "b": {"domain": {"tldr": {"rollout": {"discount": 0.5}}}}}, "domains": ["tldr"]}
    two = overlay(copy, "two.yaml", change)
    jobs = planned(snakemake(copy, "-n", overlays=(TINY, two)))
    wildcards = [words for rule, words in jobs if rule == "warm_start"]
    assert wildcards == ["variant=, domain=tldr, method=warm_start, seed=0"], "made once"
    assert sorted(words for rule, words in jobs if rule == "evaluate_together") == [
        f"variant={name}/, domain=tldr, seed=0" for name in ("a", "b")
    ]
    assert {"variant_tables", "variant_figure"} <= {rule for rule, _ in jobs}
    same = overlay(copy, "same.yaml", {**change, "variants": {"a": {}, "b": {}}})
    assert "variants.b changes nothing" in snakemake(copy, "-n", overlays=(TINY, same), status=1)


def test_failed_jobs_are_named_with_log_and_cause(copy):
    (copy / "src/prepare_data.py").write_text(FAILING, encoding="utf-8")
    change = overlay(copy, "three.yaml", {"domains": ["tldr", "str_build", "arxiv"]})
    output = snakemake(copy, "--cores", "1", "all_data", overlays=(change,), status=1)
    assert (copy / "data/arxiv/manifest.json").is_file(), "the other benchmark has run"
    at_once, _, rest = output.partition("2 jobs failed")
    block = "failed: data (domain={0})\n  log: logs/data/{0}.log\n  | reading rows\n"
    assert f"{block.format('str_build')}  | error: no folder x; correct it\n" in at_once
    assert block.format("tldr") in at_once
    assert "CalledProcessError" not in output and len(output.splitlines()) < 60
    summary = f"2 jobs failed{rest}".splitlines()
    assert summary[1:3] == ["  data (domain=str_build)", "    log: logs/data/str_build.log"]
    assert summary[3] == "    cause: error: no folder x; correct it"
    assert summary[4:6] == ["  data (domain=tldr)", "    log: logs/data/tldr.log"]
    assert summary[6].startswith("    cause: exit status 137: killed, most likely out of memory")


def test_a_report_is_that_of_the_last_run_and_of_what_is_there(copy):
    # The environment of these tests, not one of its own.
    (copy / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):  # what makes Python find its packages from there
        (copy / ".venv" / part).symlink_to(Path(sys.executable).parent.parent / part)
    time.sleep(1)
    (copy / ".venv/.installed").touch()
    assert "run snakemake first" in call(copy, "make", "report", status=2)
    change = overlay(copy, "one.yaml", {"domains": ["str_build"], "methods": ["magrpo"]})
    snakemake(copy, "--cores", "2", overlays=(TINY, change))
    call(copy, "make", "report")
    assert "Learning curves" in (copy / "results/workflow.html").read_text(encoding="utf-8")
    assert "StrBuild: learning curves" in (copy / "results/report.html").read_text(encoding="utf-8")
    logs = "".join(file.read_text(encoding="utf-8") for file in (copy / "logs").glob("figure/*.log"))
    assert "not shown" not in logs
    (copy / "results/workflow.html").unlink()
    shutil.rmtree(copy / "results/tables")
    call(copy, "make", "report", f"CONFIG={DEFAULT} {TINY} {change}")
    assert "Main results" not in (copy / "results/workflow.html").read_text(encoding="utf-8")
