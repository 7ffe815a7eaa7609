"""Time and memory of one update as agents and samples grow: n agents with adapters on one SmolLM2-135M.

    python benchmarks/agents.py                  # a few minutes on two cores
    python benchmarks/agents.py --quick          # does it run?

Every run is a process of its own that plays and learns twice; the first round also makes what later ones reuse, so the
second is timed. Per agent the responses are the same for every n.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import harness

AGENTS = (1, 2, 4, 8)
SAMPLES = (4, 8, 16)
BASE_AGENTS, BASE_SAMPLES = 2, 8  # what the other series holds fixed
PARAMETERS = 134_515_008  # of SmolLM2-135M, the output layer being the embedding
HEADER = ("agents", "joint samples", "play s", "update s", "s", "tokens", "tokens/s", "s per response", "peak MB")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line of the benchmark."""
    parser = harness.argument_parser(__doc__, "agents")
    parser.add_argument("--method", choices=("magrpo", "collm_cc", "collm_dc"), default="magrpo")
    parser.add_argument("--agents", nargs="+", type=int, default=AGENTS)
    parser.add_argument("--samples", nargs="+", type=int, default=SAMPLES, help="joint samples per update")
    return parser.parse_args(argv)


def measure(agents: int, samples: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of two rounds; the numbers are those of the second."""
    copies = 4 if arguments.method == "magrpo" else 1
    options = {
        "method": arguments.method,
        "agents": agents,
        "samples": 2 * samples,
        "generations": copies,
        "buffer": samples // copies,
        "new_tokens": 8 if arguments.quick else harness.NEW_TOKENS,
    }
    name = f"{arguments.method} {agents} agents {samples} samples"
    line = harness.worker("our_worker.py", sys.executable, name, options, arguments)
    rounds = zip(line["rollout_seconds"], line["update_seconds"], line["rollout_tokens"], strict=True)
    play, update, tokens = list(rounds)[-1]
    seconds = play + update
    print(f"  {seconds:.1f} s, {tokens / seconds:.1f} tokens/s, {line['vm_hwm_mb']:.0f} MB", flush=True)
    return {**line, "agents": agents, "round_samples": samples, "play": play, "update": update, "tokens": tokens}


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(slope, largest distance from the straight line as a share of the largest value), by least squares."""
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    away = max(abs(y - mean_y - rise * (x - mean_x)) for x, y in points)
    return rise, away / max(y for _, y in points)


def series(lines: Sequence[dict[str, Any]]) -> list[str]:
    """What a further agent and a further sample cost, a line each."""
    sentences = []
    for key, fixed, value in (("agents", "round_samples", BASE_SAMPLES), ("round_samples", "agents", BASE_AGENTS)):
        row = [line for line in lines if line[fixed] == value]
        if len({line[key] for line in row}) < 2:
            continue
        unit = "agent" if key == "agents" else "joint sample"
        seconds, bent = slope([(line[key], line["play"] + line["update"]) for line in row])
        memory, bent_memory = slope([(line[key], line["vm_hwm_mb"]) for line in row])
        sentences.append(
            f"a further {unit}: {seconds:.2f} s (straight line within {bent:.0%}), "
            f"{memory:.0f} MB (within {bent_memory:.0%})"
        )
        if key == "agents":
            shares = ", ".join(
                f"{memory * 1e6 / PARAMETERS / size:.2f} of the base in {name}"
                for name, size in (("bfloat16", 2), ("float32", 4))
            )
            sentences.append(
                f"memory of a further agent with its part of the batch: {shares}; further_agent.py measures adapter, "
                "gradients and optimiser alone"
            )
    return sentences


def table(lines: Sequence[dict[str, Any]]) -> str:
    """One line a run."""
    rows = []
    for line in lines:
        seconds = line["play"] + line["update"]
        responses = line["agents"] * line["round_samples"]
        rows.append(
            [
                line["agents"],
                line["round_samples"],
                f"{line['play']:.2f}",
                f"{line['update']:.2f}",
                f"{seconds:.2f}",
                line["tokens"],
                f"{line['tokens'] / seconds:.1f}",
                f"{seconds / responses:.3f}",
                f"{line['vm_hwm_mb']:.0f}",
            ]
        )
    return harness.markdown(HEADER, rows)


def compare(arguments: argparse.Namespace) -> None:
    """Run both series and print the table; results are saved after each run."""
    harness.make_inputs(arguments.work, arguments.threads)
    out = arguments.out or arguments.work / "results.json"
    facts = harness.facts("agents.py", arguments.threads) | {"quick": arguments.quick, "method": arguments.method}
    sizes = [(agents, BASE_SAMPLES) for agents in arguments.agents]
    sizes += [(BASE_AGENTS, samples) for samples in arguments.samples if (BASE_AGENTS, samples) not in sizes]
    lines: list[dict[str, Any]] = []
    for agents, samples in sizes:
        lines.append(measure(agents, samples, arguments))
        harness.save(out, {**facts, "runs": lines, "series": series(lines)})
    print("\n" + table(lines) + "\n")
    print("\n".join(series(lines)))
    harness.tell_facts(facts, lines)
    print(f"method {arguments.method}; peak MB: peak resident set of the whole process; saved: {harness.show(out)}")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return harness.serve(lambda: compare(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
