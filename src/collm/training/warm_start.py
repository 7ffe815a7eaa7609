"""The warm-start stage: demonstrations in, adapters and a before/after report out; resumable like training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from collm.domains.base import Demonstration
from collm.runs import member_state
from collm.training import evaluation, sft
from collm.training.setup import RunSetup

CHECKPOINT_SECONDS = 60.0


class WarmStart:
    """One warm start: a team is fitted to demonstrations of a domain with a seed."""

    def __init__(self, setup: RunSetup):
        """Load the team and the demonstrations, and go to where an interrupted attempt stopped.

        Raises:
            ConfigError: there is nothing to learn from.
            CheckpointError: an unfinished run with other settings left checkpoints.
        """
        self.setup, self.job = setup, setup.job
        self.resumable = setup.resumable("warm_start", setup.fingerprint("warm_start", without=("training",)))
        self.team = setup.team()
        self.job = setup.job  # with the sizes that fit, where they are "auto"
        self.rollout = setup.rollout(self.team)
        self.data = sft.examples(self.team, self._demonstrations(), self.job.rollout.max_new_tokens)
        micro_batch_tokens = self.job.training.micro_batch_tokens
        self.fit = sft.SupervisedFit(self.team, self.data, self.job.warm_start, micro_batch_tokens, setup.seed)
        self.optimisers = {str(agent): optimiser for agent, optimiser in enumerate(self.fit.optimisers)}
        self.before: dict[str, Any] | None = None  # evaluations, as they stand in metrics.jsonl
        self.after: dict[str, Any] | None = None
        self.resumable.begin(self)

    def _demonstrations(self) -> list[Demonstration]:
        """What the agents learn from: the domain's demonstrations, or the best answers of the team as it begins."""
        plan, setup = self.job.warm_start, self.setup
        tasks = setup.train[: plan.max_tasks]
        if plan.source != "best_of_n":
            shown = sft.demonstrations(setup.domain, tasks, plan.per_task, plan.noise, setup.seed)
            return [example for example in shown if example.turn < self.job.rollout.turns]  # others are never played
        first_turn = setup.rollout(self.team, dataclasses.replace(self.job.rollout, turns=1))
        return sft.best_of_n(first_turn, tasks, plan.best_of, setup.seed)

    def run(self) -> None:
        """Fit all agents and write adapters, metrics.jsonl and run.json.

        Raises:
            Interrupted: on a signal, with everything saved.
            NonFiniteLoss: a loss or gradient is NaN or infinite.
        """
        run, fit = self.resumable, self.fit
        progress = run.progress(fit.total)
        with run.stopping() as stopping:
            if self.before is None:
                with run.changing():
                    with stopping.interruptible():
                        self.before = self._measure()
                    run.log(self.before)
            saved = time.monotonic()
            while not fit.done:
                stopping.check()
                with run.changing(), self.setup.within_memory("learning"):
                    metrics = fit.step()
                    run.log({"event": "warm_start", "env_step": 0, **metrics})
                progress.advance(tokens=int(metrics["tokens"]), note=f"loss {metrics['loss']:.3f}")
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    run.save()
                    saved = time.monotonic()
            progress.close()
            run.save()
            if self.after is None:
                with stopping.interruptible():
                    after = self._measure()
                with run.changing():
                    self.after = after
                    run.log(after)
            run.save(finished=True)
        counts = {"examples": [len(examples) for examples in self.data], "steps": fit.step_number}
        reward = {"before": self.before["reward"], "after": self.after["reward"]}
        run.write_outputs(self.team.save, counts=counts, reward=reward, **self.setup.facts)
        print(f"warm-start: reward {reward['before']:.3f} before, {reward['after']:.3f} after")

    def _measure(self) -> dict[str, Any]:
        """The evaluation of the team as it is now."""
        plan = self.job.evaluation
        tasks = self.setup.test[: plan.tasks_during]
        shown = None if plan.examples else 0
        samples, seed = plan.samples_during, self.setup.seed
        with self.setup.within_memory("playing"):
            rows = evaluation.sample_rows(self.rollout, tasks, samples, seed, {}, shown=shown)
        return evaluation.journal_row(rows, plan.examples, iteration=self.position, env_step=0, samples=0)

    # what a checkpoint holds

    @property
    def position(self) -> int:
        """Steps made."""
        return self.fit.step_number

    def state(self) -> dict[str, Any]:
        """Agents, optimisers, schedules and evaluations."""
        schedules = [schedule.state_dict() for schedule in self.fit.schedules]
        counts = {"step": self.position, "before": self.before, "after": self.after, "schedules": schedules}
        return member_state.state_of(self.team, self.optimisers) | counts

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        member_state.restore(self.team, self.optimisers, state)
        self.fit.step_number = state["step"]
        self.before, self.after = state["before"], state["after"]
        for schedule, own in zip(self.fit.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(own)
