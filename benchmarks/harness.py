"""What the comparing scripts share: environments, worker processes one after another, the machine, the saved result.

Standard library only, so that the parent of the measured processes stays small.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NEW_TOKENS = 48


class BenchmarkError(Exception):
    """Something the person at the keyboard can put right; printed on one line, exit status 2."""


def argument_parser(description: str, name: str) -> argparse.ArgumentParser:
    """Arguments of every comparison; `name` is its folder below results/benchmarks."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    work = ROOT / "results" / "benchmarks" / name
    parser.add_argument("--work", type=Path, default=work, help="folder of inputs and logs")
    parser.add_argument("--out", type=Path, help="results as JSON; default WORK/results.json")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few short samples: checks that everything runs")
    return parser


def environment(threads: int) -> dict[str, str]:
    """Variables of every worker: offline, the same number of threads, our package importable on our side."""
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **fixed}


def show(path: str | Path) -> str:
    """A path as the reader of the results should see it: relative to the repository where it lies inside."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def readable(command: Iterable[str]) -> str:
    """A command line with `show` applied to its paths."""
    return shlex.join(show(part) if os.sep in part else part for part in command)


def ours(*names: str) -> list[str]:
    """Requirements that pin packages to the versions of this environment, so that both sides have the same ones."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in names]


def make_environment(folder: Path, peer: str, more: Sequence[str]) -> Path:
    """Python of an environment that holds `peer` ("name==version") and `more`; made by venv and pip when missing."""
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    if not python.is_file():
        packages = [*more, peer]
        print(f"making {show(folder)} with {' '.join(packages)}; pip downloads what it lacks", flush=True)
        started, log = time.perf_counter(), folder / "install.log"
        run([sys.executable, "-m", "venv", str(folder)], log)
        run([str(python), "-m", "pip", "install", *packages], log)
        (folder / ".gitignore").write_text("*\n")
        print(f"made {show(folder)} in {time.perf_counter() - started:.0f} s", flush=True)
    name = peer.split("==")[0]
    probe = f"import importlib.metadata as m, {name}; print('{name}==' + m.version('{name}'))"
    answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, env=environment(1))
    if answer.stdout.strip() != peer:
        raise BenchmarkError(
            f"{folder} answers {answer.stdout.strip() or answer.stderr.strip()[-200:]!r}, {peer} is needed; "
            "remove the folder and start again"
        )
    (folder / "ready").write_text(peer + "\n")
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


def make_inputs(work: Path, threads: int) -> None:
    """SmolLM2 and the prompt file in `work`."""
    command = [sys.executable, str(HERE / "inputs.py"), "--out", str(work)]
    run(command, work / "inputs.log", threads, quiet=False)


def worker(
    script: str,
    python: Path | str,
    name: str,
    options: Mapping[str, Any],
    arguments: argparse.Namespace,
    flags: Sequence[str] = (),
) -> dict[str, Any]:
    """Run one worker on the inputs of `arguments.work`.

    Args:
        name: of the run, for the log file and the line that is printed.
        options: "--key value" pairs of the worker; model, prompts, threads and seed are added.
        flags: further arguments as they stand.
    Returns:
        The worker's result line with its command (readable paths) and the load before it.
    """
    given = {
        "model": arguments.work / "model",
        "prompts": arguments.work / "prompts.jsonl",
        **options,
        "threads": arguments.threads,
        "seed": arguments.seed,
    }
    command = [str(python), str(HERE / script)]
    command += [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    command += flags
    print(f"{name}: {readable(command)}", flush=True)
    load = os.getloadavg()[0]
    log = arguments.work / f"{name.replace(' ', '_')}.log"
    line = json.loads(run(command, log, arguments.threads).splitlines()[-1])
    return {**line, "command": readable(command), "load_before": load}


def tell(line: Mapping[str, Any]) -> None:
    """Print what a training run took."""
    speed = f"{line['tokens_per_second']:.2f} tokens/s"
    print(f"  {line['wall_seconds']:.1f} s, {speed}, {line['vm_hwm_mb']:.0f} MB", flush=True)


def facts(script: str, threads: int) -> dict[str, Any]:
    """The command and the machine that the numbers belong to: CPU model, cores, memory and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024 / 1e9
    machine = {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(memory, 1),
        "system": platform.platform(),
    }
    return {"command": readable(["python", f"benchmarks/{script}", *sys.argv[1:]]), "machine": machine}


def tell_facts(facts: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
    """Print the command, the machine, the versions of each side and the load."""
    host = facts["machine"]
    print(f"command: {facts['command']}")
    print(f"machine: {host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, threads {host['threads']}")
    for side in sorted({line["side"] for line in lines}):
        versions = next(line["versions"] for line in lines if line["side"] == side)
        print(f"{side}: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"load average before each run: {', '.join(format(line['load_before'], '.2f') for line in lines)}")


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write the results so far; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def serve(compare: Callable[[], None]) -> int:
    """Run a comparison; 2 with one line of explanation when something is missing."""
    try:
        compare()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
