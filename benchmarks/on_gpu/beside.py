"""Part `beside`: comlrl and TRL with the same shape, prompts and samples, each in a process of its own; ratios.

Their wheels come from folders named with --peers; they are unpacked beside the packages that are there and never
installed. What is missing is skipped by name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from collm.common.files import read_jsonl, write_jsonl
from collm.domains.base import embedded_path
from on_gpu import models
from on_gpu.common import Context, unpacked

BENCHMARKS = Path(__file__).resolve().parents[1]
SHAPE, NEW_TOKENS = "qwen3-0.6b", 128
CASES = {  # by name: method, agents, joint samples, K, worker of the peer
    "CoLLM-CC beside comlrl": ("collm_cc", 2, 8, 1, "peer_worker.py"),
    "GRPO beside TRL": ("grpo", 1, 32, 4, "trl_worker.py"),
    "MAGRPO beside comlrl": ("magrpo", 2, 32, 4, "peer_worker.py"),
    "CoLLM-DC beside comlrl": ("collm_dc", 2, 8, 1, "peer_worker.py"),
}
NEEDED = {"peer_worker.py": "comlrl", "trl_worker.py": "trl"}


def run(context: Context) -> None:
    """Case after case: the peer, then ours."""
    packages = unpacked(context)
    prompts = _prompts(context)
    kind, sizes = ("qwen3", models.TINY) if context.smoke else models.SHAPES[SHAPE]
    model: Path | None = None
    for place, (name, case) in enumerate(CASES.items()):
        peer = NEEDED[case[-1]]
        if not _there(peer, packages):
            context.skip(name, f"no {peer}: name a folder with its wheel, --peers FOLDER")
            continue
        model = model or models.folder(f"saved-{kind}-{context.smoke}", context.work, kind, sizes, weights=True)
        limit = context.deadline.left / (len(CASES) - place)
        if limit < 10:
            context.skip(name, "no time left")
            continue
        theirs = _worker(context, case, case[-1], model, prompts, packages, limit / 2)
        own = _worker(context, case, "our_worker.py", model, prompts, packages, limit / 2)
        context.add(case=name, theirs=theirs, ours=own, **_ratios(theirs, own))


def _there(package: str, packages: Path) -> bool:
    return (packages / package).is_dir() or importlib.util.find_spec(package) is not None


def _prompts(context: Context) -> Path:
    """Plain prompts around embedded posts, two texts a task."""
    file = context.work / "prompts.jsonl"
    rows = read_jsonl(embedded_path("tldr.jsonl"))[:16]
    cues = ("Short summary:", "Detailed summary:")
    write_jsonl(
        file, [{"id": row["id"], "prompts": [f"{row['prompt'][:400]}\n\n{cue}" for cue in cues]} for row in rows]
    )
    return file


def _worker(
    context: Context, case: tuple[Any, ...], script: str, model: Path, prompts: Path, packages: Path, seconds: float
) -> dict[str, Any]:
    """What a worker printed, or why it printed nothing."""
    method, agents, samples, copies, _ = case
    options = {
        "model": model,
        "prompts": prompts,
        "method": method,
        "agents": agents,
        "samples": samples,
        "generations": copies,
        "new-tokens": 8 if context.smoke else NEW_TOKENS,
        "threads": os.cpu_count() or 1,
    }
    command = [sys.executable, str(BENCHMARKS / script)]
    command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
    paths = [str(BENCHMARKS.parent / "src"), str(BENCHMARKS), str(packages)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=max(10.0, seconds))
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {seconds:.0f} s"}
    if done.returncode:
        return {"error": " | ".join(done.stderr.strip().splitlines()[-3:])[:500]}
    line = json.loads(done.stdout.strip().splitlines()[-1])
    kept = (
        "tokens_per_second",
        "samples_per_second",
        "generated_tokens",
        "wall_seconds",
        "device_peak_mb",
        "precision",
    )
    return {key: line.get(key) for key in kept}


def _ratios(theirs: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Ours over theirs, where both were measured."""
    if "error" in theirs or "error" in own:
        return {}
    ratios = {f"times_{key}": own[key] / theirs[key] for key in ("tokens_per_second", "samples_per_second")}
    if theirs.get("device_peak_mb") and own.get("device_peak_mb"):
        ratios["times_memory"] = own["device_peak_mb"] / theirs["device_peak_mb"]
    return ratios
