"""The warm-start stage: demonstrations in, adapters and a before/after report out; resumable like training."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from collm.common.files import atomic_folder, write_atomic, write_json
from collm.common.progress import Progress
from collm.runs.checkpoint import Checkpoints
from collm.runs.record import RunRecord, threads_of
from collm.runs.signals import Stopping
from collm.training import evaluation, sft
from collm.training.setup import Session
from collm.training.trainer import Journal, restore, state_of

CHECKPOINT_SECONDS = 60.0


def run(session: Session) -> None:
    """Fit all agents to demonstrations and write adapters, metrics.jsonl and run.json.

    Raises:
        Interrupted: on a signal, with everything saved.
    """
    job, places, plan = session.job, session.places, session.job.warm_start
    record = RunRecord("warm_start", job, session.seed, session.accelerator.device)
    checkpoints = Checkpoints(
        places.checkpoints, session.fingerprint(without=("training",)), job.training.keep_checkpoints
    )
    state = checkpoints.latest()
    threads = threads_of(state.get("threads", []) if state else [])
    team = session.team()
    rollout = session.rollout(team)
    first_turn = session.rollout(team, dataclasses.replace(job.rollout, turns=1))
    tasks = session.train[: plan.max_tasks]
    if plan.source == "best_of_n":
        shown = sft.best_of_n(first_turn, tasks, plan.best_of, session.seed)
    else:
        shown = sft.demonstrations(session.domain, tasks, plan.per_task, plan.noise, session.seed)
    data = sft.examples(team, shown, job.rollout.max_new_tokens)
    fit = sft.WarmStart(
        team, data, plan.epochs, plan.batch_size, plan.learning_rate, job.training.micro_batch_tokens, session.seed
    )
    optimisers = {str(agent): optimiser for agent, optimiser in enumerate(fit.optimisers)}
    journal = Journal(places.checkpoints / "metrics.jsonl", state["journal"] if state else 0)

    def save(finished: bool = False) -> None:
        kept = state_of(team, optimisers) | {"step": fit.step_number, "journal": journal.length(), "before": before}
        kept |= {"after": after, "schedules": [schedule.state_dict() for schedule in fit.schedules]}
        kept |= {"threads": threads}
        checkpoints.save(fit.step_number, kept, finished)

    after = state["after"] if state else None
    with Stopping() as stopping:
        if state is not None:
            before = state["before"]
            restore(team, optimisers, state)
            fit.step_number = state["step"]
            for schedule, kept in zip(fit.schedules, state["schedules"], strict=True):
                schedule.load_state_dict(kept)
        else:
            with stopping.interruptible():
                before = _measure(session, rollout, 0)
            journal.write(before)
        progress = Progress(fit.total, f"{job.domain}/{job.method} seed {session.seed}")
        progress.skip(fit.step_number)
        saved = time.monotonic()
        try:
            for figures in fit.steps(stopping.check):
                journal.write({"event": "warm_start", "env_step": 0, **figures})
                progress.advance(tokens=int(figures["tokens"]), note=f"loss {figures['loss']:.3f}")
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save()
                    saved = time.monotonic()
        except BaseException:
            if fit.whole:
                save()
            raise
        progress.close()
        save()
        if after is None:
            with stopping.interruptible():
                after = _measure(session, rollout, fit.step_number)
            journal.write(after)
        save(finished=True)
    with atomic_folder(places.out / "adapters") as folder:
        team.save(folder)
    write_atomic(places.out / "metrics.jsonl", journal.path.read_bytes())
    counts = {"examples": [len(rows) for rows in data], "steps": fit.step_number}
    reward = {"before": before["reward"], "after": after["reward"]}
    facts = record.finish(counts=counts, reward=reward, threads_of_attempts=threads)
    write_json(places.out / "run.json", facts)
    print(f"warm-start: reward {reward['before']:.3f} before, {reward['after']:.3f} after")


def _measure(session: Session, rollout: Any, step: int) -> dict[str, Any]:
    plan = session.job.evaluation
    tasks = session.test[: plan.tasks_during]
    rows = evaluation.sample_rows(rollout, tasks, plan.samples_during, session.seed, {})
    return {
        "event": "evaluation",
        "iteration": step,
        "env_step": 0,
        "samples": 0,
        **evaluation.summary(rows, plan.examples),
    }
