"""The training loop of every method: play, learn, evaluate, keep; and the same end after any kill.

Several processes run the same loop; the main one alone writes.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common import clock
from collm.common.errors import ConfigError
from collm.common.files import sha256
from collm.common.seeds import derive
from collm.config.checks import fixed_in_words
from collm.domains.base import Task
from collm.llm.bases import Bases
from collm.methods import monte_carlo
from collm.methods.registry import METHODS
from collm.runs import member_state
from collm.runs.signals import Stopping
from collm.training import evaluation
from collm.training.learner import Context, Learner
from collm.training.mismatch import Mismatch
from collm.training.rollout import Node, Played, cut_shares, fault_shares
from collm.training.setup import RunSetup
from collm.training.start_policy import StartPolicy


@dataclasses.dataclass
class Counters:
    """How far a run has come, over all its attempts; a checkpoint holds them as a dict of the same names."""

    iteration: int = 0  # rollouts that were learnt from
    update: int = 0  # minibatches that were learnt from
    env_step: int = 0  # joint actions that were scored
    samples: int = 0  # joint samples
    tokens: int = 0  # generated, by all agents
    evaluated: int = -1  # iteration of the last evaluation, -1 before the first
    compared: int = 0  # joint samples at the last evaluation, when the agents were compared with their start
    seconds: float = 0.0


class Trainer:
    """One run: a method on a domain with a seed."""

    def __init__(self, setup: RunSetup, start: Path | None, bases: Bases | None = None):
        """Load the team, and go to where an interrupted attempt stopped.

        Args:
            start: folder of warm-started adapters; None starts from the bare base.
            bases: of the runs of this process that share them; None: this run has its own.
        Raises:
            ConfigError: the job's row is not trained.
            CheckpointError: an unfinished run with other settings left checkpoints.
        """
        self.setup, self.job, self.processes, self.settings = setup, setup.job, setup.processes, setup.job.training
        if self.job.method not in METHODS:
            raise ConfigError(f"method {self.job.method!r} is not trained; methods that are: {', '.join(METHODS)}")
        method = METHODS[self.job.method]
        if (fixed := fixed_in_words(self.job)) is not None and self.processes.main:
            print(fixed, file=sys.stderr, flush=True)
        self.resumable = setup.resumable("train", setup.fingerprint("train", start=_digests(start)))
        setup.start_tracker()
        shared = self.settings.shared_backbone and method.critics == "local"
        self.team = setup.team("shared" if shared else method.critics, bases=bases)
        self.job, self.settings = setup.job, setup.job.training  # with the sizes that fit, where they are "auto"
        refers = start is not None and self.settings.kl_coefficient > 0 and self.settings.kl_reference == "start"
        adapters = self.job.team.adapter == "lora"  # read again when a run goes on: what it has moved away from
        if start is not None and (adapters or not self.resumable.resumes):
            self.team.load_agents(start)
        if refers:
            self.team.keep_reference()  # before a checkpoint moves the agents on
        tasks = [task.id for task in setup.test[: self.job.evaluation.tasks_during]]
        self.start_policy = StartPolicy(self.team, tasks, self.settings.micro_batch_tokens) if adapters else None
        self.rollout = setup.rollout(self.team)
        evidence = setup.folders.nonfinite
        self.learner = Learner(self.team, method, self.settings, self.job.semantics, self._context(), evidence)
        self.mismatch = Mismatch(self.team)
        self.counters = Counters()
        self.resumable.begin(self)
        self._earlier_seconds = self.counters.seconds  # spent by interrupted attempts
        self._started = clock.now() - self._earlier_seconds

    def _context(self) -> Context:
        """What learning has to know of the episodes; rewards are those after scale and shift."""
        plan, domain = self.job.rollout, self.setup.domain
        return Context(
            plan.discount,
            plan.turns,
            plan.reward_scale * domain.max_reward + plan.reward_shift,
            abs(plan.reward_scale) * (domain.max_reward - domain.min_reward),
            self.rollout.sampling if self.settings.score == "sampled" else None,
        )

    # the loop

    def run(self) -> None:
        """Train to the end and write the outputs.

        Raises:
            Interrupted: on a signal, with everything saved.
            NonFiniteLoss, NonFiniteReward: a number is NaN or infinite; what was saved before is intact.
        """
        run = self.resumable
        progress = run.progress(self.expected)
        with run.stopping() as stopping:
            self._evaluate_if_due(stopping)
            while not self._done():
                with stopping.interruptible():
                    played = self._play()
                played = self._together(played)
                reward = self._learn(played)
                progress.expect(self.expected)
                progress.advance(tokens=played.tokens, note=f"reward {reward:.3f}")
                stopping.check()
                if self.counters.iteration % self.settings.checkpoint_every == 0:
                    run.save()
                self._evaluate_if_due(stopping)
        progress.close()
        run.save(finished=True)
        counters = self.counters
        counts = {name: getattr(counters, name) for name in ("env_step", "samples", "update", "tokens", "iteration")}
        run.write_outputs(
            self.team.save,
            self._earlier_seconds - clock.waited(),
            counts=counts | {"optimiser_steps": self.learner.steps},
            training_seconds=round(counters.seconds, 2),
            processes=self.processes.count,
            **self.setup.facts,
        )

    @property
    def per_epoch(self) -> int:
        """Rollouts per pass over the training tasks."""
        return math.ceil(len(self.setup.train) / self.settings.tasks_per_rollout)

    @property
    def total(self) -> int:
        """Rollouts of the whole run (it may end before, at `max_updates`)."""
        return self.per_epoch * self.settings.epochs

    @property
    def expected(self) -> int:
        """Rollouts at which the run will probably end; where `max_updates` ends it, by the updates of each so far."""
        limit, done = self.settings.max_updates, self.counters
        if limit is None or done.update == 0:
            return self.total
        left = math.ceil((limit - done.update) * done.iteration / done.update)
        return min(self.total, done.iteration + left)

    @property
    def progress(self) -> float:
        """Share of the run that is over, 0 to 1, by rollouts or, if that is more, by updates of `max_updates`."""
        limit, done = self.settings.max_updates, self.counters
        return max(done.iteration / self.total, done.update / limit if limit else 0.0)

    def _done(self) -> bool:
        limit = self.settings.max_updates
        return self.counters.iteration >= self.total or (limit is not None and self.counters.update >= limit)

    # playing

    def _tasks(self, iteration: int) -> list[Task]:
        """The training tasks of one rollout."""
        epoch, place = divmod(iteration, self.per_epoch)
        order = list(self.setup.train)
        if self.settings.shuffle:
            random.Random(derive("order", self.setup.seed, epoch)).shuffle(order)
        size = self.settings.tasks_per_rollout
        return order[place * size : (place + 1) * size]

    def _play(self) -> Played:
        """Play this process's share of the next tasks."""
        iteration = self.counters.iteration
        tasks = self._tasks(iteration)
        seeds = [derive("episode", self.setup.seed, iteration, place, t.id) for place, t in enumerate(tasks)]
        mine = self.processes.share([1] * len(tasks))
        with self.setup.within_memory("playing"):
            return self.rollout.play([tasks[index] for index in mine], [seeds[index] for index in mine])

    def _together(self, played: Played) -> Played:
        """The forest of all processes: everything that is learnt from is known to each."""
        return Played.joined(self.processes.gather([played]))

    # learning

    def _learn(self, played: Played) -> float:
        """Update on a rollout and move the counters; returns the mean raw reward."""
        counters, nodes = self.counters, played.nodes()
        joint_actions = sum(len(node.actions) for node in nodes)
        draw = random.Random(derive("minibatches", self.setup.seed, counters.iteration))
        last, more = (counters.iteration + 1) % self.per_epoch == 0, counters.iteration + 1 < self.total
        with self.resumable.changing(), self.setup.within_memory("learning"):
            counters.env_step += joint_actions
            counters.samples += joint_actions
            counters.tokens += played.tokens
            differences = self.mismatch.row(nodes)
            row = self._rollout_row(played, nodes) | (differences if counters.iteration == 0 else {})
            self._log(row)
            self.mismatch.check(differences)
            for metrics in self.learner.update(nodes, draw, last, more, self.progress):
                counters.update += 1
                facts = {"iteration": counters.iteration, "update": counters.update, "env_step": counters.env_step}
                self._log({"event": "update", **facts, **metrics, **self.team.cut_texts()})
                if counters.update == self.settings.max_updates:
                    break
            counters.iteration += 1
        return row["reward"]

    def _rollout_row(self, played: Played, nodes: Sequence[Node]) -> dict[str, Any]:
        raw = [step.reward for node in nodes for step in node.steps]
        returns = [value for root in played.roots for value in monte_carlo.G(root, self.job.rollout.discount)]
        return {
            "event": "rollout",
            "iteration": self.counters.iteration,
            "env_step": self.counters.env_step,
            "samples": self.counters.samples,
            "reward": sum(raw) / len(raw),
            "return": sum(returns) / len(returns),
            "tokens": played.tokens,
            "tokens_per_second": round(played.tokens / max(played.seconds, 1e-9), 2),
            "seconds": round(played.seconds, 3),
            "reward_seconds": round(played.reward_seconds, 4),
            "cut_prompts": sum(len(node.cut) for node in nodes),
            **cut_shares(nodes),
            **fault_shares(self.setup.domain, nodes),
        }

    # evaluation

    def _evaluation_due(self) -> bool:
        iteration, every = self.counters.iteration, self.job.evaluation.every
        if self.counters.evaluated == iteration:
            return False
        return iteration == 0 or self._done() or (every is not None and iteration % every == 0)

    def _evaluate_if_due(self, stopping: Stopping) -> None:
        if not self._evaluation_due():
            return
        with stopping.interruptible():
            mine = self._evaluate()
        rows = self.processes.gather(mine)
        done = self.counters
        with self.resumable.changing():
            counts = {"iteration": done.iteration, "env_step": done.env_step, "samples": done.samples}
            moved = self.start_policy.distance(done.samples - done.compared) if self.start_policy else {}
            line = evaluation.journal_row(rows, self.job.evaluation.examples, self.job.rollout, **counts)
            self._log(line | moved)
            done.evaluated, done.compared = done.iteration, done.samples

    def _evaluate(self) -> list[dict[str, Any]]:
        """Rows of this process's share of the test tasks."""
        plan = self.job.evaluation
        tasks = self.setup.test[: plan.tasks_during]
        mine = [tasks[index] for index in self.processes.share([1] * len(tasks))]
        note = self.start_policy.note if self.start_policy else None
        shown = None if plan.examples else 0
        samples, seed = plan.samples_during, self.setup.seed
        with self.setup.within_memory("playing"):
            return evaluation.sample_rows(self.rollout, mine, samples, seed, {}, note=note, shown=shown)

    def _log(self, row: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl, and its numbers to the tracker if there is one."""
        self.resumable.log(row)
        if self.processes.main and self.job.tracker != "none":
            flat = {f"{row['event']}/{key}": value for key, value in row.items() if isinstance(value, (int, float))}
            self.setup.accelerator.log(flat, step=row["env_step"])

    # what a checkpoint holds

    @property
    def position(self) -> int:
        """Rollouts that were learnt from."""
        return self.counters.iteration

    def state(self) -> dict[str, Any]:
        """Members, optimisers, counters and what the learner keeps from one rollout to the next."""
        self.counters.seconds = clock.now() - self._started
        return member_state.state_of(self.team, self.learner.optimisers) | {
            "progress": dataclasses.asdict(self.counters),
            "learner": self.learner.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        member_state.restore(self.team, self.learner.optimisers, state)
        self.learner.restore(state["learner"])
        self.counters = Counters(**state["progress"])


def _digests(start: Path | None) -> dict[str, str]:
    """Hashes of the adapters that a run starts from, by file."""
    if start is None:
        return {}
    return {str(path.relative_to(start)): sha256(path) for path in sorted(start.rglob("*.safetensors"))}
