"""The training loop of every method: play, learn, evaluate, keep; and the same end after any kill.

Several processes run the same loop; the main one alone writes.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from collm.common.errors import CheckpointError, ConfigError
from collm.common.files import atomic_folder, sha256, write_atomic, write_json
from collm.common.progress import Progress
from collm.config.checks import fixed_in_words
from collm.domains.base import Task
from collm.llm.team import Team, derive
from collm.methods import monte_carlo
from collm.methods.registry import METHODS
from collm.runs.checkpoint import Checkpoints
from collm.runs.record import RunRecord, threads_of
from collm.runs.signals import Stopping
from collm.training import evaluation
from collm.training.learner import Context, Learner
from collm.training.rollout import Node, Played
from collm.training.setup import Session


class Journal:
    """metrics.jsonl beside the checkpoints; what a lost attempt wrote after its last checkpoint is cut off."""

    def __init__(self, path: Path, length: int = 0):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            if stream.tell() < length:
                raise CheckpointError(
                    f"{path} is shorter than when the checkpoint beside it was written ({stream.tell()} of {length} "
                    f"bytes); put the file back, or remove {path.parent} to start over"
                )
            stream.truncate(length)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one JSON line."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def length(self) -> int:
        """Bytes on disk, flushed."""
        with self.path.open("ab") as stream:
            os.fsync(stream.fileno())
            return stream.tell()


def state_of(team: Team, optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Trained numbers and optimiser states of all members."""
    return {
        "members": {m.name: {name: part.detach().cpu().clone() for name, part in m.parameters()} for m in team.members},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
    }


def restore(team: Team, optimisers: Mapping[str, torch.optim.Optimizer], state: Mapping[str, Any]) -> None:
    """Put back what `state_of` gave."""
    with torch.no_grad():
        for member in team.members:
            for name, part in member.parameters():
                part.copy_(state["members"][member.name][name])
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])


