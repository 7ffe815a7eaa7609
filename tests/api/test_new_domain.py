"""docs/new_domain.md word by word: its code in a folder outside the clone, checked, trained, evaluated, in a table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from support.places import ROOT

PAGE = (ROOT / "docs" / "new_domain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
MODULE, REWARD, METHOD = [text for kind, text in BLOCKS if kind == "python"]
OWN, WEIGHTS = [text for kind, text in BLOCKS if kind == "yaml"]
TRAIN = """
import collm
files = [{tiny!r}, "own.yaml", "reward.yaml"]
run = collm.train("count_on", "collm_cc", config=files, device="cpu")
table = run.table()
print(table.to_string())
assert set(table["method"]) == {{"warm_start", "collm_cc"}} and "right" in set(table["metric"])
run.curve().save("curve.png")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's files."""
    made = tmp_path_factory.mktemp("own")
    (made / "count_on.py").write_text(MODULE)
    (made / "my_method.py").write_text(METHOD)
    (made / "my_reward.py").write_text(REWARD)
    (made / "own.yaml").write_text(OWN)
    (made / "reward.yaml").write_text(WEIGHTS)
    return made


def call(folder, *words):
    """Output of Python started in the folder; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_template_is_as_short_as_the_page_says():
    assert len([line for line in MODULE.splitlines() if line.strip()]) <= 40


def test_the_template_keeps_the_contract(folder):
    said = call(folder, "-m", "collm", "check-domain", "count_on:CountOn")
    assert said == "count_on:CountOn: nothing is wrong (teams of 1, 3 agents)\n"


def test_the_reward_of_the_page_keeps_the_contract(folder):
    options = '{"reward": "my_reward:short", "weights": {"all": 0, "short": 2}}'
    said = call(folder, "-m", "collm", "check-domain", "count_on:CountOn", "--options", options)
    assert said == "count_on:CountOn: nothing is wrong (teams of 1, 3 agents)\n"


def test_the_template_is_trained_and_evaluated_outside_the_clone_with_the_reward_of_the_page(folder):
    said = call(folder, "-c", TRAIN.format(tiny=str(ROOT / "tests" / "workflow" / "tiny.yaml")))
    assert "collm_cc" in said
    assert (folder / "curve.png").stat().st_size > 1000
    team = folder / "results" / "count_on" / "collm_cc" / "seed0" / "adapters"
    assert sorted(path.name for path in team.glob("agent_*")) == ["agent_0", "agent_1", "agent_2"]
    samples = folder / "results" / "count_on" / "collm_cc" / "seed0" / "samples.jsonl"
    for row in map(json.loads, samples.read_text().splitlines()):
        parts = row["turns"][-1]["parts"]
        assert set(parts) == {"share", "all", "short"} and parts["all"] == 0.0
        assert parts["short"] == 2 * row["record"]["function_parts"]["short"]
        assert parts["share"] == row["record"]["domain_parts"]["share"]
        assert row["reward"] == pytest.approx(sum(parts.values()))
    assert '"licence": "MIT"' in (folder / "data" / "count_on" / "manifest.json").read_text()


def test_the_method_of_the_page_has_its_own_advantage(folder):
    said = call(
        folder,
        "-c",
        "import torch; from collm.config import plugins; plugins.load(['my_method']); "
        "from collm.methods.monte_carlo import advantage_of; "
        "print(advantage_of('median')(torch.tensor([0.0, 1.0, 5.0])).tolist())",
    )
    assert said == "[-1.0, 0.0, 4.0]\n"
