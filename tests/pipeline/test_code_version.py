"""The version of the code: what says the same counts as the same, what decides no number does not count."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from support.places import ROOT

from collm.config.load import load_config
from collm.pipeline import code_version

STAGES = ("warm_start", "train", "evaluate")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the sources that a test may change; `edit` changes one file of it."""
    root = tmp_path / "src"
    shutil.copytree(ROOT / "src", root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_version, "ROOT", root)

    def edit(name, change):
        path = root / name
        text = path.read_text()
        changed = change(text)
        assert changed != text
        path.write_text(changed)

    return edit


def negated(text):
    return text.replace("    return ", "    return -", 1)


def test_a_sign_counts_and_names_its_module(copy):
    before = code_version.modules("train", "tldr")
    copy("collm/methods/policy_gradient.py", negated)
    after = code_version.modules("train", "tldr")
    assert code_version.changed(before, after) == ["collm.methods.policy_gradient"]
    assert code_version.digest(before) != code_version.digest(after)


def test_comments_docstrings_and_formatting_do_not_count(copy):
    before = code_version.modules("train", "tldr")
    copy("collm/methods/policy_gradient.py", lambda text: text.replace('"""', '"""Words. ', 1) + "\n\n# a comment\n")
    copy("collm/training/learner.py", lambda text: text.replace("(self, ", "(\n        self, ", 1))
    assert code_version.modules("train", "tldr") == before


@pytest.mark.parametrize(
    "file",
    ["common/progress.py", "common/cli.py", "runs/record.py", "report/tables.py", "planning/plan.py", "llm/vllm.py"],
)
def test_bookkeeping_does_not_count(copy, file):
    before = {stage: code_version.modules(stage, "coophe") for stage in STAGES}
    copy(f"collm/{file}", lambda text: text + "\nADDED = 1\n")
    assert {stage: code_version.modules(stage, "coophe") for stage in STAGES} == before


@pytest.mark.parametrize(
    ("file", "stage", "domain", "counts"),
    [
        ("domains/writing/reward.py", "train", "tldr", True),
        ("domains/writing/reward.py", "train", "str_build", False),
        ("sandbox/guest/checker.py", "train", "coophe", True),  # started by its path, imported by nobody
        ("sandbox/guest/checker.py", "train", "tldr", False),
        ("training/learner.py", "train", "tldr", True),
        ("training/learner.py", "warm_start", "tldr", False),
        ("training/rollout.py", "evaluate", "tldr", True),
        ("training/sft.py", "warm_start", "tldr", True),
        ("llm/packed/decoding.py", "warm_start", "tldr", True),
        ("runs/member_state.py", "train", "tldr", True),
        ("common/seeds.py", "evaluate", "tldr", True),
    ],
)
def test_what_a_stage_imports_counts(copy, file, stage, domain, counts):
    before = code_version.modules(stage, domain)
    copy(f"collm/{file}", lambda text: text + "\nADDED = 1\n")
    changed = code_version.changed(before, code_version.modules(stage, domain))
    assert changed == (["collm." + file.removesuffix(".py").replace("/", ".")] if counts else [])


def test_vllm_counts_where_it_samples():
    assert code_version.VLLM in code_version.modules("train", "tldr", backend="vllm")


def test_no_torch_is_imported():
    command = (
        "import sys, collm.pipeline.code_version as c; c.modules('train', 'tldr'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", command], env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0


# what the workflow says before it starts


def record(results, row, seed, stage, revision, code):
    folder = results / "tldr" / row / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    name = "evaluation.json" if stage == "evaluate" else "run.json"
    facts = {"config": {"revision": revision}, **({"code": {"modules": code}} if code else {})}
    (folder / name).write_text(json.dumps(facts))


def test_notices_name_runs_and_modules(copy, tmp_path):
    config = {**load_config([ROOT / "config" / "config.yaml"]), "domains": ["tldr"], "seeds": [0, 1]}
    results = tmp_path / "results"
    assert code_version.notices(config, tmp_path) == []
    for stage, row in (("train", "collm_cc"), ("evaluate", "collm_cc"), ("evaluate", "parallel")):
        for seed in (0, 1):
            record(results, row, seed, stage, config["revision"], code_version.modules(stage, "tldr"))
    assert code_version.notices(config, tmp_path) == []
    copy("collm/methods/policy_gradient.py", negated)
    (notice,) = code_version.notices(config, tmp_path)
    assert notice == (
        f"train: {results}/tldr/collm_cc/seed0, {results}/tldr/collm_cc/seed1: made by other code (changed: "
        f"collm.methods.policy_gradient); revision is still {config['revision']!r}, so that they are kept; set another "
        "revision to have them made again"
    )
    assert code_version.notices({**config, "revision": "other"}, tmp_path) == []  # Snakemake makes them again
    copy("collm/training/evaluation.py", lambda text: text + "\nADDED = 1\n")
    notices = code_version.notices(config, tmp_path)
    assert [notice.partition(":")[0] for notice in notices] == ["train", "evaluate"]
    assert "collm_cc" not in notices[1] and "parallel/seed1" in notices[1] and "--forcerun evaluate" in notices[1]


def test_notices_of_runs_that_recorded_no_code(tmp_path):
    config = {**load_config([ROOT / "config" / "config.yaml"]), "domains": ["tldr"], "seeds": [0]}
    record(tmp_path / "results", "collm_cc", 0, "train", config["revision"], None)
    (notice,) = code_version.notices(config, tmp_path)
    assert "a version that recorded no code" in notice
