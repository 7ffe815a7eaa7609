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
from support.workflow import DEFAULT, ENVIRONMENT, NOTHING, TINY, call, copy_of_repository, snakemake

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


def test_use_from_elsewhere_is_refused_at_once(copy, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    snakefile = str(copy / "Snakefile")
    words = f"this workflow runs in its own folder only: start Snakemake in {copy}, not in {elsewhere}"
    for command in (["-s", snakefile], ["-s", snakefile, "--directory", str(elsewhere)]):
        assert words in call(elsewhere, "snakemake", "-n", *command, status=1)
    module = f'module collm:\n    snakefile: "{snakefile}"\nuse rule * from collm\n'
    (elsewhere / "Snakefile").write_text(module, encoding="utf-8")
    output = call(elsewhere, "snakemake", "-n", status=1)
    assert words in output and "do not include it as a `module`" in output and "Traceback" not in output


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
