"""Is it right and fast on this GPU? One script, one card, eight minutes; torch, transformers, peft and accelerate.

    python benchmarks/on_gpu.py                       # all parts, the most important first
    python benchmarks/on_gpu.py --parts right fast    # some of them
    python benchmarks/on_gpu.py --smoke --device cpu  # tiny shapes: does every line run?

right   CPU against this device: scores, values, gradients, tokens, two adapters in one batch, resume
fast    random weights in the paper's shapes: tokens/s, samples/s, shares of the card's rates, memory and its estimate
beside  comlrl and TRL with the same shape and samples; needs their wheels (--peers), what is missing is skipped
learns  SmolLM2-135M on TLDR and navigate, three methods, as many seeds and updates as the time holds; needs --model

Every part is a process of its own with a time limit of its own; the JSON is written again after every line, so that
what was measured before a limit or a crash is kept. `make gpu-kit` puts together what a machine without internet needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = {"right": 0.2, "fast": 0.4, "beside": 0.2, "learns": 0.2}  # share of the time that each may take
MINUTES, SMOKE_MINUTES = 8.0, 60.0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, in this process: no numbers of meaning")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, help=f"of all parts together; default {MINUTES:g}")
    parser.add_argument("--out", type=Path, default=Path("on_gpu.json"), help="results, written after every line")
    parser.add_argument("--work", type=Path, default=Path("on_gpu_work"), help="folder of models and prompts made here")
    parser.add_argument("--model", type=Path, help="folder of SmolLM2-135M, or of the parts of its GGUF file (gpu-kit)")
    parser.add_argument(
        "--data", type=Path, help="folder with tldr/, navigate/, ... of real rows; default: embedded ones"
    )
    parser.add_argument("--peers", type=Path, nargs="*", default=[], help="folders with wheels of comlrl and TRL")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)  # this process is the part
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.minutes = arguments.minutes or (SMOKE_MINUTES if arguments.smoke else MINUTES)
    return arguments


def run_part(arguments: argparse.Namespace) -> None:
    """One part, in this process."""
    for folder in (str(HERE), str(ROOT / "src")):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    from on_gpu import common

    module = importlib.import_module(f"on_gpu.{arguments.part}")
    context = common.Context(
        arguments.part,
        arguments.device,
        arguments.smoke,
        arguments.work,
        common.Report(arguments.out),
        common.Deadline(arguments.seconds),
        arguments.model,
        tuple(arguments.peers),
        arguments.data,
    )
    context.begin()
    module.run(context)
    context.end()


def start_part(arguments: argparse.Namespace, argv: Sequence[str], seconds: float) -> str | None:
    """One part in a process of its own; what went wrong, None if nothing did."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        *argv,
        "--part",
        arguments.part,
        "--seconds",
        str(seconds),
    ]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    try:
        status = subprocess.run(command, env=variables, timeout=seconds * 1.15 + 20).returncode
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    return None if status == 0 else f"ended with status {status}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts one after another; 1 if one failed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parse(argv)
    if arguments.part:
        run_part(arguments)
        return 0
    arguments.out.unlink(missing_ok=True)
    end, failed = time.monotonic() + 60 * arguments.minutes, []
    for index, part in enumerate(arguments.parts):
        left = end - time.monotonic()
        rest = sum(PARTS[name] for name in arguments.parts[index:])
        arguments.part, arguments.seconds = part, max(5.0, left * PARTS[part] / rest)
        print(f"== {part}: up to {arguments.seconds:.0f} s", flush=True)
        if arguments.smoke:
            run_part(arguments)
            continue
        trouble = start_part(arguments, argv, arguments.seconds)
        if trouble:
            failed.append(part)
            print(f"== {part} {trouble}; what it had measured is in {arguments.out}", flush=True)
    print(f"results: {arguments.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
