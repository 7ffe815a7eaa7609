"""Compare CoLLM's trainer with PyPI's comlrl on SmolLM2-135M: same prompts, same joint samples, ratios.

    python benchmarks/against_comlrl.py                  # everything; about half an hour on two cores
    python benchmarks/against_comlrl.py --quick          # does it run? (few samples of 8 tokens, no meaning)

Every run is a process of its own, one after another; nothing else should use the machine. Standard library
only, so that the parent stays small; the peer runs in its own environment, made here when it is missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / "results" / "benchmarks" / "against_comlrl"
PEER = "comlrl==1.4.3"
COMPARED = {"tokens": "tokens_per_second", "samples": "samples_per_second", "memory": "vm_hwm_mb"}
VARIANTS: dict[str, tuple[str, ...]] = {  # of our side: arguments of our worker
    "lora": (),
    "full": ("--adapter", "full"),
    "lora-fp32": ("--precision", "fp32"),
    "lora-released": ("--semantics", "released"),
}
SIDES = ("peer", *VARIANTS)
NEW_TOKENS = 48


class BenchmarkError(Exception):
    """Something the person at the keyboard can put right; printed on one line, exit status 2."""


@dataclass(frozen=True)
class Case:
    """One comparison: a method, its joint samples and K, and the ratios that CoLLM with LoRA is to reach."""

    method: str
    samples: int
    generations: int
    speed_goal: float | None = None
    memory_goal: float | None = None


CASES = (
    Case("collm_cc", 8, 1, speed_goal=6.0, memory_goal=1 / 4),
    Case("collm_dc", 8, 1),
    Case("magrpo", 32, 4, speed_goal=4.0, memory_goal=1 / 3),
)
METHODS = tuple(case.method for case in CASES)
QUICK = (Case("collm_cc", 2, 1), Case("collm_dc", 2, 1), Case("magrpo", 4, 2))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line of the benchmark."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--peer-env", type=Path, default=ROOT / ".venv-peer", help="made when missing")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of inputs and logs")
    parser.add_argument("--out", type=Path, help="results as JSON; default WORK/results.json")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=("peer", "lora", "full"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few short samples: checks that everything runs")
    return parser.parse_args(argv)


def environment(threads: int) -> dict[str, str]:
    """Variables of every worker: offline, the same number of threads, our package importable on our side."""
    fixed = {
        "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    return {**os.environ, **fixed}


def show(path: str | Path) -> str:
    """A path as the reader of the results should see it: relative to the repository where it lies inside."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def make_peer(folder: Path) -> Path:
    """Python of the peer's environment; made with venv and pip, with our torch and transformers versions."""
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    if not python.is_file():
        ours = {name: importlib.metadata.version(name).split("+")[0] for name in ("torch", "transformers")}
        packages = [PEER, *(f"{name}=={version}" for name, version in ours.items())]
        print(f"making {show(folder)} with {' '.join(packages)}; pip downloads what it lacks", flush=True)
        started, log = time.perf_counter(), folder / "install.log"
        run([sys.executable, "-m", "venv", str(folder)], log)
        run([str(python), "-m", "pip", "install", *packages], log)
        (folder / ".gitignore").write_text("*\n")
        print(f"made {show(folder)} in {time.perf_counter() - started:.0f} s", flush=True)
    probe = "import importlib.metadata as m, comlrl; print('comlrl==' + m.version('comlrl'))"
    found = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, env=environment(1))
    if found.stdout.strip() != PEER:
        raise BenchmarkError(
            f"{folder} answers {found.stdout.strip() or found.stderr.strip()[-200:]!r}, {PEER} is needed; "
            "remove the folder and start again"
        )
    (folder / "ready").write_text(PEER + "\n")
    return python


def run(command: list[str], log: Path, threads: int = 1, quiet: bool = True) -> str:
    """Run a command, stderr to `log`; return its stdout; BenchmarkError with the log's end when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(shlex.join(command) + "\n")
        stream.flush()
        variables = environment(threads)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stream, text=True, env=variables)
    if done.returncode:
        tail = " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
        raise BenchmarkError(f"{show(command[1])} ended with status {done.returncode}: {tail} (log: {log})")
    if not quiet:
        print(done.stdout, end="", flush=True)
    return done.stdout


def measure(case: Case, side: str, python: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one worker and return its result line with the command (readable paths) and the load before it."""
    new_tokens = 8 if arguments.quick else NEW_TOKENS
    worker = HERE / ("peer_worker.py" if side == "peer" else "our_worker.py")
    command = [
        str(python), str(worker), "--model", str(arguments.work / "model"),
        "--prompts", str(arguments.work / "prompts.jsonl"), "--method", case.method,
        "--samples", str(case.samples), "--generations", str(case.generations),
        "--new-tokens", str(new_tokens),
        "--threads", str(arguments.threads), "--seed", str(arguments.seed),
        *VARIANTS.get(side, ()),
    ]  # fmt: skip
    readable = shlex.join(show(part) if os.sep in part else part for part in command)
    print(f"{case.method} {side}: {readable}", flush=True)
    load = os.getloadavg()[0]
    lines = run(command, arguments.work / f"{case.method}_{side}.log", arguments.threads).splitlines()
    line = json.loads(lines[-1])
    speed = f"{line['tokens_per_second']:.2f} tokens/s"
    print(f"  {line['wall_seconds']:.1f} s, {speed}, {line['vm_hwm_mb']:.0f} MB", flush=True)
    return {**line, "variant": side, "command": readable, "load_before": load}


