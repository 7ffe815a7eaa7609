"""Whole runs on the toy domain: a job, its setup, and what a run leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal

import torch

from collm.common.files import write_json
from collm.config.job import EvaluationConfig, Job, WarmStartConfig
from collm.runs.folders import RunFolders
from collm.training.setup import RunSetup, accelerator
from collm.training.trainer import Trainer
from support.toy import Toy, rollout_settings, tasks, team_settings, training_settings

TIMING = ("seconds", "tokens_per_second", "reward_seconds")


def job(method="collm_cc", semantics="paper", training=None, rollout=None, warm_start=None):
    team = team_settings()
    blocks = {
        "team": team,
        "rollout": rollout_settings(**{"turns": 2, **(rollout or {})}),
        "warm_start": WarmStartConfig(
            **{
                "enabled": True,
                "source": "demonstrations",
                "noise": 0.0,
                "per_task": 1,
                "epochs": 3,
                "batch_size": 4,
                "learning_rate": 1e-2,
                "best_of": 4,
                "max_tasks": None,
                **(warm_start or {}),
            }
        ),
        "training": training_settings(**{"tasks_per_rollout": 3, "minibatch_size": 4, "epochs": 2, **(training or {})}),
        "evaluation": EvaluationConfig(1, 2, 1, None, 1, 1, None),
    }
    plain = {"domain": "toy", "method": method, "profile": "paper", "semantics": semantics, "revision": "1"}
    raw = {**plain, "training": vars(blocks["training"]), "rollout": vars(blocks["rollout"])}
    return Job(**plain, tracker="none", sandbox="refuse", options={}, data={}, models={}, **blocks, raw=raw)


def session(models_folder, root, **changes):
    made = job(**changes)
    folders = RunFolders(root / "data", models_folder, root / "results", root / "checkpoints")
    write_json(folders.data / "manifest.json", {"rows": 8})
    data = tasks(8)
    device = accelerator(made, folders.trackers)
    return RunSetup(made, 0, folders, device, Toy({}), data, data[:2], {"tiny": models_folder / "tiny"})


def train(models_folder, root, **changes):
    Trainer(session(models_folder, root, **changes), None).run()


def outcome(root):
    """Hashes of adapters, and the metrics without what a clock says."""
    folder = root / "results" / "adapters"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".pt"))
    hashes = {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.suffix != ".pt"
    }
    for path in files:
        if path.suffix == ".pt":
            hashes[str(path.relative_to(folder))] = str(torch.load(path))
    rows = [json.loads(line) for line in (root / "results" / "metrics.jsonl").read_text().splitlines()]
    return hashes, [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


def stop_after(patched, count):
    """SIGTERM to this process once `count` rollouts are learnt from."""
    real, seen = Trainer._learn, []

    def learn(self, played):
        seen.append(1)
        result = real(self, played)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    patched.setattr(Trainer, "_learn", learn)