class Trainer:
    """One run: a method on a domain with a seed."""

    def __init__(self, session: Session, start: Path | None):
        """`start` holds warm-started adapters, None starts from the bare base."""
        self.session, self.job, self.processes = session, session.job, session.processes
        self.settings = self.job.training
        self.record = RunRecord("train", self.job, session.seed, session.accelerator.device)
        if self.job.method not in METHODS:
            raise ConfigError(f"method {self.job.method!r} is not trained; methods that are: {', '.join(METHODS)}")
        method = METHODS[self.job.method]
        if (fixed := fixed_in_words(self.job)) is not None and self.processes.main:
            print(fixed, file=sys.stderr, flush=True)
        fingerprint = session.fingerprint(start=_digest(start))
        self.checkpoints = Checkpoints(
            session.places.checkpoints, fingerprint, self.settings.keep_checkpoints, self.processes
        )
        state = self.checkpoints.latest()
        shared = self.settings.shared_backbone and method.critics == "local"
        self.team = session.team("shared" if shared else method.critics)
        if start is not None and state is None:
            self.team.load_agents(start)
        self.rollout = session.rollout(self.team)
        scale, shift = self.job.rollout.reward_scale, self.job.rollout.reward_shift
        context = Context(self.job.rollout.discount, self.job.rollout.turns, scale * session.domain.max_reward + shift)
        evidence = session.places.checkpoints / "nonfinite.json"
        self.learner = Learner(self.team, method, self.settings, self.job.semantics, context, evidence)
        self.progress_state = {
            "iteration": 0,
            "update": 0,
            "env_step": 0,
            "samples": 0,
            "tokens": 0,
            "evaluated": -1,
            "seconds": 0.0,
        }
        if state is not None:
            restore(self.team, self.learner.optimisers, state)
            self.learner.rule.restore(state["buffers"])
            self.learner.steps = state["steps"]
            self.progress_state = state["progress"]
        self.threads = threads_of(state.get("threads", []) if state else [])
        self.journal = self.processes.from_main(
            lambda: Journal(session.places.checkpoints / "metrics.jsonl", state["journal"] if state else 0)
        )
        self._earlier = self.progress_state["seconds"]  # spent by interrupted attempts
        self._started = time.monotonic() - self._earlier
        self._saved = self.progress_state["iteration"] if state is not None else -1

    # what is played when

    @property
    def per_epoch(self) -> int:
        """Rollouts per pass over the training tasks."""
        return math.ceil(len(self.session.train) / self.settings.tasks_per_rollout)

    @property
    def total(self) -> int:
        """Rollouts of the whole run (it may end before, at `max_updates`)."""
        return self.per_epoch * self.settings.epochs

    def _tasks(self, iteration: int) -> list[Task]:
        epoch, place = divmod(iteration, self.per_epoch)
        order = list(self.session.train)
        if self.settings.shuffle:
            random.Random(derive("order", self.session.seed, epoch)).shuffle(order)
        size = self.settings.tasks_per_rollout
        return order[place * size : (place + 1) * size]

    def _done(self) -> bool:
        limit = self.settings.max_updates
        return self.progress_state["iteration"] >= self.total or (
            limit is not None and self.progress_state["update"] >= limit
        )

    # the loop

    def run(self) -> None:
        """Train to the end and write the outputs; raises Interrupted on a signal, with everything saved."""
        progress = Progress(
            min(self.total, self.settings.max_updates or self.total),
            f"{self.job.domain}/{self.job.method} seed {self.session.seed}",
            None if self.processes.main else io.StringIO(),
        )
        progress.skip(self.progress_state["iteration"])
        with Stopping(self.processes) as stopping:
            try:
                while True:
                    if self._evaluation_due():
                        with stopping.interruptible():
                            rows = self._evaluate()
                        self._log(self._evaluation_row(self.processes.gather(rows)))
                        self.progress_state["evaluated"] = self.progress_state["iteration"]
                    if self._done():
                        break
                    with stopping.interruptible():
                        played = self._play()
                    played = self._together(played)
                    reward = self._learn(played)
                    progress.advance(tokens=played.tokens, note=f"reward {reward:.3f}")
                    stopping.check()
                    if self.progress_state["iteration"] % self.settings.checkpoint_every == 0:
                        self.processes.from_main(self._save)
            except BaseException:
                self._save_if_whole()
                raise
        progress.close()
        self.processes.from_main(lambda: self._save(finished=True))
        self.processes.from_main(self._write_outputs)

    def _play(self) -> Played:
        """Play this process's share of the next tasks."""
        iteration = self.progress_state["iteration"]
        tasks = self._tasks(iteration)
        seeds = [derive("episode", self.session.seed, iteration, place, t.id) for place, t in enumerate(tasks)]
        mine = self.processes.share([1] * len(tasks))
        self.team.cut_prompts = 0
        return self.rollout.play([tasks[index] for index in mine], [seeds[index] for index in mine])

    def _together(self, played: Played) -> Played:
        """The forest of all processes: everything that is learnt from is known to each."""
        parts = self.processes.gather([(played, self.team.cut_prompts)])
        self.team.cut_prompts = sum(cut for _, cut in parts)
        return Played.joined([part for part, _ in parts])

    def _learn(self, played: Played) -> float:
        """Update on a rollout and move the counters; returns the mean raw reward."""
        state, iteration = self.progress_state, self.progress_state["iteration"]
        self._whole = False
        nodes = played.nodes()
        joint = sum(len(node.actions) for node in nodes)
        state["env_step"] += joint
        state["samples"] += joint
        state["tokens"] += played.tokens
        row = self._rollout_row(played, nodes)
        self._log(row)
        draw = random.Random(derive("minibatches", self.session.seed, iteration))
        last = (iteration + 1) % self.per_epoch == 0
        for figures in self.learner.update(nodes, draw, last=last):
            state["update"] += 1
            self._log(
                {
                    "event": "update",
                    "iteration": iteration,
                    "update": state["update"],
                    "env_step": state["env_step"],
                    **figures,
                }
            )
            if state["update"] == self.settings.max_updates:
                break
        state["iteration"] += 1
        self._whole = True
        return row["reward"]

    def _rollout_row(self, played: Played, nodes: Sequence[Node]) -> dict[str, Any]:
        raw = [step.reward for node in nodes for step in node.steps]
        returns = [value for root in played.roots for value in monte_carlo.G(root, self.job.rollout.discount)]
        state = self.progress_state
        return {
            "event": "rollout",
            "iteration": state["iteration"],
            "env_step": state["env_step"],
            "samples": state["samples"],
            "reward": sum(raw) / len(raw),
            "return": sum(returns) / len(returns),
            "tokens": played.tokens,
            "tokens_per_second": round(played.tokens / max(played.seconds, 1e-9), 2),
            "seconds": round(played.seconds, 3),
            "reward_seconds": round(played.reward_seconds, 4),
            "cut_prompts": self.team.cut_prompts,
        }

    # evaluation

    def _evaluation_due(self) -> bool:
        state, every = self.progress_state, self.job.evaluation.every
        if state["evaluated"] == state["iteration"]:
            return False
        return state["iteration"] == 0 or self._done() or (every is not None and state["iteration"] % every == 0)

    def _evaluate(self) -> list[dict[str, Any]]:
        """Rows of this process's share of the test tasks."""
        plan = self.job.evaluation
        tasks = self.session.test[: plan.tasks_during]
        mine = [tasks[index] for index in self.processes.share([1] * len(tasks))]
        return evaluation.sample_rows(self.rollout, mine, plan.samples_during, self.session.seed, {})

    def _evaluation_row(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        state = self.progress_state
        facts = {"iteration": state["iteration"], "env_step": state["env_step"], "samples": state["samples"]}
        return {"event": "evaluation", **facts, **evaluation.summary(rows, self.job.evaluation.examples)}

    def _log(self, row: Mapping[str, Any]) -> None:
        if not self.processes.main:
            return
        self.journal.write(row)
        if self.job.tracker != "none":
            flat = {f"{row['event']}/{key}": value for key, value in row.items() if isinstance(value, (int, float))}
            self.session.accelerator.log(flat, step=row["env_step"])

    # keeping

    _whole = True  # no update is half done

    def _save(self, finished: bool = False) -> None:
        state = state_of(self.team, self.learner.optimisers)
        self.progress_state["seconds"] = time.monotonic() - self._started
        state |= {
            "progress": dict(self.progress_state),
            "buffers": self.learner.rule.state(),
            "steps": dict(self.learner.steps),
            "journal": self.journal.length(),
            "threads": self.threads,
        }
        self.checkpoints.save(self.progress_state["iteration"], state, finished)
        self._saved = self.progress_state["iteration"]

    def _save_if_whole(self) -> None:
        """On the way out: keep the newest whole state, unless it is kept already. No process waits for another."""
        if self.processes.main and self._whole and self._saved != self.progress_state["iteration"]:
            self._save()

    def _write_outputs(self) -> None:
        places, state = self.session.places, self.progress_state
        with atomic_folder(places.out / "adapters") as folder:
            self.team.save(folder)
        write_atomic(places.out / "metrics.jsonl", self.journal.path.read_bytes())
        counts = {key: state[key] for key in ("env_step", "samples", "update", "tokens", "iteration")}
        run = self.record.finish(
            self._earlier,
            counts=counts | {"optimiser_steps": self.learner.steps},
            training_seconds=round(state["seconds"], 2),
            threads_of_attempts=self.threads,
            processes=self.processes.count,
        )
        write_json(places.out / "run.json", run)


def _digest(start: Path | None) -> dict[str, str]:
    if start is None:
        return {}
    return {str(path.relative_to(start)): sha256(path) for path in sorted(start.rglob("*.safetensors"))}
