"""Compare CoLLM's trainer with PyPI's comlrl on SmolLM2-135M: same prompts, same joint samples, ratios.

    python benchmarks/against_comlrl.py                  # everything; about half an hour on two cores
    python benchmarks/against_comlrl.py --quick          # does it run? (few samples of 8 tokens, no meaning)
    python benchmarks/against_comlrl.py --earlier FILE   # the peer's runs from an earlier results.json

Every run is a process of its own, one after another; nothing else should use the machine. The peer runs in its own
environment, made here with venv and pip when it is missing. Also printed: where our time goes, which share of the
machine's rate of products the update reaches, and our generation beside that of transformers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness

PEER = "comlrl==1.4.3"
COMPARED = {"tokens": "tokens_per_second", "samples": "samples_per_second", "memory": "vm_hwm_mb"}
VARIANTS: dict[str, tuple[str, ...]] = {  # of our side: arguments of our worker
    "lora": (),
    "full": ("--adapter", "full"),
    "lora-fp32": ("--precision", "fp32"),
    "lora-released": ("--semantics", "released"),
}
SIDES = ("peer", *VARIANTS)
PARTS = ("runs", "profiles", "generation")
UPDATE_GOAL, GENERATION_GOAL = 0.5, 0.7
HEADER = (
    "case",
    "trainer",
    "precision",
    "joint samples",
    "steps",
    "s",
    "tokens",
    "tokens/s",
    "samples/s",
    "peak MB",
    "× tokens/s",
    "× samples/s",
    "× memory",
    "goal",
)


@dataclass(frozen=True)
class Case:
    """One comparison: a method, its joint samples and K, and the ratios that CoLLM with LoRA is to reach."""

    name: str
    method: str
    samples: int
    generations: int = 1
    game: str = "prompts"
    speed_goal: float | None = None
    memory_goal: float | None = None


CASES = (
    Case("collm_cc", "collm_cc", 8, speed_goal=12.0, memory_goal=1 / 4),
    Case("collm_dc", "collm_dc", 8, speed_goal=12.0, memory_goal=1 / 5),
    Case("magrpo", "magrpo", 32, 4, speed_goal=10.0, memory_goal=1 / 3),
    Case("str_build", "collm_cc", 8, game="str_build", speed_goal=12.0),  # two episodes of four turns
)
DECODED = ("collm_cc", "magrpo")  # whose batches generation is compared on: K = 1 and K = 4
NAMES = tuple(case.name for case in CASES)
QUICK = (
    Case("collm_cc", "collm_cc", 2),
    Case("collm_dc", "collm_dc", 2),
    Case("magrpo", "magrpo", 4, 2),
    Case("str_build", "collm_cc", 4, game="str_build"),
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line of the benchmark."""
    parser = harness.argument_parser(__doc__, "against_comlrl")
    parser.add_argument("--peer-env", type=Path, default=harness.ROOT / ".venv-peer", help="made when missing")
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=("peer", "lora", "full"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the benchmark")
    parser.add_argument("--earlier", type=Path, help="results whose runs of the peer are taken instead of new ones")
    return parser.parse_args(argv)


def measure(case: Case, side: str, python: Path | str, arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run one worker."""
    script = "peer_worker.py" if side == "peer" else "our_worker.py"
    options = {
        "method": case.method,
        "game": case.game,
        "samples": case.samples,
        "generations": case.generations,
        "new_tokens": 8 if arguments.quick else harness.NEW_TOKENS,
    }
    flags = [*VARIANTS.get(side, ()), *more]
    line = harness.worker(script, python, f"{case.name} {side}{''.join(more)}", options, arguments, flags)
    harness.tell(line)
    return {**line, "case": case.name, "variant": side}


def python_of(side: str, arguments: argparse.Namespace) -> Path | str:
    """The Python that a side runs in; the peer's environment is made when it is missing."""
    if side != "peer":
        return sys.executable
    return harness.make_environment(arguments.peer_env, PEER, harness.ours("torch", "transformers"))


def earlier(case: Case, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The peer's run of a case from the earlier results; None if they hold none."""
    if arguments.earlier is None:
        return None
    if not arguments.earlier.is_file():
        raise harness.BenchmarkError(f"no earlier results in {arguments.earlier}; leave --earlier out")
    for line in json.loads(arguments.earlier.read_text(encoding="utf-8"))["runs"]:
        same = (line["samples"], line["generations"]) == (case.samples, case.generations)
        if line["variant"] == "peer" and line.get("case", line["method"]) == case.name and same:
            print(f"{case.name} peer: as in {harness.show(arguments.earlier)}", flush=True)
            return {"game": case.game, "agents": 2, **line, "case": case.name}
    return None


def ratios(lines: Iterable[dict[str, Any]], cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Ours over the peer's, per case and variant: tokens/s, joint samples/s and peak memory."""
    by_key = {(line["case"], line["variant"]): line for line in lines}
    entries = []
    for case in cases:
        peer = by_key.get((case.name, "peer"))
        for variant in VARIANTS:
            ours = by_key.get((case.name, variant))
            if peer is None or ours is None:
                continue
            entry: dict[str, Any] = {"case": case.name, "variant": variant}
            entry |= {name: ours[key] / peer[key] for name, key in COMPARED.items()}
            if variant == "lora" and case.speed_goal:
                entry["goal_tokens"], entry["goal_memory"] = case.speed_goal, case.memory_goal
                fits = case.memory_goal is None or entry["memory"] <= case.memory_goal
                entry["reached"] = entry["tokens"] >= case.speed_goal and fits
            entries.append(entry)
    return entries


def goal_text(entry: dict[str, Any]) -> str:
    """The goals of a comparison and whether they were reached."""
    if "reached" not in entry:
        return ""
    memory = "" if entry["goal_memory"] is None else f", ≤ {entry['goal_memory']:.2f}"
    return f"≥ {entry['goal_tokens']:g}×{memory}: {'reached' if entry['reached'] else 'not reached'}"


def table(lines: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """Markdown table of all runs, one line a run, with the ratios to the peer's run of the same case."""
    by_key = {(entry["case"], entry["variant"]): entry for entry in comparisons}
    rows = []
    for line in lines:
        entry = by_key.get((line["case"], line["variant"]), {})
        name = "comlrl" if line["variant"] == "peer" else f"CoLLM {line['variant']}"
        parts = [f"{entry[key]:.2f}" if key in entry else "" for key in COMPARED]
        rows.append(
            [
                line["case"],
                name,
                line["precision"],
                f"{line['samples']} (K = {line['generations']})",
                "/".join(str(count) for _, count in sorted(line["updates"].items())),
                f"{line['wall_seconds']:.1f}",
                line["generated_tokens"],
                f"{line['tokens_per_second']:.2f}",
                f"{line['samples_per_second']:.3f}",
                f"{line['vm_hwm_mb']:.0f}",
                *parts,
                goal_text(entry),
            ]
        )
    return harness.markdown(HEADER, rows)


def limits_table(lines: Sequence[dict[str, Any]]) -> str:
    """Where the time of our LoRA runs went, and how near they came to the machine's rate of products."""
    peers = {line["case"]: line for line in lines if line["variant"] == "peer"}
    header = (
        "case",
        "play s",
        "values s",
        "policy s",
        "optimiser s",
        "rest s",
        "rewards s",
        "update Tops",
        "products Gops/s",
        f"update's share (≥ {UPDATE_GOAL:.0%} wanted)",
        "tokens/s if all at that rate",
        "× comlrl then",
        "share reached",
    )
    rows = []
    for line in lines:
        if line["variant"] != "lora":
            continue
        peer, bound = peers.get(line["case"]), line["tokens_per_second_at_matmul_rate"]
        operations = line["gigaoperations"]
        rows.append(
            [
                line["case"],
                *(f"{seconds:.2f}" for seconds in line["parts"].values()),
                f"{line['reward_seconds']:.3f}",
                f"{(operations.get('values', 0) + operations['policy']) / 1000:.2f}",
                f"{line['matmul_gigaoperations_per_second']:.0f}",
                f"{line['update_share_of_matmul_rate']:.0%}",
                f"{bound:.0f}",
                f"{bound / peer['tokens_per_second']:.1f}" if peer else "",
                f"{line['tokens_per_second'] / bound:.0%}",
            ]
        )
    return harness.markdown(header, rows)


def operators_text(line: dict[str, Any]) -> str:
    """The operators that took most time, by torch's profiler."""
    operators = (
        f"{entry['operator']} {entry['share']:.0%} ({entry['seconds']:.1f} s, {entry['calls']}×)"
        for entry in line["operators"]
    )
    return (
        f"{line['case']}, most of its own time ({line['wall_seconds']:.1f} s with the profiler): {', '.join(operators)}"
    )


def generation(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Our decoding beside transformers' generate, on the batch of a case's rollout."""
    options = {
        "method": case.method,
        "samples": min(4, case.samples // case.generations) * case.generations,
        "generations": case.generations,
        "new_tokens": 8 if arguments.quick else harness.NEW_TOKENS,
    }
    return harness.worker("generation_worker.py", sys.executable, f"generation {case.name}", options, arguments)


def generation_table(lines: Sequence[dict[str, Any]]) -> str:
    """Tokens per second of decoding."""
    rows = [
        [
            line["rows"],
            line["adapters"],
            f"{line['ours']:.0f}",
            f"{line['theirs']:.0f} ({line['best']})",
            f"{line['theirs_with_adapter']:.0f}",
            f"{line['ours'] / line['theirs']:.2f}",
            "reached" if line["ours"] >= GENERATION_GOAL * line["theirs"] else "not reached",
        ]
        for line in lines
    ]
    header = (
        "rows",
        "adapters of ours",
        "CoLLM tokens/s",
        "transformers, no adapter",
        "transformers, one adapter",
        "×",
        f"≥ {GENERATION_GOAL:.0%}",
    )
    return harness.markdown(header, rows)


def compare(arguments: argparse.Namespace) -> None:
    """Make what is missing, run every worker in turn, print the tables; results are saved after each run."""
    cases = [case for case in (QUICK if arguments.quick else CASES) if case.name in arguments.cases]
    out = arguments.out or arguments.work / "results.json"
    harness.make_inputs(arguments.work, arguments.threads)
    results: dict[str, Any] = harness.facts("against_comlrl.py", arguments.threads) | {"quick": arguments.quick}
    results |= {"runs": [], "ratios": [], "profiles": [], "generation": []}
    for case in cases if "runs" in arguments.parts else ():
        for side in arguments.sides:
            known = earlier(case, arguments) if side == "peer" else None
            results["runs"].append(known or measure(case, side, python_of(side, arguments), arguments))
            results["ratios"] = ratios(results["runs"], cases)
            harness.save(out, results)
    for case in cases if "profiles" in arguments.parts else ():
        results["profiles"].append(measure(case, "lora", sys.executable, arguments, "--profile"))
        harness.save(out, results)
    for case in cases if "generation" in arguments.parts else ():
        if case.name in DECODED:
            results["generation"].append(generation(case, arguments))
            harness.save(out, results)
    report(results)
    print(f"saved: {harness.show(out)}")


def report(results: dict[str, Any]) -> None:
    """Print the tables with all that their numbers depend on."""
    if results["runs"]:
        print("\n" + table(results["runs"], results["ratios"]) + "\n")
        print(limits_table(results["runs"]) + "\n")
    if results["generation"]:
        print(generation_table(results["generation"]) + "\n")
    if results["profiles"]:
        print("\n".join(map(operators_text, results["profiles"])) + "\n")
    harness.tell_facts(results, results["runs"])
    print("tokens/s: generated tokens (end token counted, padding not) per second of training, not loading")
    print("steps: optimiser steps of agent 0/agent 1/critics; the peer always trains full copies")
    print("× = ours over the peer's in this run; memory: peak resident set of the whole process")
    print("ops: multiplications and additions that the passes need; products: the best square matmul in the same dtype")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return harness.serve(lambda: compare(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
