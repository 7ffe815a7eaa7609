"""Log-likelihood accuracy of one model on one MMLU subject, to be set beside lm-eval's result on the same rows.

python benchmarks/single_model.py --model FOLDER --subject abstract_algebra --rows DATA/mmlu/abstract_algebra_test.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import likelihood

from collm.common import cli
from collm.domains import readers  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON object: subject, rows, right, accuracy and the chosen letters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder in transformers' format")
    parser.add_argument("--subject", required=True, help="name of the subject, like abstract_algebra")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines with question, choices, answer")
    parser.add_argument("--batch", type=int, default=8, help="sequences per forward pass")
    arguments = parser.parse_args(argv)
    rows = [row.fields for row in readers.read_rows(arguments.rows)]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    outcome = likelihood.measure(model, tokenizer, rows, arguments.subject, arguments.batch)
    letters = "".join(likelihood.LETTERS[position] for position in outcome.chosen)
    right = round(outcome.accuracy * len(rows))
    report = {"subject": arguments.subject, "rows": len(rows), "right": right, "accuracy": outcome.accuracy}
    print(json.dumps(report | {"chosen": letters}))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
