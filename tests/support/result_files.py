"""Synthetic result folders in the pipeline's file formats, for tests of tables and figures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from collm.common.files import write_json, write_jsonl
from support.places import ROOT

LEVELS = {"parallel": 0.1, "warm_start": 0.4, "magrpo": 0.6, "collm_dc": 0.62, "collm_cc": 0.75}
BOX = (12, 5)
TARGET = [[x, y, 0] for x in (0, 4, 7, 11) for y in range(5)] + [[2, 2, 0], [9, 4, 0], [9, 0, 0]]


def config(domains: list[str], seeds: list[int], methods: list[str] | None = None) -> dict[str, Any]:
    """The shipped default configuration with other axes and few resamples."""
    loaded = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    loaded |= {"domains": domains, "seeds": seeds}
    loaded["methods"] = methods if methods is not None else loaded["methods"]
    loaded["report"]["resamples"] = 500
    return loaded


def write_results(folder: Path, configuration: dict[str, Any], model: dict[str, Any] | None = None) -> None:
    """Write results/, data/ and config.json below `folder` for every run that `configuration` asks for."""
    write_json(folder / "config.json", configuration)
    for domain in configuration["domains"]:
        write_json(folder / "data" / domain / "manifest.json", manifest(domain))
        for method in [*configuration["baselines"], *configuration["methods"]]:
            for seed in configuration["seeds"]:
                run = folder / "results" / domain / method / f"seed{seed}"
                write_run(run, domain, method, seed, model or {"source": "scratch"})
                if method in configuration["methods"]:
                    write_jsonl(run / "metrics.jsonl", metric_lines(domain, method, seed))


def manifest(domain: str, source: str = "embedded", slices: tuple[str, str] = ("a[0:8]", "a[8:10]")) -> dict:
    """A data manifest with the fields that tables read."""
    labels = {"embedded": "embedded data", "path": "data from a folder", "hub": "hub data"}
    splits = {name: {"slice": part, "rows": 8} for name, part in zip(("train", "test"), slices, strict=True)}
    return {"domain": domain, "source": source, "label": labels[source], "splits": splits}


def write_run(folder: Path, domain: str, method: str, seed: int, model: dict[str, Any]) -> None:
    """samples.jsonl and evaluation.json of one run: 4 test tasks, 3 samples each."""
    draw = random.Random(f"{domain}{method}{seed}")
    level = LEVELS.get(method, 0.5) + draw.uniform(-0.05, 0.05)
    rows = []
    for task in range(4):
        for sample in range(3):
            quality = min(1.0, max(0.0, level + draw.gauss(0, 0.1)))
            rows.append(sample_line(domain, method, seed, f"{domain}_{task:04d}", sample, quality, draw))
    write_jsonl(folder / "samples.jsonl", rows)
    record = {
        "stage": "evaluate",
        "domain": domain,
        "method": method,
        "seed": seed,
        "config": {
            "team": {"agents": ["base", "base"]},
            "models": {"base": model},
            "warm_start": {"enabled": True, "epochs": 3},
            "rollout": {"max_new_tokens": 96, "temperature": 1.0, "generations": 4},
            "training": {"agent_learning_rate": 5e-4, "critic_learning_rate": 1e-3, "td_lambda": 0.0},
        },
        "latency": {"seconds": 0.3 + draw.random(), "tasks": 2},
    }
    write_json(folder / "evaluation.json", record)


def sample_line(
    domain: str, method: str, seed: int, task: str, sample: int, quality: float, draw: random.Random
) -> dict[str, Any]:
    """One line of samples.jsonl with the metrics of its domain."""
    metrics, record = {"score": 100 * quality}, {}
    parts = {"structure": 0.5, "style": 2.5 * quality - 0.5}
    if domain == "str_build":
        metrics = {"iou": 100 * quality, "adjacency": 30 * (1 - quality), "coverage": 110 * quality}
        parts = {"coverage": 2 * quality, "extra": -0.5 * (1 - quality)}
        record = world(quality, draw)
    if domain == "house_build":
        metrics = {"hp": 100 * quality, "iou": 90 * quality, "match": 95 * quality}
        parts = {"coverage": 2 * quality, "extra": 0.0, "spiders": -0.2}
        targets = [[x, y, z, "planks"] for x in range(2) for y in range(2) for z in range(2)]
        record = {"targets": targets, "built": targets[:4], "from": [0, 0, 0], "size": [2, 2, 2]}
    turn = {"turn": 0, "responses": ["a", "b"], "parts": parts, "metrics": metrics, "tokens": [20, 30]}
    turn |= {"cut_prompts": [False, False], "cut_responses": [False, False]}
    return {
        "domain": domain,
        "method": method,
        "seed": seed,
        "task": task,
        "sample": sample,
        "turns": [turn | {"reward": sum(parts.values())}],
        "reward": sum(parts.values()),
        "metrics": metrics,
        "tokens": 25 + 40 * (1 - quality) * draw.random(),
        "record": record,
    }


def world(quality: float, draw: random.Random) -> dict[str, Any]:
    """A flat world in which each target cell is filled with probability `quality`, and some others too."""
    blocks = ["oak_planks", "stone", "white_concrete", "obsidian"]
    built = [[*cell, draw.choice(blocks)] for cell in TARGET if draw.random() < quality]
    rest = [[x, y, 0] for x in range(BOX[0]) for y in range(BOX[1]) if [x, y, 0] not in TARGET]
    built += [[*cell, draw.choice(blocks)] for cell in rest if draw.random() < 0.4 * (1 - quality)]
    return {"targets": TARGET, "built": built, "size": list(BOX)}


def metric_lines(domain: str, method: str, seed: int, iterations: int = 30) -> list[dict[str, Any]]:
    """metrics.jsonl of a run that improves: a rollout each iteration, an evaluation at 0 and every fifth."""
    draw = random.Random(f"{domain}{method}{seed}curve")
    final, k = (2 if domain == "str_build" else 3) * LEVELS.get(method, 0.5), 4 if method == "magrpo" else 1
    lines, steps = [], 0
    for iteration in range(iterations + 1):
        reward = final * (0.5 + 0.5 * iteration / iterations)
        if iteration:
            steps += 16 * k - draw.randrange(3)
            at = {"iteration": iteration, "env_step": steps, "samples": steps}
            lines.append({"event": "rollout", **at, "reward": reward + draw.gauss(0, 0.3), "return": reward})
            lines[-1] |= {"seconds": 2.0, **rollout_numbers()}
            lines.append({"event": "update", **at, "policy_loss": 0.1, "seconds": 3.0})
            lines[-1] |= update_numbers(draw, method, iteration / iterations)
        if iteration % 5 == 0:
            at = {"iteration": iteration, "env_step": steps, "samples": steps}
            lines.append({"event": "evaluation", **at, "reward": reward + draw.gauss(0, 0.08), "metrics": {}})
            lines[-1] |= {f"kl_to_start/agent_{agent}": 0.1 * iteration / iterations for agent in (0, 1)}
    return lines


def rollout_numbers() -> dict[str, float]:
    """Shares of the responses of a healthy rollout, by agent."""
    kinds = {"empty": 0.0, "unparsed": 0.02, "cut_responses": 0.05, "invalid": 0.07}
    numbers = {f"{kind}/agent_{agent}": share for kind, share in kinds.items() for agent in (0, 1)}
    return numbers | {f"mismatch/agent_{agent}": 1e-6 for agent in (0, 1)}


def update_numbers(draw: random.Random, method: str, progress: float) -> dict[str, float]:
    """Numbers of a healthy update by member; `progress` from 0 to 1."""
    numbers = {}
    for agent in (0, 1):
        numbers |= {
            f"entropy/agent_{agent}": 3.0 - progress + 0.1 * draw.random(),
            f"length/agent_{agent}": 40 + 10 * progress,
            f"zero_advantage_share/agent_{agent}": 0.1,
            f"gradient_norm/agent_{agent}": 1 + draw.random(),
        }
    if method == "collm_cc":
        numbers |= {"explained_variance/critic": 0.6 * progress, "gradient_norm/critic": 2.0}
    return numbers


def rewrite(path: Path, change: Any) -> None:
    """Apply `change` to the object of a JSON file and write it back."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    write_json(path, value)
