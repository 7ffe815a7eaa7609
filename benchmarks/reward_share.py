"""How much of a training step is spent on rewards, per domain: from finished runs, or measured with one model.

    python benchmarks/reward_share.py --results results                  # what finished runs recorded
    PYTHONPATH=src python benchmarks/reward_share.py --model FOLDER      # one update per domain with SmolLM2

A step is a rollout with the updates on it. Rewards are what simulators, scorers and the sandbox take, with the prompts
of the next turn. With --model the settings are those of config/smol.yaml, from the bare model, on the embedded data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import protocol

GOAL = 0.05
HEADER = ("domain", "method", "joint samples", "play s", "of it rewards s", "update s", "rewards' share", "goal")


def row_of(domain: str, method: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over a run."""
    rollouts = [event for event in events if event["event"] == "rollout"]
    updates = [event for event in events if event["event"] == "update"]
    play, rewards = (sum(event[key] for event in rollouts) for key in ("seconds", "reward_seconds"))
    update = sum(event["seconds"] for event in updates)
    return {
        "domain": domain,
        "method": method,
        "joint_samples": rollouts[-1]["samples"],
        "play": play,
        "rewards": rewards,
        "update": update,
        "share": rewards / (play + update),
    }


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Of the runs in results/<domain>/<method>/seed<k>/; runs that only evaluate are left out."""
    runs = []
    for path in sorted(folder.glob("*/*/seed*/metrics.jsonl")):
        events = protocol.read_rows(path)
        if any(event["event"] == "rollout" for event in events):
            runs.append(row_of(path.parts[-4], path.parts[-3], events))
    if not runs:
        raise harness.BenchmarkError(f"no training run in {folder}; expected <domain>/<method>/seed<k>/metrics.jsonl")
    return runs


def measured(domain: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One rollout and the updates on it, as config/smol.yaml sets them."""
    import our_worker

    from collm.config.job import build_domain
    from collm.config.load import load_config
    from collm.config.resolve import merge, resolve_job
    from collm.data import prepare
    from collm.runs.folders import RunFolders
    from collm.training.setup import prepare_run

    block = {"training": {"epochs": 1, "max_updates": 1, "shuffle": False}}
    files = merge(load_config(our_worker.CONFIG), {"domain": {domain: {"methods": {arguments.method: block}}}})
    job = resolve_job(files, domain, arguments.method)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "models").mkdir()
        (scratch / "models" / our_worker.MODEL).symlink_to(arguments.model.resolve())
        folders = RunFolders(scratch / "data", scratch / "models", scratch / "out", scratch / "checkpoints")
        made = build_domain(job)
        made.ready(job.sandbox)
        prepare.prepare(made, job.data, folders.data, job.data["seed"])
        setup = prepare_run(job, arguments.seed, folders, arguments.threads)
        setup.train = setup.train[: job.training.tasks_per_rollout]
        our_worker.BareTrainer(setup, start=None).run()
        return row_of(domain, arguments.method, protocol.read_rows(folders.checkpoints / "metrics.jsonl"))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a run."""
    lines = [
        [
            row["domain"],
            row["method"],
            row["joint_samples"],
            f"{row['play']:.2f}",
            f"{row['rewards']:.3f}",
            f"{row['update']:.2f}",
            f"{row['share']:.2%}",
            "≤ 5 %" if row["share"] <= GOAL else "above 5 %",
        ]
        for row in rows
    ]
    return harness.markdown(HEADER, lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = harness.argument_parser(__doc__, "reward_share")
    parser.add_argument("--results", type=Path, help="folder of finished runs")
    parser.add_argument("--model", type=Path, help="folder of SmolLM2 as against_comlrl.py makes it")
    parser.add_argument("--method", default="magrpo")
    parser.add_argument("--domains", nargs="+", help="default: all")
    return parser.parse_args(argv)


def compare(arguments: argparse.Namespace) -> None:
    """Read or measure, print the table."""
    if (arguments.results is None) == (arguments.model is None):
        raise harness.BenchmarkError("give either --results FOLDER or --model FOLDER")
    facts = harness.facts("reward_share.py", arguments.threads)
    if arguments.results is not None:
        rows = recorded(arguments.results)
    else:
        from collm.domains import NAMES

        rows = []
        for domain in arguments.domains or NAMES:
            rows.append(measured(domain, arguments))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    out = arguments.out or arguments.work / "results.json"
    harness.save(out, {**facts, "rows": rows})
    print(table(rows))
    print(f"\ncommand: {facts['command']}; saved: {harness.show(out)}")


def main(argv: list[str] | None = None) -> int:
    """Run."""
    return harness.serve(lambda: compare(parse(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