def machine(threads: int) -> dict[str, Any]:
    """CPU model, cores, memory and system that the numbers belong to."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024 / 1e9
    return {
        "cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "threads": threads,
        "memory_gb": round(memory, 1), "system": platform.platform(),
    }  # fmt: skip


def ratios(lines: Iterable[dict[str, Any]], cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Ours over the peer's, per method and variant: tokens/s, joint samples/s and peak memory."""
    by_key = {(line["method"], line["variant"]): line for line in lines}
    found = []
    for case in cases:
        peer = by_key.get((case.method, "peer"))
        for variant in VARIANTS:
            ours = by_key.get((case.method, variant))
            if peer is None or ours is None:
                continue
            entry: dict[str, Any] = {"method": case.method, "variant": variant}
            entry |= {name: ours[key] / peer[key] for name, key in COMPARED.items()}
            if variant == "lora" and case.speed_goal and case.memory_goal:
                entry["goal_tokens"], entry["goal_memory"] = case.speed_goal, case.memory_goal
                entry["reached"] = entry["tokens"] >= case.speed_goal and entry["memory"] <= case.memory_goal
            found.append(entry)
    return found


def table(lines: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """Markdown table of all runs, one line a run, with the ratios to the peer's run of the same method."""
    by_key = {(entry["method"], entry["variant"]): entry for entry in comparisons}
    rows = [
        "| method | trainer | precision | joint samples | steps | s | tokens | tokens/s | samples/s | peak MB "
        "| × tokens/s | × samples/s | × memory | goal |",
        "|" + "---|" * 14,
    ]
    for line in lines:
        entry = by_key.get((line["method"], line["variant"]), {})
        name = "comlrl" if line["variant"] == "peer" else f"CoLLM {line['variant']}"
        steps = "/".join(str(count) for _, count in sorted(line["updates"].items()))
        goal = ""
        if "reached" in entry:
            verdict = "reached" if entry["reached"] else "not reached"
            goal = f"≥ {entry['goal_tokens']:g}×, ≤ {entry['goal_memory']:.2f}: {verdict}"
        parts = [f"{entry[key]:.2f}" if key in entry else "" for key in ("tokens", "samples", "memory")]
        rows.append(
            f"| {line['method']} | {name} | {line['precision']} "
            f"| {line['samples']} (K = {line['generations']}) | {steps} "
            f"| {line['wall_seconds']:.1f} | {line['generated_tokens']} | {line['tokens_per_second']:.2f} "
            f"| {line['samples_per_second']:.3f} | {line['vm_hwm_mb']:.0f} | {' | '.join(parts)} | {goal} |"
        )
    return "\n".join(rows)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write the results so far; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def compare(arguments: argparse.Namespace) -> None:
    """Make what is missing, run every worker in turn, print the table; results are saved after each run."""
    cases = [case for case in (QUICK if arguments.quick else CASES) if case.method in arguments.methods]
    peer = make_peer(arguments.peer_env) if "peer" in arguments.sides else None
    out = arguments.out or arguments.work / "results.json"
    inputs = [sys.executable, str(HERE / "inputs.py"), "--out", str(arguments.work)]
    run(inputs, arguments.work / "inputs.log", arguments.threads, quiet=False)
    facts = {
        "command": shlex.join(["python", "benchmarks/against_comlrl.py", *sys.argv[1:]]),
        "machine": machine(arguments.threads),
    }
    lines: list[dict[str, Any]] = []
    for case in cases:
        for side in arguments.sides:
            lines.append(measure(case, side, peer if side == "peer" else Path(sys.executable), arguments))
            comparisons = ratios(lines, cases)
            save(out, {**facts, "quick": arguments.quick, "runs": lines, "ratios": comparisons})
    report(facts, lines, comparisons)
    print(f"saved: {show(out)}")


def report(facts: dict[str, Any], lines: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> None:
    """Print the table with all that its numbers depend on."""
    host = facts["machine"]
    print("\n" + table(lines, comparisons) + "\n")
    print(f"command: {facts['command']}")
    print(f"machine: {host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, threads {host['threads']}")
    for side in sorted({line["side"] for line in lines}):
        versions = next(line["versions"] for line in lines if line["side"] == side)
        print(f"{side}: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"load average before each run: {', '.join(format(line['load_before'], '.2f') for line in lines)}")
    print("tokens/s: generated tokens (end token counted, padding not) per second of training, not loading")
    print("steps: optimiser steps of agent 0/agent 1/critics; the peer always trains full copies")
    print("× = ours over the peer's in this run; memory: peak resident set of the whole process")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 2 with one line of explanation when something is missing."""
    try:
        compare(parse(argv))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
