"""Is our log-likelihood accuracy that of lm-eval? One model, one MMLU subject, the same rows, both results.

    python -m venv .venv-lm-eval && .venv-lm-eval/bin/pip install -r requirements-lm-eval.txt
    python benchmarks/against_lm_eval.py --python .venv-lm-eval/bin/python --model resources/models/smol \\
        --subject abstract_algebra --rows DATA/mmlu/abstract_algebra_test.jsonl

lm-eval runs its own task `mmlu_<subject>` without examples; only its source of rows is changed, to the file given.
Prints one JSON object; the exit status is 1 if the two differ by more than one right answer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import likelihood

from collm.common import cli
from collm.common.errors import DataError  # noqa: E402
from collm.domains import readers  # noqa: E402

TASK = "rows_of_ours"
TOLERANCE = 1  # questions


def main(argv: Sequence[str] | None = None) -> int:
    """Measure twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="a Python that has lm-eval")
    parser.add_argument("--model", type=Path, required=True, help="folder in transformers' format")
    parser.add_argument("--subject", required=True, help="name of the subject, like abstract_algebra")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines with question, choices, answer")
    arguments = parser.parse_args(argv)
    rows = [row.fields for row in readers.read_rows(arguments.rows)]
    scores = {"ours": ours(arguments.model, rows, arguments.subject)}
    with tempfile.TemporaryDirectory() as folder:
        theirs = lm_eval(arguments.python, arguments.model, arguments.subject, arguments.rows, Path(folder))
    scores["lm_eval"] = theirs
    report: dict[str, Any] = {"subject": arguments.subject, "rows": len(rows)}
    right = {}
    for side, lines in scores.items():
        chosen = [max(range(len(line)), key=line.__getitem__) for line in lines]
        right[side] = sum(position == row["answer"] for position, row in zip(chosen, rows, strict=True))
        letters = "".join(likelihood.LETTERS[position] for position in chosen)
        report[side] = {"right": right[side], "accuracy": right[side] / len(rows), "chosen": letters}
    pairs = zip(itertools.chain(*scores["ours"]), itertools.chain(*scores["lm_eval"]), strict=True)
    report["largest_difference_nats"] = max(abs(first - second) for first, second in pairs)
    report["agree"] = abs(right["ours"] - right["lm_eval"]) <= TOLERANCE
    print(json.dumps(report))
    return 0 if report["agree"] else 1


def ours(model: Path, rows: Sequence[dict[str, Any]], subject: str) -> list[list[float]]:
    """Log-probabilities [question][option] of `likelihood.py`, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return likelihood.measure(network, tokenizer, rows, subject).scores


def lm_eval(python: Path, model: Path, subject: str, rows: Path, folder: Path) -> list[list[float]]:
    """Log-probabilities [question][option] of lm-eval, in float32; DataError with the end of its log if it fails."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    (folder / "task.yaml").write_text(yaml.safe_dump(task(package(python, variables), subject, rows)))
    command = [
        str(python),
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--tasks",
        TASK,
        "--include_path",
        str(folder),
        "--model_args",
        f"pretrained={model.resolve()},dtype=float32",
        "--device",
        "cpu",
        "--batch_size",
        "8",
        "--num_fewshot",
        "0",
        "--log_samples",
        "--output_path",
        str(folder / "out"),
    ]
    call(command, variables)
    samples = [row.fields for row in readers.read_rows(next((folder / "out").rglob("samples_*.jsonl")))]
    by_question = {}
    for sample in samples:
        by_question[sample["doc_id"]] = scores = [float(response[0]) for response in sample["filtered_resps"]]
        if (scores.index(max(scores)) == sample["doc"]["answer"]) != bool(sample["acc"]):
            raise DataError(f"lm-eval counts question {sample['doc_id']} otherwise than its own scores say")
    return [by_question[number] for number in sorted(by_question)]


def task(tasks: Path, subject: str, rows: Path) -> dict[str, Any]:
    """lm-eval's own task of the subject, reading `rows` instead of the hub."""
    return {
        "include": str(tasks / "mmlu" / "default" / f"mmlu_{subject}.yaml"),
        "task": TASK,
        "task_alias": TASK,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve()), "dev": str(rows.resolve())}},
    }


def package(python: Path, variables: dict[str, str]) -> Path:
    """Folder of lm-eval's tasks in that Python's packages."""
    find = "import importlib.util as u; print(u.find_spec('lm_eval').submodule_search_locations[0])"
    return Path(call([str(python), "-c", find], variables).strip()) / "tasks"


def call(command: list[str], variables: dict[str, str]) -> str:
    """Standard output of a command; DataError with the last lines of its log if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode:
        tail = " | ".join(done.stderr.splitlines()[-3:])
        raise DataError(f"{command[0]} ended with status {done.returncode}: {tail}; is lm-eval installed there?")
    return done.stdout


if __name__ == "__main__":
    sys.exit(cli.run(main))
