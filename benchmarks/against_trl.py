"""Compare CoLLM's GRPO with TRL's on SmolLM2-135M: one agent, the same prompts, K and responses; ratios.

    python benchmarks/against_trl.py                  # a few minutes on two cores
    python benchmarks/against_trl.py --quick          # does it run? (few responses of 8 tokens, no meaning)

Both train LoRA of rank 16 on all linear layers. Every run is a process of its own, one after another; nothing else
should use the machine. TRL runs in its own environment, made here with venv and pip when it is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

PEER = "trl==1.16.0"
MORE = ("datasets==5.2.0",)
SPEED_GOAL, MEMORY_GOAL = 2.5, 1 / 2
RUNS: dict[str, tuple[str, ...]] = {  # arguments of the workers; the first two are TRL's
    "trl": (),
    "trl-plain": ("--variant", "plain"),
    "collm": (),
}
HEADER = (
    "trainer",
    "precision",
    "steps",
    "s",
    "tokens",
    "tokens/s",
    "responses/s",
    "peak MB",
    "× tokens/s",
    "× responses/s",
    "× memory",
    "goal",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line of the benchmark."""
    parser = harness.argument_parser(__doc__, "against_trl")
    parser.add_argument("--peer-env", type=Path, default=harness.ROOT / ".venv-trl", help="made when missing")
    parser.add_argument("--runs", nargs="+", choices=tuple(RUNS), default=tuple(RUNS))
    return parser.parse_args(argv)


def measure(name: str, peer: Path | str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    ours = name == "collm"
    options = {"method": "grpo", "agents": 1, "samples": 32, "generations": 4, "new_tokens": harness.NEW_TOKENS}
    if arguments.quick:
        options |= {"samples": 16, "new_tokens": 8}
    script, python = ("our_worker.py", sys.executable) if ours else ("trl_worker.py", peer)
    line = harness.worker(script, python, name, options, arguments, RUNS[name])
    harness.tell(line)
    return {**line, "variant": name}


def ratios(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ours over TRL's, per variant of TRL: tokens/s, responses/s and peak memory."""
    ours = next((line for line in lines if line["variant"] == "collm"), None)
    by_variant = {}
    for line in lines if ours else ():
        if line is ours:
            continue
        speed, memory = ours["tokens_per_second"] / line["tokens_per_second"], ours["vm_hwm_mb"] / line["vm_hwm_mb"]
        by_variant[line["variant"]] = {
            "tokens": speed,
            "responses": ours["samples_per_second"] / line["samples_per_second"],
            "memory": memory,
            "goal_tokens": SPEED_GOAL,
            "goal_memory": MEMORY_GOAL,
            "reached": speed >= SPEED_GOAL and memory <= MEMORY_GOAL,
        }
    return by_variant


def table(lines: Sequence[dict[str, Any]], ratios_of: dict[str, dict[str, Any]]) -> str:
    """All runs; the ratios stand in TRL's lines."""
    rows = []
    for line in lines:
        row = [
            line["variant"],
            line["precision"],
            line["updates"]["agent_0"],
            f"{line['wall_seconds']:.1f}",
            line["generated_tokens"],
            f"{line['tokens_per_second']:.2f}",
            f"{line['samples_per_second']:.3f}",
            f"{line['vm_hwm_mb']:.0f}",
        ]
        entry = ratios_of.get(line["variant"])
        if entry:
            verdict = "reached" if entry["reached"] else "not reached"
            row += [f"{entry[key]:.2f}" for key in ("tokens", "responses", "memory")]
            row.append(f"≥ {SPEED_GOAL:g}×, ≤ {MEMORY_GOAL:.2f}: {verdict}")
        rows.append(row + [""] * (len(HEADER) - len(row)))
    return harness.markdown(HEADER, rows)


def compare(arguments: argparse.Namespace) -> None:
    """Make what is missing, run every worker in turn, print the table; results are saved after each run."""
    peer: Path | str = sys.executable
    if set(arguments.runs) - {"collm"}:
        more = [*harness.ours("torch", "transformers", "peft", "accelerate"), *MORE]
        peer = harness.make_environment(arguments.peer_env, PEER, more)
    harness.make_inputs(arguments.work, arguments.threads)
    out = arguments.out or arguments.work / "results.json"
    facts = harness.facts("against_trl.py", arguments.threads)
    lines: list[dict[str, Any]] = []
    for name in arguments.runs:
        lines.append(measure(name, peer, arguments))
        harness.save(out, {**facts, "quick": arguments.quick, "runs": lines, "ratios": ratios(lines)})
    print("\n" + table(lines, ratios(lines)) + "\n")
    harness.tell_facts(facts, lines)
    print("32 responses of up to 48 tokens, K = 4, 16 responses an optimiser step" if not arguments.quick else "quick")
    print("tokens/s: generated tokens (end token counted, padding not) per second of training, not loading")
    print("× = CoLLM's over that line's, in this run; memory: peak resident set of the whole process")
    print(f"saved: {harness.show(out)}")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return harness.serve(lambda: compare(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
