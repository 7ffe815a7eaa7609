"""Several seeds in one process against one process each: processor time of `training.together` on this machine.

    python benchmarks/together.py                               # TLDR, model made from scratch, 3 seeds, 6 updates
    python benchmarks/together.py --domain str_build --method collm_cc --seeds 5
    python benchmarks/together.py --config config/config.yaml config/smol.yaml     # another model

Both sides train the same runs from the bare base, in a folder of their own. Processor time (user and system) counts: a
busy machine does not change it. Seconds of playing and of updates are those of metrics.jsonl, by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", type=Path, default=[ROOT / "config/config.yaml"])
    parser.add_argument("--domain", default="tldr")
    parser.add_argument("--method", default="magrpo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def call(folder: Path, script: str, *arguments: str) -> float:
    """Run a stage in `folder`; returns its seconds of processor time."""
    before = os.times()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(ROOT / "src" / f"{script}.py"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def side(folder: Path, together: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train all seeds, in one process or one after another in one each; returns what it took."""
    training = {"max_updates": arguments.updates, "together": together}
    settings = {"domain": {arguments.domain: {"warm_start": {"enabled": False}, "training": training}}}
    (folder / "overlay.json").write_text(json.dumps(settings), encoding="utf-8")
    files = [*(str(file.resolve()) for file in arguments.config), "overlay.json"]
    common = ["--config", *files, "--domain", arguments.domain]
    run = [*common, "--method", arguments.method, "--threads", str(arguments.threads), "--device", "cpu"]
    if not (folder / "data").exists():
        call(folder, "prepare_data", *common)
        call(folder, "make_model", *common, "--model", "scratch")
    seeds = [str(seed) for seed in range(arguments.seeds)]
    calls = [seeds] if together != "none" else [[seed] for seed in seeds]
    cpu = sum(call(folder, "train", *run, "--seed", *part) for part in calls)
    facts: dict[str, Any] = {"side": together, "cpu_seconds": round(cpu, 2), "play": 0.0, "update": 0.0, "tokens": 0}
    for seed in seeds:
        place = folder / "results" / arguments.domain / arguments.method / f"seed{seed}"
        rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        facts["tokens"] += record["counts"]["tokens"]
        facts["peak_mb"] = max(facts.get("peak_mb", 0.0), record["peak_memory_mb"])
        facts["play"] += sum(row["seconds"] for row in rows if row["event"] == "rollout")
        facts["update"] += sum(row["seconds"] for row in rows if row["event"] == "update")
    facts["tokens_per_cpu_second"] = round(facts["tokens"] / cpu, 1)
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in facts.items()}


def main(argv: list[str] | None = None) -> int:
    """Measure both sides and print a line of JSON for each."""
    arguments = parse(argv)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {vars(arguments)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for together in ("none", "seeds"):
            folder = Path(scratch) / together
            folder.mkdir()
            if together == "seeds":
                for name in ("data", "resources"):
                    (folder / name).symlink_to(Path(scratch) / "none" / name)
            print(json.dumps(side(folder, together, arguments)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
